"""Logs, metrics, traces, and the status of each worker."""
