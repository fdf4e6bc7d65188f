"""Pictures on a GPU: each is uploaded once, scaled by all its steps there, and downloaded once."""
