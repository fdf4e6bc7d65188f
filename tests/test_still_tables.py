"""The tables of docs/stills.md match the stored rows."""

import re
from pathlib import Path

from generated_pages import ROOT, check_written, table

from vidscale.models.cards import installed, read_card

PAGE = ROOT / "docs" / "stills.md"


def test_page_has_the_figures_of_the_stored_rows(tmp_path: Path) -> None:
    bars = tmp_path / "set5.svg"
    check_written(PAGE, "still_tables.py", tmp_path, "--bars", bars)
    assert bars.read_bytes() == (ROOT / "docs" / "images" / "set5.svg").read_bytes()


def test_conversions_agree_with_zscale() -> None:
    """Written and read with each matrix and range, right or wrong."""
    rows = table(PAGE, "colour")
    assert len(rows) == 10
    assert all(abs(float(row[2]) - float(row[5])) < 0.05 for row in rows)


def test_shipped_pairs_are_those_measured() -> None:
    shipped = {
        name: read_card(folder)
        for name, folder in installed().items()
        if re.match("car|edsr|espcn", name) and ROOT in folder.parents
    }
    assert set(shipped) <= {row[1] for row in table(PAGE, "set5")}
    for name in ("set5-pairs", "validation"):
        measured = {row[0]: float(row[1]) for row in table(PAGE, name)}
        gains = [
            measured[f"car-{scale}"] - measured[f"edsr-{scale}"] for scale in ("x2", "x4") if f"car-{scale}" in measured
        ]
        assert all(gain > 0.5 for gain in gains)
    for scale in ("x2", "x4"):
        sizes = shipped[f"car-{scale}"].downscaler
        assert (sizes["repeats"], sizes["refinements"]) == (2, 3)
