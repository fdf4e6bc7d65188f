"""Writes benchmark results as a Markdown table, a CSV file and a self-contained HTML page."""

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
from vidscale.system.names import READABLE
from vidscale.system.workspace import check_folder, check_target, partial_files
from vidscale.text import plural, shown
from vidscale.web.page import render_template

MARKDOWN, CSV, PAGE = "bench.md", "bench.csv", "index.html"

_SHOWN = 24  # pictures with crops on the page


def check_outputs(folder: Path, source: Path, *, overwrite: bool) -> None:
    """Checks before any work starts that the files can be written.

    Raises:
        ConfigError: they cannot, or they exist and `overwrite` is false.
    """
    check_folder(folder)
    if folder.exists():
        for name in (MARKDOWN, CSV, PAGE):
            check_target(folder / name, source=source, overwrite=overwrite)


def write_bench(result: BenchResult, folder: Path, source: Path, *, overwrite: bool) -> None:
    """Writes the Markdown table, the CSV file and the page.

    Args:
        result: scores to write.
        folder: output folder; created if missing.
        source: input of the benchmark; never overwritten.
        overwrite: replace existing files.

    Raises:
        ConfigError: a file exists and `overwrite` is false.
        EncodeError: a file cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in ((MARKDOWN, markdown(result)), (CSV, csv_text(result)), (PAGE, page(result))):
        with partial_files(folder / name, source=source, overwrite=overwrite) as workspace:
            workspace.result.write_text(text, encoding="utf-8", errors=READABLE, newline="\n")


def markdown(result: BenchResult) -> str:
    """Markdown table of the means, best value per column in bold, below the title and protocol."""
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
    """One row per picture and method; infinity is ``inf``, a missing value is empty."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("picture", "width", "height", "method", "psnr_y", "ssim_y"))
    for picture in result.pictures:
        for method, score in zip(result.methods, picture.scores, strict=True):
            numbers = ("" if math.isnan(value) else value for value in (score.psnr_y, score.ssim_y))
            writer.writerow((picture.name, picture.width, picture.height, method, *numbers))
    return text.getvalue()


def page(result: BenchResult) -> str:
    """HTML page with the means, crops side by side and all scores. Values are escaped, pictures embedded."""
    return render_template(
        "bench.html.j2",
        mean=mean_text,
        shown=shown,
        uri=_data_uri,
        title=title(result),
        protocol=protocol(result),
        rows=result.rows,
        best=_best(result),
        bars=_bars(result),
        methods=result.methods,
        pictures=result.pictures,
        cropped=[(picture, _captions(picture)) for picture in result.pictures[:_SHOWN] if picture.crops],
        hidden=max(len(result.pictures) - _SHOWN, 0),
        versions=", ".join(f"{name} {version}" for name, version in versions().items()),
        failures=[(str(failure.source), failure.error) for failure in result.failures],
    )


def title(result: BenchResult) -> str:
    """Title of the benchmark."""
    return f"{plural(len(result.pictures), 'picture')}, downscaled by {scale_text(result.scale)} and restored"


def protocol(result: BenchResult) -> str:
    """One sentence on how the scores were measured."""
    return (
        f"Pictures cropped to multiples of {side_multiple(result.scale)}; small and restored pictures rounded to "
        f"8 bits; {plural(ceil(result.scale), 'sample')} shaved off each edge; PSNR and SSIM on luma, averaged over "
        "the pictures."
    )


def mean_text(mean: Mean, digits: int) -> str:
    """The mean, with the number of perfect pictures it leaves out."""
    perfect = f" ({mean.perfect} perfect)" if mean.perfect and math.isfinite(mean.value) else ""
    return f"{shown(mean.value, digits)}{perfect}"


def _best(result: BenchResult) -> tuple[float, float]:
    """Highest mean PSNR and SSIM; nan where there is none."""
    psnrs = [row.psnr_y.value for row in result.rows if not math.isnan(row.psnr_y.value)]
    ssims = [row.ssim_y.value for row in result.rows if not math.isnan(row.ssim_y.value)]
    return max(psnrs, default=math.nan), max(ssims, default=math.nan)


def _bars(result: BenchResult) -> list[int]:
    """Length of each method's bar in percent, linear in PSNR: 10 for the lowest, 100 for the highest."""
    values = [row.psnr_y.value for row in result.rows]
    shown = [value for value in values if math.isfinite(value)]
    if not shown or max(shown) == min(shown):
        return [100] * len(values)
    span = (max(shown) - min(shown)) / 0.9
    base = max(shown) - span
    return [round(100 * min((value - base) / span, 1)) if not math.isnan(value) else 0 for value in values]


def _captions(picture: Scored) -> list[tuple[BenchCrop, str]]:
    """Crops with their captions."""
    numbers = [f"{shown(score.psnr_y, 2)} dB, {shown(score.ssim_y, 4)}" for score in picture.scores]
    return list(zip(picture.crops, ["", *numbers], strict=True))


def _data_uri(crop: BenchCrop) -> str:
    return f"data:image/webp;base64,{base64.b64encode(crop.webp).decode('ascii')}"
