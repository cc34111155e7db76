"""What erpsyncd speaks to: `adapters.store` holds storefronts, `adapters.erp` holds ERP packs."""
