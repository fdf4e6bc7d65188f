"""Training of pairs. What runs here needs torch and numpy alone, so that it also runs on a bare machine with a GPU."""
