"""Segue over HTTP: a FastAPI application around one `Recommender`, opened from the files that the trainer publishes."""
