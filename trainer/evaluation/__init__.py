"""Measures recommenders on held-out playlists: tasks, metrics, baselines, scores, and the gate before publication."""
