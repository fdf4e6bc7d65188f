"""Threads, child processes, temporary files, devices."""
