"""File names outside the locale: every command accepts them, writes them byte for byte, and prints them."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from material import make, picture, tags
from PIL import Image

from vidscale.system.names import readable

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="names are bytes"),
    pytest.mark.slow,
]

C_LOCALE = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
UTF8 = {"LC_ALL": "C.UTF-8", "PYTHONUTF8": "0"}
LOCALES = pytest.mark.parametrize("locale", [C_LOCALE, UTF8], ids=["C", "UTF-8"])
DRY = ["--scale", "2", "--dry-run"]
NAMES = pytest.mark.parametrize(
    ("name", "shown"),
    [("größe 映画 😀".encode(), "größe 映画 😀"), (b"caf\xe9", "caf\ufffd")],
    ids=["characters", "bytes"],
)


def run(folder: Path, locale: dict[str, str], *words: bytes | str) -> "subprocess.CompletedProcess[bytes]":
    command = [os.fsencode(sys.executable), b"-m", b"vidscale", *map(os.fsencode, words)]
    result = subprocess.run(
        command, cwd=folder, env={**os.environ, **locale}, capture_output=True, timeout=300, check=False
    )
    assert b"internal error" not in result.stderr, result.stderr
    return result


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    title = ["-metadata", "title=Größe 😀"]
    return make(tmp_path / "clip.mkv", *picture(duration=0.4), "-c:v", "ffv1", *title)


@LOCALES
@NAMES
def test_encode_decode_and_measure(tmp_path: Path, clip: Path, locale: dict[str, str], name: bytes, shown: str) -> None:
    stem = os.fsdecode(name)
    clip.rename(tmp_path / f"{stem}.mkv")
    small, folder = f"{stem}.small.mp4", tmp_path / f"{stem}.small.mp4.report"
    coding = run(tmp_path, locale, "encode", f"{stem}.mkv", "-o", small, "--preset", "ultrafast", "--pair", "lanczos")
    assert coding.returncode == 0, coding.stderr
    assert f"{shown}.small.mp4: 10 frames" in coding.stdout.decode()
    assert json.loads((folder / "report.json").read_text(encoding="utf-8"))["source"]["name"] == f"{shown}.mkv"
    assert f"{shown}.small.mp4" in (folder / "index.html").read_text(encoding="utf-8")
    restoring = run(tmp_path, locale, "decode", small, "--preset", "ultrafast", "--json")
    assert restoring.returncode == 0, restoring.stderr
    assert json.loads(restoring.stdout)["output"] == f"{shown}.small.restored.mp4"
    measuring = run(tmp_path, locale, "measure", f"{stem}.mkv", small, "--json", "--vmaf", "-o", f"{stem}.report")
    assert measuring.returncode == 0, measuring.stderr
    assert json.loads(measuring.stdout)["dist"] == f"{shown}.small.mp4"
    assert {path.name for path in tmp_path.iterdir()} == {
        f"{stem}{end}" for end in (".mkv", ".small.mp4", ".small.mp4.report", ".small.restored.mp4", ".report")
    }
    assert tags(tmp_path / small)["title"] == "Größe 😀"


@LOCALES
@NAMES
def test_errors_and_plans_name_them(
    tmp_path: Path, clip: Path, locale: dict[str, str], name: bytes, shown: str
) -> None:
    missing = run(tmp_path, locale, "encode", name + b".mkv")
    assert missing.returncode == 1
    assert f"{shown}.mkv does not exist" in missing.stderr.decode()
    for json_output in ([], ["--json"]):
        planned = run(tmp_path, locale, "encode", "clip.mkv", "-o", name + b".mp4", *DRY, *json_output)
        assert planned.returncode == 0, planned.stderr
        text = json.dumps(json.loads(planned.stdout), ensure_ascii=False) if json_output else planned.stdout.decode()
        assert f"{shown}.mp4" in text


@LOCALES
def test_recipes_name_files_in_utf8(tmp_path: Path, clip: Path, locale: dict[str, str]) -> None:
    (tmp_path / "rezept-ü.toml").write_text(
        'description = "für alle"\ncommand = "encode"\n[settings]\npair = "lanczos"\npreset = "ultrafast"\n'
        'report_dir = "Bericht 😀"\n',
        encoding="utf-8",
    )
    result = run(tmp_path, locale, "run", "rezept-ü.toml", "clip.mkv", "-o", "größe.mp4")
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "größe.mp4").is_file()
    assert (tmp_path / "Bericht 😀" / "index.html").is_file()


@LOCALES
@NAMES
def test_images(tmp_path: Path, locale: dict[str, str], name: bytes, shown: str) -> None:
    folder = tmp_path / os.fsdecode(name)
    folder.mkdir()
    codes = np.random.default_rng(0).integers(0, 256, (32, 48, 3), np.uint8)
    Image.fromarray(codes).save(folder / f"{folder.name}.png")
    down = run(tmp_path, locale, "images", "down", folder.name, "-o", "small", "--pair", "lanczos-x2", "--json")
    assert down.returncode == 0, down.stderr
    assert [path.name for path in (tmp_path / "small").iterdir()] == [f"{folder.name}.png"]
    assert f"{shown}.png" in json.dumps([json.loads(line) for line in down.stdout.splitlines()], ensure_ascii=False)
    up = run(tmp_path, locale, "images", "up", "small", "-o", f"up-{folder.name}")
    assert up.returncode == 0, up.stderr
    bench = run(tmp_path, locale, "images", "bench", folder.name, "-o", f"bench-{folder.name}", "--pairs", "none")
    assert bench.returncode == 0, bench.stderr


@LOCALES
@NAMES
def test_compare(tmp_path: Path, locale: dict[str, str], name: bytes, shown: str) -> None:
    stem = os.fsdecode(name)
    make(tmp_path / "clip.mkv", *picture(duration=0.8), "-c:v", "ffv1").rename(tmp_path / f"{stem}.mkv")
    words = ["--pairs", "lanczos,ffmpeg-bicubic", "--rates", "24,40", "--preset", "ultrafast", "--metrics", "psnr"]
    result = run(tmp_path, locale, "compare", f"{stem}.mkv", *words, "-o", f"out-{stem}")
    assert result.returncode == 0, result.stderr
    assert shown in (tmp_path / f"out-{stem}" / "index.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("text", "shown"),
    [("plain", "plain"), ("gr\udcc3\udcb6ße", "größe"), ("caf\udce9", "caf\ufffd"), ("\udcf0\udc9f\udc98\udc80", "😀")],
)
def test_readable(text: str, shown: str) -> None:
    assert readable(text) == shown
