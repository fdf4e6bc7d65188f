"""Fine-tunes the upscaler to each shot at encode time."""
