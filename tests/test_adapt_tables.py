"""The tables of docs/adapt.md match the stored rows, and what it and README.md say of them."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "adapt.md"


def table(name: str) -> list[list[str]]:
    text = PAGE.read_text(encoding="utf-8").partition(f"<!-- {name} -->")[2].partition(f"<!-- /{name} -->")[0]
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip(" *") for cell in line.strip("|").split("|")] for line in lines[2:]]


def test_page_has_the_figures_of_the_stored_rows(tmp_path: Path) -> None:
    text = PAGE.read_text(encoding="utf-8")
    wiped = re.sub(r"(?s)(<!-- ([\w-]+) -->\n).*?(<!-- /\2 -->\n)", r"\1\3", text)
    assert len(wiped) < len(text) - 1000
    copy = tmp_path / "adapt.md"
    copy.write_text(wiped, encoding="utf-8")
    command = [sys.executable, ROOT / "benchmarks" / "adapt_tables.py", "--page", copy]
    subprocess.run(command, capture_output=True, timeout=60, check=True)
    assert copy.read_text(encoding="utf-8") == text


def test_gains_in_the_text_are_those_of_the_table() -> None:
    """The means, wherever they are told."""
    means = {row[0]: row[2:] for row in table("gain") if row[1].startswith("mean of")}
    told = [f"{float(cell.removesuffix(' %').replace('-', '')):.1f} %" for cell in means["adaptive-x2, x265"]]
    wanted = "saves {} of the bits by PSNR-Y, {} by SSIM-Y, {} by VMAF and {} by VMAF NEG".format(*told)
    assert wanted in " ".join(PAGE.read_text(encoding="utf-8").split())
