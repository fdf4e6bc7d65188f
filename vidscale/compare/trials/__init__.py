"""Trials: one segment of a movie, encoded as one candidate at one crf, restored and measured; results kept on disk."""
