"""Pictures in formats that are not read are reported, not skipped silently."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from robustness import refused, run_here

pytestmark = pytest.mark.usefixtures("home")
PIXELS = np.random.default_rng(1).integers(0, 256, (48, 64, 3), np.uint8)


def folder(*names: str) -> Path:
    path = Path("in")
    for name in names:
        file = path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(PIXELS).save(file, format="JPEG" if file.suffix in (".jfif", ".jpe") else None)
    return path


@pytest.mark.parametrize("command", [["down", "-o", "out"], ["roundtrip"], ["bench", "--pairs", "none"]])
def test_other_formats_are_named(command: list[str]) -> None:
    pictures = folder("a.png", "b.bmp", "below/c.gif")
    (pictures / "notes.txt").write_text("no picture")
    run = run_here("images", *command, pictures)
    assert run.code == 0, run.stderr
    assert "skipped, not PNG, JPEG, WebP or TIFF: b.bmp, below/c.gif\n" in run.stderr
    assert "notes.txt" not in run.stderr


def test_many_are_counted() -> None:
    pictures = folder("a.png", *(f"{letter}.bmp" for letter in "abcdefg"))
    run = run_here("images", "down", pictures, "-o", "out")
    assert "skipped, not PNG, JPEG, WebP or TIFF: a.bmp, b.bmp, c.bmp, d.bmp, e.bmp and 2 more\n" in run.stderr
    assert "notes" not in run.stderr


def test_a_folder_of_nothing_else_says_what_it_holds(tmp_path: Path) -> None:
    said = refused(tmp_path, "images", "down", folder("a.bmp", "b.tga"), "-o", "out")
    assert said == "no PNG, JPEG, WebP or TIFF files in in; not read: a.bmp, b.tga"


def test_a_file_that_is_named_and_not_read_fails_in_one_line() -> None:
    run = run_here("images", "down", folder("a.bmp") / "a.bmp", "-o", "out")
    assert run.code == 1
    assert run.stderr.splitlines()[0].startswith("vidscale: in/a.bmp: ")


def test_jpeg_by_its_other_names_is_read() -> None:
    run = run_here("images", "down", folder("a.jfif", "b.jpe"), "-o", "out")
    assert run.code == 0, run.stderr
    assert sorted(path.name for path in Path("out").iterdir()) == ["a.png", "b.png"]
