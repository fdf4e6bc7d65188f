"""Pages whose tables a script in benchmarks/ writes from stored rows, between markers."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def table(page: Path, name: str) -> list[list[str]]:
    """The cells of a table, without its head and the emphasis of whole cells."""
    text = page.read_text(encoding="utf-8").partition(f"<!-- {name} -->")[2].partition(f"<!-- /{name} -->")[0]
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip(" *") for cell in line.strip("|").split("|")] for line in lines[2:]]


def check_written(page: Path, script: str, folder: Path, *options: object) -> None:
    """A copy of the page without its tables gets the same ones from the script."""
    text = page.read_text(encoding="utf-8")
    wiped = re.sub(r"(?s)(<!-- ([\w-]+) -->\n).*?(<!-- /\2 -->\n)", r"\1\3", text)
    assert len(wiped) < len(text) - 1000
    copy = folder / page.name
    copy.write_text(wiped, encoding="utf-8")
    command = [sys.executable, ROOT / "benchmarks" / script, "--page", copy, *map(str, options)]
    subprocess.run(command, capture_output=True, timeout=60, check=True)
    assert copy.read_text(encoding="utf-8") == text
