"""Interchange: what others read, written; what was exported, taken back."""
