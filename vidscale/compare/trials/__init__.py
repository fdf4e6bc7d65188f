"""One part of a movie, encoded one way at one rate, restored and measured; kept on disk."""
