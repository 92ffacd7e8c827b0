"""What users do, by the engine's verbs, each with its reason and its line in the audit log."""
