"""Playlists in memory, and the matrix of confidences that a model is fitted on."""

from trainer.dataset.builder import build_dataset
from trainer.dataset.dataset import Dataset, Vocabulary, playlist_hash

__all__ = ["Dataset", "Vocabulary", "build_dataset", "playlist_hash"]
