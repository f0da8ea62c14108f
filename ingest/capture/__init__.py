"""What came in, as it came in -> files, and out of them again: records, their files, and their writer."""
