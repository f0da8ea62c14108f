"""The process that holds feeds: frames in, committed rows out, its state on the freshness board."""
