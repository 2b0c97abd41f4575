"""Books by price and by order, in plain Python and over arrays; how far they are trusted; venues' checksums."""
