"""Stages from an iterator of frames to another iterator or a file: decoding, scaling, encoding, measuring."""
