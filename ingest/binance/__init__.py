"""Bytes -> events: what the exchange's frames and answers mean, and REST behind one weight budget."""
