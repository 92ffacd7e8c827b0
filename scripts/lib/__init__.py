"""What the scripts, nox and the repository's own tests share; standard library only."""
