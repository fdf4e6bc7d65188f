"""Pairs of scalers: a downscaler and an upscaler made for each other at one scale."""
