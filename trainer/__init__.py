"""
Offline training: playlists as files in, one published version of a model out.

It imports `service.engine` alone from the service, and is never imported by it.
"""
