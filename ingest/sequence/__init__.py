"""Events -> the same events, continuous: next, duplicate or gap, per stream."""
