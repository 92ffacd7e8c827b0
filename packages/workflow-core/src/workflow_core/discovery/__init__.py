"""Room: discovery."""
