"""Losses from source to output, damage of the source included, one line each; an error with ``--strict``."""

from vidscale.errors import ConfigError
from vidscale.jobs.plans import DecodePlan, EncodePlan
from vidscale.jobs.restore import SmallFile
from vidscale.media.containers import OutputPlan
from vidscale.media.orientation import lost_turn
from vidscale.media.probe import Source
from vidscale.media.side_data import STEREO, lost
from vidscale.stages.read_log import ReadLog


def loss_notes(source: Source, target: OutputPlan, codec: str, strict: bool) -> tuple[str, ...]:
    """Losses that are known before encoding starts.

    Args:
        source: the probed source.
        target: the output.
        codec: coded format of its video.
        strict: refuse to lose anything.

    Raises:
        ConfigError: something is lost, and ``strict`` is set.
    """
    notes = [target.reason] if target.reason else []
    if source.alternatives:
        size = f"{source.decoded_size[0]}x{source.decoded_size[1]}"
        notes.append(f"{source.path.name} offers several variants: the one of {size} is read, the others are left out")
    side_data = [words for words in lost(source.side_data, codec) if not _is_tagged(words, source, target)]
    return (*notes, *_note([*target.lost, *side_data], strict))


def late_loss_notes(source: Source, codec: str, log: ReadLog, strict: bool) -> tuple[str, ...]:
    """Losses that are known after all pictures were read: side data that begins after the first pictures.

    Arguments and errors as in `loss_notes`; ``log`` is that of the decoding stage.
    """
    late = [words for words in lost(log.side_data, codec) if words not in source.side_data]
    found = [f"{words} (from {float(log.side_data[words] - source.start_s):.3f} s on)" for words in late]
    return _note(found, strict)


def _is_tagged(words: str, source: Source, target: OutputPlan) -> bool:
    """Whether the side data comes from a tag of Matroska's, which its muxer writes again."""
    return words == STEREO and target.muxer in ("matroska", "webm") and "stereo_mode" in source.stream.metadata


def raw_video_notes(small: SmallFile, strict: bool) -> tuple[str, ...]:
    """Losses of restoring to raw video, which cannot store the rotation.

    Raises:
        ConfigError: something is lost, and ``strict`` is set.
    """
    turn = lost_turn(small.restored.display_matrix, "yuv4mpegpipe")
    return _note([turn] if turn else [], strict)


def read_notes(log: ReadLog, source: Source, *, strict: bool) -> tuple[str, ...]:
    """Messages for the user about the reading of a source.

    Raises:
        DecodeError: it is damaged, and ``strict`` is set.
    """
    if strict:
        log.check_strict(source)
    return log.notes(source)


def found_notes(plan: EncodePlan | DecodePlan, log: ReadLog) -> tuple[str, ...]:
    """Messages for the user about what reading the source has found; errors with ``--strict``."""
    strict = plan.settings.strict
    return read_notes(log, plan.source, strict=strict) + late_loss_notes(plan.source, plan.codec, log, strict)


def _note(words: list[str], strict: bool) -> tuple[str, ...]:
    if words and strict:
        raise ConfigError(f"--strict refuses to lose: {', '.join(words)}")
    return (f"the output does not hold: {', '.join(words)}",) if words else ()
