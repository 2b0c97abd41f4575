"""The archive encoding: a segment's bytes to blocks of columns, and back."""
