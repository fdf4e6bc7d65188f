"""What a worker does: encodes a chunk, from its movie or from packets that were sent, and verifies it."""

import contextlib
from array import array
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from functools import lru_cache, partial
from pathlib import Path
from secrets import token_hex
from typing import Any

import av

from vidscale.batch.encoder_threads import with_threads
from vidscale.batch.sending import Sent, as_file, read_range
from vidscale.batch.tasks import (
    ChunkResult,
    ChunkTask,
    SourceState,
    answered,
    check_unchanged,
    check_version,
    sha256_of,
)
from vidscale.config import EncodeSettings, TimeRange
from vidscale.errors import ConfigError, EncodeError, VidscaleError, reason_of
from vidscale.jobs.adaptation import NOTHING, adapt_upscaler, adapts, shots_to_adapt
from vidscale.jobs.pipeline import encode_again, encode_video, small_frames
from vidscale.jobs.planning import plan_encode
from vidscale.jobs.plans import EncodePlan
from vidscale.jobs.reading import ReadOnce
from vidscale.media.probe import Source
from vidscale.models.pair_cache import remember
from vidscale.stages.encode import mean_quantiser
from vidscale.stages.pieces import reordering
from vidscale.stages.read_log import ReadLog
from vidscale.system.progress import Progress
from vidscale.system.threads import Clock, Prefetch, limit_cores, queue_depth


def send(task: ChunkTask) -> Sent:
    """The packets that a worker needs which cannot open the movie.

    Raises:
        VidscaleError: they cannot be read.
    """
    check_unchanged(task.source, task.state)
    plan = _planned(task)
    sent = read_range(plan.source, plan.settings.range or TimeRange())
    check_unchanged(task.source, task.state)
    return sent


def run_sent(task: ChunkTask, sent: Sent) -> ChunkResult:
    """Encodes a chunk from packets; otherwise as `run_chunk`."""
    end_s = None if sent.part.end is None else str(sent.part.end)
    with as_file(sent) as source:
        part = replace(task, start_s=str(sent.part.start), end_s=end_s)
        result = run_chunk(part, lambda: None, source=source)
    log = result.log.shifted(-sent.shift_s)
    until = None if sent.until is None else sent.until - int(log.origin_s / sent.source.video.time_base)
    return replace(result, log=log, until=result.until if until is None else until)


def run_chunk(task: ChunkTask, advance: Callable[[], None], *, source: Source | None = None) -> ChunkResult:
    """Encodes a chunk and verifies the file, which gets its name when it is complete.

    Args:
        task: what to do.
        advance: called for each encoded picture.
        source: to read in place of the movie.

    Raises:
        VidscaleError: it failed.
    """
    check_version(task.version)
    file = Path(task.file)
    if source is None:
        check_unchanged(task.source, task.state)
    plan = _planned(task, source)
    log, clocks = ReadLog(), (Clock("decode"), Clock("downscale"), Clock("encode"))
    part = file.with_name(f"{file.stem}.{token_hex(4)}.part{file.suffix}")
    again = part.with_name(f"{part.stem}.again{part.suffix}")
    quantisers = part.with_suffix(".log")
    depth = queue_depth(plan.small.format.frame_bytes(plan.small.height, plan.small.width))

    def advancing(frames: Prefetch[Any]) -> Any:
        for frame in frames:
            yield frame
            advance()

    progress = Progress()
    read = ReadOnce(plan) if adapts(plan) else None
    shots = shots_to_adapt(read, progress) if read else ()
    starts = [shot.start_s for shot in shots[1:]]
    try:
        with small_frames(plan, log, clocks, read=read) as small, Prefetch(small, depth) as frames:
            encoded = encode_video(plan, advancing(frames), part, clocks[-1], quantisers=quantisers, starts=starts)
        quantiser = mean_quantiser(quantisers) if plan.measures_strength else None
        adaptation = NOTHING
        if shots:
            once_more = partial(encode_again, plan, again, starts, progress, read)
            encoded, adaptation = adapt_upscaler(plan, encoded, shots, progress, once_more, read)
        delay = _verified(encoded.path, encoded.pts, plan.small.time_base)
        if source is None:
            check_unchanged(task.source, task.state)
        size, digest = encoded.path.stat().st_size, sha256_of(encoded.path)
        encoded.path.replace(file)
    except OSError as error:
        raise EncodeError(f"cannot write {file}: {reason_of(error)}") from error
    finally:
        for rest in (part, again, quantisers, again.with_suffix(".log")):
            rest.unlink(missing_ok=True)
    remember(plan.pair)
    captions = tuple(encoded.captions.items())
    return ChunkResult(encoded.pts, encoded.until, delay, captions, quantiser, log, clocks, size, digest, adaptation)


def _planned(task: ChunkTask, source: Source | None = None) -> EncodePlan:
    """The plan of the chunk: that of the movie, which is kept for the next chunk, with another range."""
    if source is None:
        plan = movie_plan(task.source, task.state, task.output, task.settings, task.pair)
    else:
        plan = plan_encode(source.path, Path(task.output), _resolved(task.settings), source=source)
        _check_pair(plan, task.pair)
    end = None if task.end_s is None else Fraction(task.end_s)
    part = None if task.start_s is None else TimeRange(start=Fraction(task.start_s), end=end)
    params = with_threads(plan.settings.codec, plan.settings.encoder_params, task.threads)
    settings = plan.settings.model_copy(update={"range": part, "encoder_params": params})
    read = replace(plan.source, may_jump=plan.source.may_jump and task.jumps)
    return replace(plan, source=read, settings=settings)


def movie_plan(
    source: str, state: SourceState, output: str, settings: dict[str, Any], pair: tuple[str, str]
) -> EncodePlan:
    """The plan of a movie, which is kept for its next task.

    Raises:
        ConfigError: this worker's pair of that name is another one.
    """
    plan = _movie_plan(source, state, output, tuple(sorted(settings.items())))
    _check_pair(plan, pair)
    return plan


def _check_pair(plan: EncodePlan, pair: tuple[str, str]) -> None:
    if (plan.pair.name, plan.pair.sha256) != pair:
        raise ConfigError(f"this worker has another {plan.pair.name} than the one the job began with")


@lru_cache(maxsize=4)
def _movie_plan(source: str, state: SourceState, output: str, settings: tuple[tuple[str, Any], ...]) -> EncodePlan:
    return plan_encode(Path(source), Path(output), _resolved(dict(settings)))


def _resolved(settings: dict[str, Any]) -> EncodeSettings:
    return EncodeSettings.resolve(settings, {"report": False, "overwrite": True})


def _verified(file: Path, pts: "array[int]", unit: Fraction) -> int:
    """Checks that a file has exactly these pictures, beginning with a keyframe; returns the delay of their order."""
    try:
        with av.open(str(file)) as container:
            stream = container.streams.video[0]
            packets = [packet for packet in container.demux(stream) if packet.size and packet.pts is not None]
            found = [
                round(packet.pts * Fraction(packet.time_base) / unit) for packet in packets if packet.pts is not None
            ]
            starts_with_key = bool(packets) and packets[0].is_keyframe
    except (av.FFmpegError, OSError) as error:
        raise EncodeError(f"{file.name} cannot be read back: {reason_of(error)}") from error
    if sorted(found) != list(pts) or not starts_with_key or found[0] != pts[0]:
        raise EncodeError(
            f"{file.name} does not hold exactly the {len(pts)} frames that were encoded ({len(found)} found)"
        )
    return reordering(found)


def prepare(record: dict[str, Any]) -> None:
    """Loads what tasks like this one need: plans the movie and scales its first picture."""
    with contextlib.suppress(VidscaleError, OSError):  # the tasks themselves will tell
        task = ChunkTask.from_json(record)
        limit_cores(task.threads)
        plan = _planned(task)
        with small_frames(plan, ReadLog(), (Clock("decode"), Clock("downscale"))) as small:
            next(small, None)


def answer(record: dict[str, Any], advance: Callable[[], None], sent: Sent | None = None) -> dict[str, Any]:
    """Runs a task, both as JSON values, on its movie or on packets that were sent; see `answered`."""

    def result() -> dict[str, Any]:
        task = ChunkTask.from_json(record)
        limit_cores(task.threads)
        return (run_chunk(task, advance) if sent is None else run_sent(task, sent)).to_json()

    return answered(result)
