"""Writes a comparison: JSON, CSV, the page, plots."""
