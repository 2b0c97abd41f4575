"""Access: one reader over open, sealed and archived segments."""
