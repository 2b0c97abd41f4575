"""Books: at a moment, at a step of time, at each event."""
