"""Room: memory."""
