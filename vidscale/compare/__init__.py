"""Does downscaling save bits for a movie? Rate-distortion curves of the full size and of pairs of scalers, compared."""
