"""Options shared by several commands. `vidscale.config` validates their values, as it does for recipes."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from vidscale.config.base import Settings

# readable=False: an unreadable file is reported in one line when it is opened.
Input = Annotated[Path, typer.Argument(help="Video file.", metavar="SOURCE", show_default=False, readable=False)]
Output = Annotated[
    Path | None,
    typer.Option("-o", "--output", help="File to write.", metavar="FILE", show_default=False, readable=False),
]
SmallFile = Annotated[
    Path,
    typer.Argument(
        help="Small file that vidscale encoded, or a playlist of ladder.",
        metavar="SOURCE",
        show_default=False,
        readable=False,
    ),
]
Overwrite = Annotated[bool, typer.Option("-y", "--overwrite", help="Replace an existing output.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print errors only.")]
Json = Annotated[bool, typer.Option("--json", help="Print results as JSON, one object per line.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print the settings and the ffmpeg commands, write nothing.")]
Ffmpeg = Annotated[
    Path | None,
    typer.Option("--ffmpeg", help="ffmpeg binary to use.", metavar="FILE", show_default=False, readable=False),
]
Device = Annotated[
    str | None,
    typer.Option("--device", help="Where the scalers run.", metavar="auto|cpu|cuda", show_default="auto"),
]
Effort = Annotated[
    str | None,
    typer.Option(
        "--effort",
        help="Downscaler: a filter alone, or with a small or large network that corrects for the upscaler's errors.",
        metavar="fast|normal|patient",
        show_default="by encoder, preset and scale",
    ),
]
Adapt = Annotated[
    str | None,
    typer.Option(
        "--adapt",
        help="Train the upscaler on each shot; the file carries the difference.",
        metavar="off|light|full|best",
        show_default="off",
    ),
]
Codec = Annotated[str | None, typer.Option("--codec", help="Encoder.", metavar="x264|x265|svtav1", show_default="x264")]
Preset = Annotated[
    str | None,
    typer.Option("--preset", help="Encoder preset.", metavar="PRESET", show_default="medium; svtav1: 8"),
]
Params = Annotated[
    str | None,
    typer.Option("--encoder-params", help="Options passed to the encoder.", metavar="KEY=VALUE:..."),
]
Pair = Annotated[
    str | None,
    typer.Option(
        "--pair",
        help="Pair of scalers: a family (adaptive, lanczos), a full name (lanczos-x2) or a folder; default: the "
        "learned pair of the scale.",
        metavar="PAIR",
    ),
]
Tune = Annotated[
    str | None,
    typer.Option(
        "--tune",
        help="Metric the learned pair is tuned for.",
        metavar="psnr|vmaf",
        show_default="psnr; with --scale auto that of the judge",
    ),
]
Target = Annotated[
    str | None,
    typer.Option(
        "--target",
        help="Quality to reach with the fewest bits, in place of --crf: vmaf, vmaf_neg, ssim, psnr, xpsnr.",
        metavar="METRIC=VALUE",
    ),
]
TargetPercentile = Annotated[
    float | None,
    typer.Option(
        "--target-percentile",
        help="Percentile of the frames that must reach the target.",
        metavar="P",
        show_default="mean",
    ),
]
MaxSize = Annotated[
    str | None,
    typer.Option(
        "--max-size", help="Largest file size, in place of --crf: takes the best quality that fits.", metavar="700M"
    ),
]
MaxBitrate = Annotated[
    str | None, typer.Option("--max-bitrate", help="Highest mean bitrate of the video, bit/s.", metavar="1500k")
]
Segments = Annotated[
    str | None,
    typer.Option(
        "--segments",
        help="Decide for parts of this length, or for each shot, instead of once for the movie (HLS output).",
        metavar="SECONDS|shots",
    ),
]
Judge = Annotated[
    str | None,
    typer.Option(
        "--judge",
        help="Quality metric that different scales are compared by.",
        metavar="METRIC",
        show_default="vmaf_neg",
    ),
]
Client = Annotated[
    str | None,
    typer.Option(
        "--client",
        help="Player: vidscale restores the picture; any other only enlarges it.",
        metavar="vidscale|any",
        show_default="vidscale",
    ),
]
BestEffort = Annotated[
    bool, typer.Option("--best-effort", help="Take the best reachable quality if the target is above it.")
]
Chunks = Annotated[
    str | None,
    typer.Option(
        "--chunks",
        help="Encode in chunks, in parallel; run the same command again to resume.",
        metavar="N|auto",
        show_default="one piece",
    ),
]
Jobs = Annotated[
    int | None,
    typer.Option("--jobs", help="Number of workers that encode chunks.", metavar="N", show_default="by the processors"),
]
TimeRange = Annotated[
    str | None, typer.Option("--range", help="Part to encode, in seconds or hh:mm:ss.", metavar="START:END")
]
Stream = Annotated[
    str | None, typer.Option("--stream", help="Video stream to encode.", metavar="v:N", show_default="v:0")
]
EncodeScale = Annotated[
    str | None,
    typer.Option(
        "--scale",
        help="Source size over small size, 1 to 8; auto chooses the scale and the pair that need the fewest bits for "
        "equal quality. Default: auto, or the scale of --pair.",
        metavar="auto|2|1.5|3/2",
    ),
]
RestorePair = Annotated[
    str | None,
    typer.Option("--pair", help="Pair to restore with; default: the one in the file's identity.", metavar="PAIR"),
]
Scale = Annotated[
    str | None,
    typer.Option(
        "--scale", help="Source size over small size, 1 to 8; default: the pair's scale, or 2.", metavar="2|1.5|3/2"
    ),
]
RestoreScale = Annotated[
    str | None,
    typer.Option("--scale", help="Scale of a file without identity.", metavar="2|1.5|3/2"),
]
Interlaced = Annotated[
    str | None,
    typer.Option(
        "--interlaced",
        help="How to handle frames flagged as interlaced.",
        metavar="refuse|ignore|bwdif",
        show_default="refuse",
    ),
]
Strict = Annotated[bool, typer.Option("--strict", help="Refuse to lose anything: streams, metadata, damaged frames.")]
Ssim = Annotated[
    str | None, typer.Option("--ssim", help="SSIM window.", metavar="gaussian|ffmpeg", show_default="gaussian")
]
Vmaf = Annotated[bool, typer.Option("--vmaf", help="Also measure VMAF and VMAF NEG.")]
Xpsnr = Annotated[bool, typer.Option("--xpsnr", help="Also measure XPSNR.")]
Alpha = Annotated[
    str | None,
    typer.Option(
        "--alpha", help="How to handle pixels that are not opaque.", metavar="refuse|drop", show_default="refuse"
    ),
]
TrainingFolder = Annotated[
    Path,
    typer.Option("-o", "--output", help="Folder of the training; rerun to resume.", metavar="FOLDER"),
]
Assignments = Annotated[
    list[str] | None,
    typer.Option("--set", help="Override a setting of the recipe.", metavar="KEY=VALUE", show_default=False),
]

TrainingPhotos = Annotated[
    Path | None,
    typer.Option("--photos", help="Folder of photographs to animate into shots.", metavar="FOLDER", show_default=False),
]
ValidationPhotos = Annotated[
    Path | None,
    typer.Option("--validation", help="Folder of photographs to validate on.", metavar="FOLDER", show_default=False),
]
ValidationPictures = Annotated[
    Path,
    typer.Option("--validation", help="Folder of photographs to validate on.", metavar="FOLDER", show_default=False),
]
PackedCrops = Annotated[Path, typer.Argument(help="Packed crops (train pack).", metavar="CROPS", show_default=False)]
TrainingClips = Annotated[
    Path | None,
    typer.Option("--clips", help="Folder of videos to train on as well.", metavar="FOLDER", show_default=False),
]


def stream_number(text: str | None) -> int | str | None:
    """The N of ``v:N``; anything else unchanged, to be rejected by the settings."""
    return text if text is None or not text.startswith("v:") else text.removeprefix("v:")


def given(context: typer.Context, settings: "type[Settings]", **names: str | None) -> dict[str, Any]:
    """The options on the command line that are settings, as a layer for `Settings.resolve`; those left out keep the
    value of a recipe or the default.

    Args:
        context: of the command, whose parameters are named like the settings.
        settings: class of the settings.
        names: settings whose parameter has another name, by that name; None if it is no setting of this class.
    """
    names = {"time_range": "range", **names}
    layer = {}
    for parameter, value in context.params.items():
        name = names.get(parameter, parameter)
        if name in settings.model_fields and _is_given(context, parameter):
            layer[name] = stream_number(value) if name == "stream" else value
    return layer


def _is_given(context: typer.Context, parameter: str) -> bool:
    """Whether an option is on the command line."""
    source = context.get_parameter_source(parameter)
    return source is not None and source.name != "DEFAULT"
