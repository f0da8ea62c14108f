"""Faults, provoked one by one, and whether everything that can be asked says the same of them."""
