"""vidscale codes a video at fewer pixels and gives the picture back. The Python API is `vidscale.api`."""
