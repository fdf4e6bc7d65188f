"""Pairs of scalers: a downscaler and the upscaler made for it, at one scale."""
