"""Pictures in formats that are not read are reported, not skipped silently."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from robustness import refused, run_here

from vidscale.images.picture import decode_picture

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
    pictures = folder("a.png", "b.tga", "below/c.gif")
    (pictures / "notes.txt").write_text("no picture")
    run = run_here("images", *command, pictures)
    assert run.code == 0, run.stderr
    assert "skipped, not PNG, JPEG, WebP, TIFF or BMP: b.tga, below/c.gif\n" in run.stderr
    assert "notes.txt" not in run.stderr


def test_many_are_counted() -> None:
    pictures = folder("a.png", *(f"{letter}.tga" for letter in "abcdefg"))
    run = run_here("images", "down", pictures, "-o", "out")
    assert "skipped, not PNG, JPEG, WebP, TIFF or BMP: a.tga, b.tga, c.tga, d.tga, e.tga and 2 more\n" in run.stderr
    assert "notes" not in run.stderr


def test_a_folder_of_nothing_else_says_what_it_holds(tmp_path: Path) -> None:
    said = refused(tmp_path, "images", "down", folder("a.tga", "b.tga"), "-o", "out")
    assert said == "no PNG, JPEG, WebP, TIFF or BMP files in in; not read: a.tga, b.tga"


def test_a_file_that_is_named_and_not_read_fails_in_one_line() -> None:
    run = run_here("images", "down", folder("a.tga") / "a.tga", "-o", "out")
    assert run.code == 1
    assert run.stderr.splitlines()[0].startswith("vidscale: in/a.tga: ")


def test_jpeg_by_its_other_names_is_read() -> None:
    run = run_here("images", "down", folder("a.jfif", "b.jpe"), "-o", "out")
    assert run.code == 0, run.stderr
    assert sorted(path.name for path in Path("out").iterdir()) == ["a.png", "b.png"]


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB"])
def test_bmp_is_read_as_pillow_reads_it(mode: str) -> None:
    image = Image.fromarray(PIXELS).convert(mode)
    file = io.BytesIO()
    image.save(file, "BMP")
    picture = decode_picture(file.getvalue())
    expected = np.atleast_3d(np.asarray(image.convert({"1": "L", "P": "RGB"}.get(mode, mode))))
    assert np.array_equal(np.stack(picture.planes, axis=2), expected)
    assert picture.alpha is None
    assert picture.notes == (("palette converted to RGB",) if mode == "P" else ())


def test_bmp_becomes_png_and_a_broken_one_is_one_line() -> None:
    pictures = folder("a.bmp", "b.bmp")
    whole = (pictures / "b.bmp").read_bytes()
    (pictures / "b.bmp").write_bytes(whole[:2000])
    run = run_here("images", "down", pictures, "-o", "out")
    assert run.code == 1
    assert [line for line in run.stderr.splitlines() if "b.bmp" in line and line.startswith("vidscale: ")]
    assert [path.name for path in Path("out").iterdir()] == ["a.png"]
