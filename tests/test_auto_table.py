"""The tables of docs/auto.md match the stored rows, which keep the promise that no clip needs more bits."""

import json
from pathlib import Path

from generated_pages import ROOT, check_written

PAGE = ROOT / "docs" / "auto.md"


def test_page_has_the_figures_of_the_stored_rows(tmp_path: Path) -> None:
    check_written(PAGE, "auto_table.py", tmp_path)


def test_no_choice_needs_more_bits_than_full_size() -> None:
    rows = [json.loads(line) for line in (ROOT / "benchmarks" / "results" / "auto.jsonl").read_text().splitlines()]
    assert len(rows) >= 40
    assert all(row["bits"] <= 0 and abs(row["error"]) <= 1 for row in rows)
