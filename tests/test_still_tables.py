"""The tables of docs/stills.md match the stored rows."""

import re
import subprocess
import sys
from pathlib import Path

from vidscale.models.cards import installed, read_card

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "stills.md"


def table(name: str) -> list[list[str]]:
    text = PAGE.read_text(encoding="utf-8").partition(f"<!-- {name} -->")[2].partition(f"<!-- /{name} -->")[0]
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def test_page_has_the_figures_of_the_stored_rows(tmp_path: Path) -> None:
    text = PAGE.read_text(encoding="utf-8")
    wiped = re.sub(r"(?s)(<!-- ([\w-]+) -->\n).*?(<!-- /\2 -->\n)", r"\1\3", text)
    assert len(wiped) < len(text) - 1000
    copy = tmp_path / "stills.md"
    copy.write_text(wiped, encoding="utf-8")
    bars = tmp_path / "set5.svg"
    command = [sys.executable, ROOT / "benchmarks" / "still_tables.py", "--page", copy, "--bars", bars]
    subprocess.run(command, capture_output=True, timeout=60, check=True)
    assert copy.read_text(encoding="utf-8") == text
    assert bars.read_bytes() == (ROOT / "docs" / "images" / "set5.svg").read_bytes()


def test_conversions_agree_with_zscale() -> None:
    """Written and read with each matrix and range, right or wrong."""
    rows = table("colour")
    assert len(rows) == 10
    assert all(abs(float(row[2]) - float(row[5])) < 0.05 for row in rows)


def test_shipped_pairs_are_those_measured() -> None:
    shipped = {
        name: read_card(folder)
        for name, folder in installed().items()
        if re.match("car|edsr|espcn", name) and ROOT in folder.parents
    }
    assert set(shipped) <= {row[1] for row in table("set5")}
    for name in ("set5-pairs", "validation"):
        measured = {row[0]: float(row[1]) for row in table(name)}
        gains = [
            measured[f"car-{scale}"] - measured[f"edsr-{scale}"] for scale in ("x2", "x4") if f"car-{scale}" in measured
        ]
        assert all(gain > 0.5 for gain in gains)
    for scale in ("x2", "x4"):
        sizes = shipped[f"car-{scale}"].downscaler
        assert (sizes["repeats"], sizes["refinements"]) == (2, 3)
