"""One file a topic; each has run() that yields figures."""
