"""Downscales, restores and measures folders of pictures, and benchmarks scaling methods as papers do."""
