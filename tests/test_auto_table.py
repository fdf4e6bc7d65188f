"""The tables of docs/auto.md match the stored rows, which keep the promise that no clip needs more bits."""

import json
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "auto.md"


def test_page_has_the_figures_of_the_stored_rows(tmp_path: Path) -> None:
    text = PAGE.read_text(encoding="utf-8")
    wiped = re.sub(r"(?s)(<!-- ([\w-]+) -->\n).*?(<!-- /\2 -->\n)", r"\1\3", text)
    assert len(wiped) < len(text) - 1000
    copy = tmp_path / "auto.md"
    copy.write_text(wiped, encoding="utf-8")
    command = [sys.executable, ROOT / "benchmarks" / "auto_table.py", "--page", copy]
    subprocess.run(command, capture_output=True, timeout=60, check=True)
    assert copy.read_text(encoding="utf-8") == text


def test_no_choice_needs_more_bits_than_full_size() -> None:
    rows = [json.loads(line) for line in (ROOT / "benchmarks" / "results" / "auto.jsonl").read_text().splitlines()]
    assert len(rows) >= 40
    assert all(row["bits"] <= 0 and abs(row["error"]) <= 1 for row in rows)
