"""Options that several commands share. Their values are checked by `vidscale.config`, so that recipes get the same."""

from pathlib import Path
from typing import Annotated

import typer

# readable=False: whether a file can be read is found out by reading it, and told in one line.
Input = Annotated[Path, typer.Argument(help="Video file.", show_default=False, readable=False)]
Output = Annotated[
    Path | None, typer.Option("-o", "--output", help="File to write.", show_default=False, readable=False)
]
Overwrite = Annotated[bool, typer.Option("-y", "--overwrite", help="Replace an existing output.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print errors only.")]
Json = Annotated[bool, typer.Option("--json", help="Print results as JSON, one object a line.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print the settings and the ffmpeg commands, do nothing.")]
Ffmpeg = Annotated[
    Path | None, typer.Option("--ffmpeg", help="The ffmpeg binary to use.", show_default=False, readable=False)
]
Device = Annotated[str | None, typer.Option("--device", help="auto, cpu or cuda.", show_default="auto")]
Codec = Annotated[str | None, typer.Option("--codec", help="x264, x265 or svtav1.", show_default="x264")]
Preset = Annotated[
    str | None, typer.Option("--preset", help="Preset of the encoder.", show_default="medium; svtav1: 8")
]
Params = Annotated[
    str | None, typer.Option("--encoder-params", help="Settings of the encoder itself, key=value:key=value.")
]
Pair = Annotated[
    str | None,
    typer.Option(
        "--pair", help="Pair of scalers, such as adaptive, or lanczos-x2; coding, the learned one by default."
    ),
]
Scale = Annotated[
    str | None,
    typer.Option("--scale", help="Source size over coded size, 1 to 8: 2, 1.5, 3/2; coding, the pair's or 2."),
]
Strict = Annotated[bool, typer.Option("--strict", help="Refuse to lose anything: streams, metadata, damaged frames.")]
Ssim = Annotated[str | None, typer.Option("--ssim", help="SSIM window: gaussian or ffmpeg.", show_default="gaussian")]
Vmaf = Annotated[bool, typer.Option("--vmaf", help="Add VMAF and VMAF NEG.")]
Xpsnr = Annotated[bool, typer.Option("--xpsnr", help="Add XPSNR.")]
Alpha = Annotated[
    str | None, typer.Option("--alpha", help="Pixels that are not opaque: refuse, drop.", show_default="refuse")
]
TrainingFolder = Annotated[
    Path, typer.Option("-o", "--output", help="Folder of the training; where one was stopped, it goes on.")
]
Assignments = Annotated[
    list[str] | None,
    typer.Option("--set", help="Setting over the recipe's, such as loop.steps=2000.", show_default=False),
]


def said(flag: bool) -> bool | None:
    """A flag as a layer of settings: None where it was not given, so that a recipe's value stays."""
    return flag or None
