"""Fits a model on a dataset, from nothing or from the published version, and writes its files."""
