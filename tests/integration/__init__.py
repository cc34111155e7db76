"""Whole paths on real PostgreSQL."""
