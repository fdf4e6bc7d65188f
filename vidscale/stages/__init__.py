"""From an iterator of frames to another, or to a file: decoding, scaling, encoding, measuring."""
