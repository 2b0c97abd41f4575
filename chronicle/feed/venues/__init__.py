"""Venue adapters: one file a venue, pure functions from frames to records."""
