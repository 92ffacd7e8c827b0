"""Timers in Redis: what they cost, and how late they are when many are due at once."""
