"""A luma network for players: as a shader, as a web page, as ONNX."""
