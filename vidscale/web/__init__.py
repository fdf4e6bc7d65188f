"""Shared parts of the HTML pages."""
