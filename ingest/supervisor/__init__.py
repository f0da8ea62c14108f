"""The process above the shards: plan, spawn, watch, restart, publish. It writes no market data."""
