"""Trust: holes, quality, where a row comes from, whether a book is right."""
