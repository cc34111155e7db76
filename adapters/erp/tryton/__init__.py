"""The Tryton pack: pack.toml and its queries, and what SQL cannot say: price formulas and credit's rounding."""
