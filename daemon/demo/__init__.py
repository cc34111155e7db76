"""The demo: a small ERP, a storefront and a business day, all on this machine.

Invariant: nothing here is imported by the daemon; the demo uses it the way any user does.
"""
