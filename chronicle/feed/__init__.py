"""Feed: what an exchange or a capture sends becomes records in the raw and wire queues."""
