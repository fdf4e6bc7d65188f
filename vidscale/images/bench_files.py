"""A comparison of methods as a Markdown table, as CSV, and as one page that needs no network."""

import base64
import csv
import io
import math
from math import ceil
from pathlib import Path

from vidscale.images.bench import BenchCrop, BenchResult, Scored, side_multiple
from vidscale.images.summary import Mean
from vidscale.media.geometry import scale_text
from vidscale.media.versions import versions
from vidscale.report.totals import plural
from vidscale.system.names import READABLE
from vidscale.system.workspace import check_folder, check_target, partial_files
from vidscale.web.page import render_template, shown

MARKDOWN, CSV, PAGE = "bench.md", "bench.csv", "index.html"

_SHOWN = 24  # pictures with crops on a page


def check_outputs(folder: Path, source: Path, *, overwrite: bool) -> None:
    """Makes sure, before work starts, that the files can be written.

    Raises:
        ConfigError: they cannot, or are there and are not to be replaced.
    """
    check_folder(folder)
    if folder.exists():
        for name in (MARKDOWN, CSV, PAGE):
            check_target(folder / name, source=source, overwrite=overwrite)


def write_bench(result: BenchResult, folder: Path, source: Path, *, overwrite: bool) -> None:
    """Writes the table, a row per picture and method, and the page.

    Args:
        result: of `run_bench`.
        folder: where to; made where it is missing.
        source: what it was made from, which is never replaced.
        overwrite: existing files may be replaced.

    Raises:
        ConfigError: a file is there and is not to be replaced.
        EncodeError: one cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in ((MARKDOWN, markdown(result)), (CSV, csv_text(result)), (PAGE, page(result))):
        with partial_files(folder / name, source=source, overwrite=overwrite) as workspace:
            workspace.result.write_text(text, encoding="utf-8", errors=READABLE, newline="\n")


def markdown(result: BenchResult) -> str:
    """The table of the means, the best of each column in bold, with what was measured above it."""
    rows = result.rows
    lines = [
        title(result),
        "",
        protocol(result),
        "",
        "| method | PSNR-Y, dB | SSIM-Y |",
        "| --- | ---: | ---: |",
    ]
    for row in rows:
        cells = []
        for mean, digits, highest in zip((row.psnr_y, row.ssim_y), (2, 4), _best(result), strict=True):
            text = mean_text(mean, digits)
            cells.append(f"**{text}**" if mean.value == highest else text)
        lines.append(f"| {row.method.replace('|', '/')} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def csv_text(result: BenchResult) -> str:
    """A row per picture and method; inf as ``inf``, a missing number as nothing."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("picture", "width", "height", "method", "psnr_y", "ssim_y"))
    for picture in result.pictures:
        for method, score in zip(result.methods, picture.scores, strict=True):
            numbers = ("" if math.isnan(value) else value for value in (score.psnr_y, score.ssim_y))
            writer.writerow((picture.name, picture.width, picture.height, method, *numbers))
    return text.getvalue()


def page(result: BenchResult) -> str:
    """The page as text: the means, crops side by side, all scores. Every value is escaped; pictures are inside."""
    return render_template(
        "bench.html.j2",
        mean=mean_text,
        shown=shown,
        uri=_data_uri,
        title=title(result),
        protocol=protocol(result),
        rows=result.rows,
        best=_best(result),
        methods=result.methods,
        pictures=result.pictures,
        cropped=[(picture, _captions(picture)) for picture in result.pictures[:_SHOWN] if picture.crops],
        hidden=max(len(result.pictures) - _SHOWN, 0),
        versions=", ".join(f"{name} {version}" for name, version in versions().items()),
        failures=[(str(failure.source), failure.error) for failure in result.failures],
    )


def title(result: BenchResult) -> str:
    """What was compared, in a few words."""
    return f"{plural(len(result.pictures), 'picture')}, scaled down by {scale_text(result.scale)} and back"


def protocol(result: BenchResult) -> str:
    """How it was measured, in a sentence."""
    return (
        f"Pictures cropped to multiples of {side_multiple(result.scale)}, small and restored pictures in 8-bit "
        f"codes, {plural(ceil(result.scale), 'sample')} shaved off each edge, PSNR and SSIM of luma, means over "
        "the pictures."
    )


def mean_text(mean: Mean, digits: int) -> str:
    """The mean with what is not in it."""
    perfect = f" ({mean.perfect} perfect)" if mean.perfect and math.isfinite(mean.value) else ""
    return f"{shown(mean.value, digits)}{perfect}"


def _best(result: BenchResult) -> tuple[float, float]:
    """Highest mean PSNR and SSIM; nan where there is none."""
    psnrs = [row.psnr_y.value for row in result.rows if not math.isnan(row.psnr_y.value)]
    ssims = [row.ssim_y.value for row in result.rows if not math.isnan(row.ssim_y.value)]
    return max(psnrs, default=math.nan), max(ssims, default=math.nan)


def _captions(picture: Scored) -> list[tuple[BenchCrop, str]]:
    """Crops with what to write below them."""
    numbers = [f"{shown(score.psnr_y, 2)} dB, {shown(score.ssim_y, 4)}" for score in picture.scores]
    return list(zip(picture.crops, ["", *numbers], strict=True))


def _data_uri(crop: BenchCrop) -> str:
    return f"data:image/webp;base64,{base64.b64encode(crop.webp).decode('ascii')}"
