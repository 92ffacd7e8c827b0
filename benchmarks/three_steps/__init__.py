"""Benchmarks: what the engine costs beside a floor that is measured in the same run."""
