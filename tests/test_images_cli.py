"""``vidscale images``: folders downscaled, restored, measured and compared; bad input; records as documented."""

import csv
import json
import os
import re
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from robustness import Run, content, message, refused, run_here, run_unprivileged
from skimage import data
from test_cli import documented, records

from vidscale import api
from vidscale.image_metrics import luma_psnr, luma_ssim
from vidscale.models.cards import user_folder
from vidscale.models.networks.car import ResamplerNet
from vidscale.models.networks.edsr import EDSR
from vidscale.models.pair_files import write_pair_dir

PHOTOGRAPH = np.ascontiguousarray(data.astronaut()[100:161, 180:267])
Photographs = Callable[..., Path]


pytestmark = pytest.mark.usefixtures("home")


@pytest.fixture
def photographs(tmp_path: Path) -> Photographs:
    """Writes pictures with the same content into ``in``, under these names, and returns that folder."""

    def write(*names: str, mode: str = "RGB") -> Path:
        for name in names:
            path = tmp_path / "in" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(PHOTOGRAPH).convert(mode).save(path)
        return tmp_path / "in"

    return write


@pytest.fixture
def car() -> None:
    torch.manual_seed(0)
    networks = ResamplerNet(2, stem=4, body=4, trunk=4, blocks=1), EDSR(2, blocks=1, width=4)
    write_pair_dir(user_folder() / "car-x2", "car-x2", *networks)


def picture(path: str | Path) -> Image.Image:
    return Image.open(BytesIO(Path(path).read_bytes()))


def failures(run: Run) -> list[str]:
    """The error lines of pictures that failed, without their prefixes."""
    assert run.code == 1, run.stderr
    return [line.removeprefix("vidscale: ") for line in run.stderr.splitlines() if line.startswith("vidscale: ")]


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_down_and_up_give_back_size_and_place(photographs: Photographs, tmp_path: Path) -> None:
    source = photographs("a.png", "sub/b.jpg", "sub/deeper/c.webp", "d.tif", ".hidden.png", ".hidden/e.png")
    (source / "notes.txt").write_text("no picture")
    run = run_here("images", "down", source, "-o", "small", "--scale", "2")
    assert run.code == 0, run.stderr
    assert files(tmp_path / "small") == ["a.png", "d.png", "sub/b.png", "sub/deeper/c.png"]
    assert picture("small/a.png").size == (44, 31)
    assert run.stdout.splitlines()[0].split() == ["picture", "size", "small", "bytes"]
    assert re.match(r"in/a\.png +87x61 +44x31 +[\d.]+ k?B$", run.stdout.splitlines()[1])
    assert run.stdout.splitlines()[-1].startswith("4 pictures, ")

    run = run_here("images", "up", "small", "-o", "large")  # without a word on pair, scale and size
    assert run.code == 0, run.stderr
    assert files(tmp_path / "large") == files(tmp_path / "small")
    assert picture("large/sub/deeper/c.png").size == (87, 61)
    assert "vidscale" not in str(picture("large/a.png").info)  # a restored picture is no small one


@pytest.mark.parametrize("name", ["png", "jpeg", "webp", "tiff"])
def test_every_format_says_how_it_is_restored(photographs: Photographs, name: str) -> None:
    photographs("a.png")
    assert run_here("images", "down", "in", "-o", "small", "--scale", "3", "--pair", "area", "--format", name).code == 0
    (small,) = Path("small").iterdir()
    assert picture(small).format == name.upper()
    (restored, totals) = records(run_here("images", "up", "small", "-o", "large", "--format", name, "--json"))
    assert (restored["pair"], restored["width"], restored["height"]) == ("area-x3", 87, 61)
    (large,) = Path("large").iterdir()
    assert (picture(large).format, picture(large).size) == (name.upper(), (87, 61))
    assert totals["failed"] == 0


def test_files_may_be_named(photographs: Photographs) -> None:
    photographs("a.png", "sub/b.png")
    assert run_here("images", "down", "in/sub/b.png", "in/a.png", "-o", "small").code == 0
    assert files(Path("small")) == ["a.png", "b.png"]


def test_output_inside_the_folder_is_not_read_again(photographs: Photographs) -> None:
    photographs("a.png")
    assert run_here("images", "down", "in", "-o", "in/small").code == 0
    assert run_here("images", "down", "in", "-o", "in/small", "-y").code == 0
    assert files(Path("in")) == ["a.png", "small/a.png"]


def test_roundtrip_measures_what_it_writes(photographs: Photographs) -> None:
    photographs("a.png", "b.tif")
    run = run_here("images", "roundtrip", "in", "-o", "out", "--pair", "lanczos-x2", "--json")
    *pictures, totals = records(run)
    assert files(Path("out")) == ["restored/a.png", "restored/b.png", "small/a.png", "small/b.png"]
    for record in pictures:
        source, restored = (
            np.moveaxis(np.asarray(picture(record[key])), 2, 0).astype(np.float32) / 255
            for key in ("source", "restored")
        )
        assert record["psnr_y"] == pytest.approx(luma_psnr(restored, source, shave=2), abs=1e-9)
        assert record["ssim_y"] == pytest.approx(luma_ssim(restored, source, shave=2), abs=1e-9)
        assert record["bytes"] == Path(record["small"]).stat().st_size
    assert totals["psnr_y"] == pytest.approx(np.mean([record["psnr_y"] for record in pictures]))
    assert totals["bytes"] == sum(record["bytes"] for record in pictures)


def test_roundtrip_counts_what_coding_costs(photographs: Photographs, tmp_path: Path) -> None:
    photographs("a.png")
    before = content(tmp_path)
    (lossless, _), (lossy, _) = (
        records(run_here("images", "roundtrip", "in", "--json", *options))
        for options in ([], ["--format", "jpeg", "--quality", "30"])
    )
    assert content(tmp_path) == before  # nothing is written without an output
    assert lossy["bytes"] < lossless["bytes"]
    assert lossy["psnr_y"] < lossless["psnr_y"] - 1
    assert (lossy["small"], lossy["restored"]) == (None, None)


def test_roundtrip_of_flat_and_tiny_pictures(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    Image.new("RGB", (40, 30), (10, 20, 30)).save(folder / "flat.png")
    Image.new("L", (1, 1), 7).save(folder / "one.png")
    flat, one, totals = records(run_here("images", "roundtrip", "in", "--json"))
    assert (flat["psnr_y"], flat["ssim_y"]) == ("inf", pytest.approx(1))
    assert (one["psnr_y"], one["ssim_y"], one["channels"]) == (None, None, 1)
    assert (totals["psnr_y"], totals["perfect"]) == ("inf", 1)
    run = run_here("images", "roundtrip", "in")
    assert re.search(r"one\.png +1x1 +1x1 +\d+ B +– +–$", run.stdout, re.MULTILINE)
    assert run.stdout.endswith("; mean PSNR-Y inf dB, SSIM-Y 1.0000\n")


def test_networks_and_depths_and_modes(car: None, photographs: Photographs, tmp_path: Path) -> None:
    photographs("rgb.png", "odd/rgb.jpg")
    photographs("gray.png", mode="L")
    photographs("alpha.png", mode="RGBA")
    codes = PHOTOGRAPH[..., 0].astype(np.uint16) * 257
    Image.fromarray(codes).save(tmp_path / "in" / "deep.png")
    run = run_here("images", "down", "in", "-o", "small", "--pair", "car", "--scale", "2", "--json")
    found = {Path(record["source"]).name: record for record in records(run)[:-1]}
    assert {record["pair"] for record in found.values()} == {"car-x2"}
    assert {name: (record["channels"], record["bit_depth"]) for name, record in found.items()} == {
        "rgb.png": (3, 8),
        "rgb.jpg": (3, 8),
        "gray.png": (1, 8),
        "alpha.png": (3, 8),
        "deep.png": (1, 16),
    }
    assert run_here("images", "up", "small", "-o", "large").code == 0
    modes = {path: picture(Path("large") / path).mode for path in files(Path("large"))}
    assert modes == {"alpha.png": "RGBA", "deep.png": "I;16", "gray.png": "L", "odd/rgb.png": "RGB", "rgb.png": "RGB"}


def test_pair_that_made_a_picture_must_be_there(car: None, photographs: Photographs) -> None:
    photographs("a.png")
    assert run_here("images", "down", "in", "-o", "small", "--pair", "car").code == 0
    torch.manual_seed(1)
    networks = ResamplerNet(2, stem=4, body=4, trunk=4, blocks=1), EDSR(2, blocks=1, width=4)
    write_pair_dir(user_folder() / "car-x2", "car-x2", *networks, overwrite=True)
    assert failures(run_here("images", "up", "small", "-o", "large")) == [
        "small/a.png: needs pair 'car-x2', which is not installed: "
        f"pair 'car-x2' in {user_folder() / 'car-x2'} has other weights than requested"
    ]
    (user_folder() / "car-x2" / "card.json").unlink()
    assert failures(run_here("images", "up", "small", "-o", "large")) == [
        "small/a.png: needs pair 'car-x2', which is not installed: "
        "unknown pair 'car-x2'; choose from lanczos, bicubic, area, gaussian, sharp; "
        "`vidscale models import-car` and `vidscale train car` make one"
    ]
    other = run_here("images", "up", "small", "-o", "large", "--pair", "lanczos")
    assert other.code == 0
    assert "small/a.png: made with car-x2, restored with lanczos-x2\n" in other.stderr
    restored = picture(Path("large/a.png"))
    assert restored.size == picture(Path("in/a.png")).size
    assert failures(run_here("images", "up", "small", "-o", "other", "--pair", "lanczos", "--scale", "4")) == [
        "small/a.png: was made with car-x2, not with lanczos-x4; leave --pair and --scale out"
    ]


def test_pair_may_lie_anywhere(car: None, photographs: Photographs) -> None:
    photographs("a.png")
    (user_folder() / "car-x2").rename("moved")
    assert run_here("images", "down", "in", "-o", "small", "--pair", "moved").code == 0
    assert (
        "needs pair 'car-x2', which is not installed" in failures(run_here("images", "up", "small", "-o", "large"))[0]
    )
    assert run_here("images", "up", "small", "-o", "large", "--pair", "moved").code == 0
    assert picture("large/a.png").size == (87, 61)


def test_up_by_hand(photographs: Photographs) -> None:
    photographs("a.png")
    assert failures(run_here("images", "up", "in", "-o", "large")) == [
        "in/a.png: has no identity; name its pair and scale with --pair and --scale"
    ]
    by_hand = ["images", "up", "in", "-o", "large", "--pair", "lanczos", "--scale", "2"]
    assert run_here(*by_hand).code == 0
    assert picture("large/a.png").size == (174, 122)
    assert run_here(*by_hand, "--size", "173x121", "-y").code == 0
    assert picture("large/a.png").size == (173, 121)
    assert failures(run_here(*by_hand, "--size", "10x10", "-y")) == [
        "in/a.png: cannot restore 87x61 to 10x10 at scale 2"
    ]


def test_picture_that_was_scaled_since_is_refused(photographs: Photographs) -> None:
    photographs("a.png")
    assert run_here("images", "down", "in", "-o", "small", "--format", "jpeg").code == 0
    small = picture("small/a.jpg")
    small.resize((20, 20)).save("small/a.jpg", xmp=small.info["xmp"])
    assert failures(run_here("images", "up", "small", "-o", "large")) == [
        "small/a.jpg: its identity says 44x31, but the picture is 20x20: was it scaled afterwards?"
    ]


def test_one_failure_does_not_stop_the_others(photographs: Photographs, tmp_path: Path) -> None:
    source = photographs("a.png", "z.png")
    (source / "broken.png").write_bytes((source / "a.png").read_bytes()[:1000])
    (source / "empty.jpg").touch()
    photographs("cmyk.jpg", mode="CMYK")
    run = run_here("images", "down", source, "-o", "small", "--json")
    assert [line.partition(": ")[0] for line in failures(run)] == [
        str(source / name) for name in ("broken.png", "cmyk.jpg", "empty.jpg")
    ]
    lines = [json.loads(line) for line in run.stdout.splitlines()]
    assert [line["event"] for line in lines].count("picture_failed") == 3
    assert (lines[-1]["pictures"], lines[-1]["failed"]) == (2, 3)
    assert files(tmp_path / "small") == ["a.png", "z.png"]


def test_a_folder_that_cannot_be_made_is_named(photographs: Photographs, tmp_path: Path) -> None:
    photographs("a.png", "sub/b.png")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "sub").touch()
    (failure,) = failures(run_here("images", "down", "in", "-o", "out"))
    assert failure == "in/sub/b.png: cannot write out/sub/b.png: File exists"
    assert files(tmp_path / "out") == ["a.png", "sub"]


def test_names_that_clash_are_refused(photographs: Photographs) -> None:
    source = photographs("a.png", "a.jpg", "b.png", "sub/a.png", "sub/A.tif")
    run = run_here("images", "down", source, "-o", "small")
    assert failures(run) == [
        f"{source}/{name}: its output would have the same name as that of {source}/{other}: rename one"
        for name, other in [
            ("a.jpg", "a.png"),
            ("a.png", "a.jpg"),
            ("sub/A.tif", "sub/a.png"),
            ("sub/a.png", "sub/A.tif"),
        ]
    ]
    assert files(Path("small")) == ["b.png"]


def test_picture_named_twice_is_scaled_once(photographs: Photographs) -> None:
    source = photographs("a.png", "b.png")
    run = run_here("images", "down", source, source / "a.png", "-o", "small", "--json")
    assert run.code == 0, run.stderr
    assert json.loads(run.stdout.splitlines()[-1])["pictures"] == 2


def test_nothing_is_overwritten_unasked(photographs: Photographs) -> None:
    photographs("a.png", "b.png")
    Path("small").mkdir()
    Path("small/a.png").write_bytes(b"mine")
    run = run_here("images", "down", "in", "-o", "small")
    assert failures(run) == ["in/a.png: small/a.png exists; -y replaces it"]
    assert Path("small/a.png").read_bytes() == b"mine"
    assert run_here("images", "down", "in", "-o", "small", "-y").code == 0
    assert picture("small/a.png").size == (44, 31)


def test_a_source_is_never_replaced(photographs: Photographs) -> None:
    source = photographs("a.png")
    before = (source / "a.png").read_bytes()
    run = run_here("images", "down", "in/a.png", "-o", "in", "-y")
    assert failures(run) == ["in/a.png: in/a.png is the input; choose another output"]
    assert (source / "a.png").read_bytes() == before


def test_depth_and_transparency_that_a_format_cannot_hold(photographs: Photographs, tmp_path: Path) -> None:
    photographs("alpha.png", mode="RGBA")
    Image.fromarray(PHOTOGRAPH[..., 0].astype(np.uint16) * 257).save(tmp_path / "in" / "deep.png")
    run = run_here("images", "down", "in", "-o", "small", "--format", "jpeg")
    assert failures(run) == [
        "in/alpha.png: JPEG does not support transparency: choose PNG, WebP or TIFF",
        "in/deep.png: JPEG has 8 bits, not 16: choose PNG or TIFF",
    ]


def test_what_is_lost_is_named(photographs: Photographs) -> None:
    source = photographs("a.jpg")
    picture(source / "a.jpg").save(source / "a.jpg", comment=b"a comment")
    run = run_here("images", "down", "in", "-o", "small")
    assert "in/a.jpg: not kept in PNG: comment\n" in run.stderr
    assert run_here("images", "down", "in", "-o", "small", "-y", "-q") == Run(0, "", "")


def test_images_are_refused_before_work(photographs: Photographs, tmp_path: Path) -> None:
    photographs("a.png")
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    for args, code, words in [
        (["down", "none", "-o", "out"], 1, r"^none does not exist$"),
        (["down", "empty", "-o", "out"], 1, r"^no PNG, JPEG, WebP, TIFF or BMP files in empty$"),
        (["down", "in", "-o", "file"], 1, r"^file is a file: file cannot be a folder$"),
        (
            ["down", "in", "-o", "out", "--pair", "none"],
            1,
            r"^unknown pair 'none'; choose from lanczos, bicubic, area, gaussian, sharp$",
        ),
        (
            ["up", "in", "-o", "out", "--pair", "none"],
            1,
            r"^unknown pair 'none'; choose from lanczos, bicubic, area, gaussian, sharp$",
        ),
        (["down", "in", "-o", "out", "--scale", "9"], 2, r"^scale 9 is outside 1 to 8$"),
        (["down", "in", "-o", "out", "--pair", "lanczos-x2", "--scale", "3"], 2, r"is made for scale 2, not for 3$"),
        (["down", "in", "-o", "out", "--quality", "90"], 2, r"^--quality is for JPEG and WebP; PNG is lossless$"),
        (["down", "in", "-o", "out", "--quality", "0", "--format", "jpeg"], 2, r"^quality = 0"),
        (["down", "in", "-o", "out", "--format", "gif"], 2, r"^format = 'gif'"),
        (["up", "in", "-o", "out", "--size", "10"], 2, r"^size '10' is not WIDTHxHEIGHT$"),
        (["roundtrip", "in", "-o", "out", "--device", "tpu"], 2, r"^device = 'tpu'"),
        (
            ["bench", "in", "--pairs", "none,other"],
            1,
            r"^unknown pair 'none'; choose from lanczos, bicubic, area, gaussian, sharp$",
        ),
        (["bench", "empty"], 1, r"^no PNG, JPEG, WebP, TIFF or BMP files in empty$"),
    ]:
        assert re.search(words, refused(tmp_path, "images", *args, code=code)), args


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="permissions of POSIX")
def test_folder_without_permission(photographs: Photographs, tmp_path: Path) -> None:
    photographs("a.png")
    (tmp_path / "out").mkdir(mode=0o555)
    run = run_unprivileged("images", "down", "in", "-o", "out")
    assert message(run) == "the folder out is not writable"
    run = run_unprivileged("images", "down", "in", "-o", "out/sub")
    assert message(run) == f"the folder {tmp_path / 'out'} is not writable"


def test_records_are_documented(photographs: Photographs) -> None:
    source = photographs("a.png")
    (source / "b.png").touch()
    for command in (["down", "in", "-o", "s"], ["up", "s", "-o", "l"], ["roundtrip", "in"], ["bench", "in"]):
        run = run_here("images", *command, "--json")
        for record in map(json.loads, run.stdout.splitlines()):
            assert set(record) == documented(record["event"]) | {"event"}


# The comparison.


def test_bench_scores_by_the_protocol(car: None, photographs: Photographs) -> None:
    photographs("a.png", "sub/b.tif")
    run = run_here("images", "bench", "in", "-o", "out", "--json")
    *pictures, totals = records(run)
    assert totals["methods"].keys() == {
        "Nearest",
        "Bilinear",
        "Bicubic",
        "Lanczos",
        "Area down, Lanczos up",
        "car-x2",
    }
    # Nearest, spelt out: 61x87 is cropped to 56x80, the sample behind the centre stands for four, two are shaved.
    hr = np.moveaxis(PHOTOGRAPH[:56, :80], 2, 0).astype(np.float32) / 255
    sr = hr[:, 1::2, 1::2].repeat(2, axis=1).repeat(2, axis=2)
    for record in pictures:
        assert (record["width"], record["height"]) == (80, 56)
        assert record["scores"]["Nearest"]["psnr_y"] == pytest.approx(luma_psnr(sr, hr, shave=2), abs=1e-6)
        assert record["scores"]["Nearest"]["ssim_y"] == pytest.approx(luma_ssim(sr, hr, shave=2), abs=1e-6)
    assert totals["methods"]["Nearest"]["psnr_y"] == pytest.approx(luma_psnr(sr, hr, shave=2), abs=1e-6)
    assert (totals["pictures"], totals["failed"], totals["scale"]) == (2, 0, "2")


def test_bench_writes_table_rows_and_page(photographs: Photographs) -> None:
    photographs("a.png", "sub/<b>.png")
    run = run_here("images", "bench", "in", "-o", "out")
    assert run.code == 0, run.stderr
    assert files(Path("out")) == ["bench.csv", "bench.md", "index.html"]
    assert Path("out/bench.md").read_text() == run.stdout
    assert re.search(r"^\| Lanczos \| \**\d\d\.\d\d\** \| \**0\.\d{4}\** \|$", run.stdout, re.MULTILINE)
    rows = list(csv.DictReader(Path("out/bench.csv").read_text().splitlines()))
    assert len(rows) == 2 * 5
    psnrs = [float(row["psnr_y"]) for row in rows if row["method"] == "Lanczos"]
    assert f"{np.mean(psnrs):.2f}" in run.stdout
    page = Path("out/index.html").read_text()
    assert page.count("data:image/webp;base64,") == 2 * 6
    bars = [int(width) for width in re.findall(r'class="bar"><span style="width: (\d+)%"', page)]
    means = [
        np.mean([float(row["psnr_y"]) for row in rows if row["method"] == name])
        for name in dict.fromkeys(row["method"] for row in rows)
    ]
    assert bars == [round(10 + 90 * (mean - min(means)) / (max(means) - min(means))) for mean in means]
    assert "<b>.png" not in page
    assert "&lt;b&gt;.png" in page
    assert not re.search(r"""(src|href)=["'](?!data:)""", page)

    assert re.search("exists; -y replaces it$", message(run_here("images", "bench", "in", "-o", "out")))
    assert run_here("images", "bench", "in", "-o", "out", "-y", "-q").code == 0


def test_crops_show_the_same_part(photographs: Photographs) -> None:
    source = photographs("a.png")
    big = np.zeros((240, 320, 3), np.uint8)
    big[120:181, 100:187] = PHOTOGRAPH  # all errors are here
    Image.fromarray(big).save(source / "a.png")
    comparison = api.images_bench([source], pairs="none")
    crops = comparison.pictures[0].crops
    assert [crop.method for crop in crops] == ["Original", *comparison.methods]
    codes = [np.asarray(Image.open(BytesIO(crop.webp)).convert("RGB")).astype(float) for crop in crops]
    height, width = (big.shape[axis] - 89 for axis in (0, 1))
    alike = (big[40 : 40 + height, 40 : 40 + width] == codes[0][40, 40]).all(axis=2)
    places = [(y, x) for y, x in np.argwhere(alike) if np.array_equal(big[y : y + 90, x : x + 90], codes[0])]
    assert len(places) == 1
    assert 30 <= places[0][0] <= 180
    assert 10 <= places[0][1] <= 186
    for other in codes[1:]:
        assert other.shape == codes[0].shape == (90, 90, 3)
        assert 0 < np.abs(other - codes[0]).mean() < 20


@pytest.mark.parametrize("scale", ["4", "3", "3/2"])
def test_bench_at_other_scales(photographs: Photographs, scale: str) -> None:
    photographs("a.png")
    record, totals = records(run_here("images", "bench", "in", "--scale", scale, "--json"))
    assert (record["width"], record["height"]) == {"4": (80, 56), "3": (72, 48), "3/2": (72, 48)}[scale]
    psnrs = {name: scores["psnr_y"] for name, scores in record["scores"].items()}
    assert psnrs["Nearest"] < psnrs["Bicubic"] < psnrs["Lanczos"]
    assert totals["scale"] == scale


def test_bench_of_odd_pictures(photographs: Photographs, tmp_path: Path) -> None:
    photographs("rgb.png")
    photographs("gray.png", mode="L")
    photographs("alpha.png", mode="RGBA")
    Image.fromarray(PHOTOGRAPH[..., 0].astype(np.uint16) * 257).save(tmp_path / "in" / "deep.png")
    Image.fromarray(PHOTOGRAPH[:15, :15]).save(tmp_path / "in" / "fits.png")
    Image.fromarray(PHOTOGRAPH[:7, :5]).save(tmp_path / "in" / "tiny.png")
    run = run_here("images", "bench", "in", "--json")
    assert failures(run) == ["in/tiny.png: 5x7 is too small to crop to multiples of 8"]
    found = {record["source"]: record.get("scores") for record in map(json.loads, run.stdout.splitlines()[:-1])}
    assert found["in/alpha.png"] == found["in/rgb.png"]
    assert found["in/gray.png"] is not None
    assert found["in/fits.png"]["Lanczos"]["ssim_y"] is None
    means = json.loads(run.stdout.splitlines()[-1])["methods"]["Lanczos"]
    assert means["psnr_y"] > 20


@pytest.mark.parametrize("command", ["down", "roundtrip"])
def test_help_names_the_pair_that_is_used(photographs: Photographs, command: str) -> None:
    text = " ".join(run_here("images", command, "--help").stdout.split())
    default = re.search(r"--pair PAIR .*?\[default: \((.*?)\)\]", text)
    assert default is not None
    words = ["-o", "small"] if command == "down" else []
    run = run_here("images", command, photographs("a.png"), *words, "--json")
    assert json.loads(run.stdout.splitlines()[0])["pair"] == f"{default[1]}-x2"


def test_api_does_the_same(photographs: Photographs) -> None:
    source = photographs("a.png")
    (down,) = api.images_down([source], "small", pair="bicubic", scale=2)
    (up,) = api.images_up("small", "large")
    (both,) = api.images_roundtrip([source], pair="bicubic")
    assert (down.pair, up.pair, both.pair) == ("bicubic-x2",) * 3
    assert both.bytes == down.bytes == Path("small/a.png").stat().st_size
    assert up.restored == Path("large/a.png")
    comparison = api.images_bench([source], scale=2, pairs="none")
    assert comparison.rows[3].psnr_y.value > comparison.rows[0].psnr_y.value
