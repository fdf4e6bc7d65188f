"""Per-title encoding: the scale, pair and crf that suit a movie, by probing parts of it."""
