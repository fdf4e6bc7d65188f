"""Settings: frozen, validated, each default defined once.

The command line overrides a recipe file, which overrides the defaults. The resolved settings go into the report.
"""

from vidscale.config.base import AUTO, Codec, CodecSettings, Interlaced, MeasureSettings, Scale, Settings, SsimKind
from vidscale.config.batch import BatchRecipe, BatchSettings
from vidscale.config.encode import SHOTS, Adapt, EncodeSettings
from vidscale.config.images import BenchSettings, ImageSettings
from vidscale.config.ladder import LadderSettings
from vidscale.config.measure import Crop, FilesSettings
from vidscale.config.placeholders import PLACEHOLDERS, CommandLine
from vidscale.config.restore import DecodeSettings, StageSettings
from vidscale.config.source import SourceSettings, TimeRange

__all__ = [
    "AUTO",
    "PLACEHOLDERS",
    "SHOTS",
    "Adapt",
    "BatchRecipe",
    "BatchSettings",
    "BenchSettings",
    "Codec",
    "CodecSettings",
    "CommandLine",
    "Crop",
    "DecodeSettings",
    "EncodeSettings",
    "FilesSettings",
    "ImageSettings",
    "Interlaced",
    "LadderSettings",
    "MeasureSettings",
    "Scale",
    "Settings",
    "SourceSettings",
    "SsimKind",
    "StageSettings",
    "TimeRange",
]
