"""Shards at work: lanes, claims, checkpoints, hand-overs, progress, waiting."""
