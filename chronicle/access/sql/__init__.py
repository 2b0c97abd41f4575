"""SQL: DuckDB over a store's own records."""
