"""ERP packs: one folder an ERP, a mapping in TOML and SQL.

Invariant: a pack reads; it says which rows matter and what they mean, and holds no connection.
"""
