"""Host commands, each run as `python -m tools.<name>` from the repository's root."""
