"""Benchmarks on PostgreSQL and Kafka, beside a floor that is measured in the same run."""
