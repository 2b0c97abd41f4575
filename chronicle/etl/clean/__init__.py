"""What goes into clean queues: blocks of records, what is already there, where each record comes from."""
