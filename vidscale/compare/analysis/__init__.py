"""Compares rate-distortion curves: BD-rate, crossings, the answer in sentences."""
