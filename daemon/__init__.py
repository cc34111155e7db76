"""erpsyncd: keeps a storefront true to the ERP. ARCHITECTURE.md says which room holds what."""

__version__ = "0.1.0"
