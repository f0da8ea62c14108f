"""The freshness board: a mapped file for each shard, written by it, readable when it is wedged."""
