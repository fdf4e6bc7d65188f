"""A decision as JSON values, for reports and the command line, and the command that encodes each way."""

import shlex
from math import isfinite
from typing import Any

from vidscale.config import EncodeSettings
from vidscale.jobs.command_line import other_options, scale_word
from vidscale.per_title.decision import Decision, WayEstimate, goal_text, sentence
from vidscale.per_title.evidence import Difference
from vidscale.per_title.ways import settings_for


def decision_record(decision: Decision) -> dict[str, Any]:
    """The decision, see docs/report-schema.md."""
    goal = decision.goal
    return {
        "sentence": sentence(decision),
        "goal": {
            "text": goal_text(decision),
            "metric": goal.metric,
            "percentile": goal.percentile,
            "crf": goal.crf,
            "quality": goal.quality,
            "video_bytes": None if goal.video_bytes is None else round(goal.video_bytes),
        },
        "judge": decision.judge,
        "frames": decision.frames,
        "duration_s": float(decision.duration_s),
        "parts": [[float(part.start), float(part.end or 0)] for part in decision.parts],
        "ways": [_way(decision, one) for one in decision.ways],
        "chosen": decision.ways.index(decision.chosen),
        "cost": {
            "seconds": round(decision.seconds, 3),
            "probes": decision.probes,
            "frames": decision.probed_frames,
        },
        "notes": list(decision.notes),
    }


def _way(decision: Decision, one: WayEstimate) -> dict[str, Any]:
    return {
        "way": one.way.scaling,
        "pair": "lanczos" if one.way.is_full else one.way.pair,
        "adapt": settings_for(one.way, decision.settings, one.crf).adapt,
        "scale": str(one.way.scale),
        "crf": one.crf,
        "video_bytes": round(one.video_bytes),
        "bitrate_kbps": _number(decision.bitrate_kbps(one)),
        "quality": {metric: _number(value) for metric, value in one.quality.items()},
        "bits": _difference(one.bits),
        "judged_bits": _difference(one.judged),
        "lost": {metric: _number(value) for metric, value in one.lost.items()},
        "encode_s": round(one.encode_s, 3),
        "restore_s": round(one.restore_s, 3),
        "is_reached": one.is_reached,
        "is_known": one.is_known,
        "probes": [
            {
                "crf": point.crf,
                "video_bytes": round(point.video_bytes),
                "quality": {metric: _number(value) for metric, value in point.quality.items()},
            }
            for point in one.points
        ],
    }


def _difference(bits: Difference) -> dict[str, float | None]:
    return {"bits": _number(bits.bits), "low": _number(bits.low), "high": _number(bits.high)}


def _number(value: float | None) -> float | None:
    return None if value is None or not isfinite(value) else float(f"{value:.6g}")


def encode_command(decision: Decision, one: WayEstimate, source: str) -> str:
    """The command that encodes a movie one way."""
    words = ["vidscale", "encode", source, "--scale", scale_word(one.way.scale), "--crf", f"{one.crf:g}"]
    if one.way.is_full or one.way.down:
        words += ["--pair", "lanczos" if one.way.is_full else one.way.pair]
    settings = settings_for(one.way, decision.settings, one.crf)
    return shlex.join([*words, *_encoder_options(settings), *other_options(settings)])


def _encoder_options(settings: EncodeSettings) -> list[str]:
    """Codec and preset, where they are not the defaults."""
    words = [] if settings.codec == "x264" else ["--codec", settings.codec]
    return words if settings.preset is None else [*words, "--preset", settings.preset]
