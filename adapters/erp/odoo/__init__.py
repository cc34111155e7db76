"""The Odoo 18 pack: stock, price lists, credit, orders and content as Odoo's own program counts them.

Invariant: what Odoo's ORM says is what a document says; docs/erp-odoo.md names where that is not so.
"""
