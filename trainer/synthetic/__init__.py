"""Synthetic worlds of playlists and listeners with known structure, for demos, benchmarks and tests."""
