"""vidscale encodes video at reduced resolution and restores it on playback. The Python API is `vidscale.api`."""
