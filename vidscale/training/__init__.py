"""Training of pairs.

Modules import with torch and numpy alone, so that a network is trained on a bare machine with a GPU too.
"""
