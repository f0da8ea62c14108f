"""Stored rows of a range to Parquet files, with a manifest of what they hold. Needs the extra `reader`."""
