"""Processes and connections: the supervisor, its workers, and the limits of connections."""
