"""API keys: the key file, the rights of keys, and their rate limits."""
