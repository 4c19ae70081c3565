"""State that changes while the service runs: the served model, the blocklist and the keys."""
