"""What a run measured: rows per frame, totals, files and the page."""
