"""Depth events -> a book that is right, or none: levels, the snapshot procedure, fetching."""
