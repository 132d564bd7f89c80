"""Nothing to prepare."""
