"""Benchmark: how late timers fire that are due at once."""
