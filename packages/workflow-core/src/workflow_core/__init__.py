"""Durable, typed, event-driven workflows on the infrastructure you already run."""
