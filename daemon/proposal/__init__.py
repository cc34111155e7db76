"""`erpsyncd init`: from an ERP's catalogue to a first configuration. See `survey`, `propose`, `write`.

Invariant: the database is only looked at; what is proposed is a guess that says so, and what cannot be guessed is asked for.
"""
