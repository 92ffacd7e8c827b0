"""Fan-out and fan-in: a batch begins a run per text, and goes on when all have ended."""
