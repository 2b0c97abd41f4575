"""Ranges: records of many instruments as columns or events, in order of time, up to the live end."""
