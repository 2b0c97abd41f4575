"""Capture files of others, read as the exchange sent them: each yields frames in the order of ts_recv."""
