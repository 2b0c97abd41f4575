"""Several raw queues or redundant lines of one venue, as one order of events."""
