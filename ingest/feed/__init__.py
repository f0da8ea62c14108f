"""Exchange -> bytes: websockets that carry many streams, and the rules for being polite about it."""
