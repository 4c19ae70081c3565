"""Teaches the ranker on playlists that its first stage has not seen."""
