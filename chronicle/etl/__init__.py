"""ETL: the raw stream becomes clean per-instrument queues with books, snapshots, gaps and checks."""
