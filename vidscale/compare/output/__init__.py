"""A comparison as files: JSON, CSV, the page, plots."""
