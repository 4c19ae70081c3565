"""
Offline training: reads playlists from files and publishes one version of a model.

The trainer imports `service.engine` and nothing else of the service, which never imports the trainer.
"""
