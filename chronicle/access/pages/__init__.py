"""Pages and pictures of an instrument."""
