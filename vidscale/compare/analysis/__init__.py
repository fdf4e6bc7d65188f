"""Rate-distortion curves compared: BD-rate, crossings, the answer in sentences."""
