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
from vidscale.batch.tasks import ChunkResult, ChunkTask, SourceState, check_unchanged, check_version, sha256_of
from vidscale.config import EncodeSettings, TimeRange
from vidscale.errors import ConfigError, EncodeError, VidscaleError, reason_of
from vidscale.jobs.adaptation import NOTHING, adapt_upscaler, adapts, shots_to_adapt
from vidscale.jobs.pipeline import encode_again, encode_video, small_frames
from vidscale.jobs.planning import plan_encode
from vidscale.jobs.plans import EncodePlan
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
    check_unchanged(task)
    plan = _planned(task)
    sent = read_range(plan.source, plan.settings.range or TimeRange())
    check_unchanged(task)
    return sent


def run_sent(task: ChunkTask, sent: Sent) -> ChunkResult:
    """Encodes a chunk from packets; otherwise as `run_chunk`."""
    task = task if task.start_s is not None else replace(task, start_s="0")  # its packets begin with the movie
    with as_file(sent) as source:
        result = run_chunk(task, lambda: None, source=source)
    if sent.until is None:
        return result
    return replace(result, until=sent.until - int(result.log.origin_s / sent.source.video.time_base))


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
        check_unchanged(task)
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
    shots = shots_to_adapt(plan, progress) if adapts(plan) else ()
    starts = [shot.start_s for shot in shots[1:]]
    try:
        with small_frames(plan, log, clocks) as small, Prefetch(small, depth) as frames:
            encoded = encode_video(plan, advancing(frames), part, clocks[-1], quantisers=quantisers, starts=starts)
        quantiser = mean_quantiser(quantisers) if plan.measures_strength else None
        adaptation = NOTHING
        if shots:
            once_more = partial(encode_again, plan, again, starts, progress)
            encoded, adaptation = adapt_upscaler(plan, encoded, shots, progress, once_more)
        delay = _verified(encoded.path, encoded.pts, plan.small.time_base)
        if source is None:
            check_unchanged(task)
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
        plan = _movie_plan(task.source, task.state, task.output, tuple(sorted(task.settings.items())))
    else:
        plan = plan_encode(source.path, Path(task.output), _resolved(task.settings), source=source)
    if (plan.pair.name, plan.pair.sha256) != task.pair:
        raise ConfigError(f"this worker has another {plan.pair.name} than the one the job began with")
    end = None if task.end_s is None else Fraction(task.end_s)
    part = None if task.start_s is None else TimeRange(start=Fraction(task.start_s), end=end)
    params = with_threads(plan.settings.codec, plan.settings.encoder_params, task.threads)
    settings = plan.settings.model_copy(update={"range": part, "encoder_params": params})
    read = replace(plan.source, may_jump=plan.source.may_jump and task.jumps)
    return replace(plan, source=read, settings=settings)


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
        raise EncodeError(f"{len(pts)} frames were encoded into {file.name}, but {len(found)} others are in it")
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
    """Runs a task, both as JSON values, on its movie or on packets that were sent.

    Returns:
        ``{"result": …}``, or ``{"error": message, "final": whether it would fail again}``.
    """
    try:
        task = ChunkTask.from_json(record)
        limit_cores(task.threads)
        result = run_chunk(task, advance) if sent is None else run_sent(task, sent)
        return {"result": result.to_json()}
    except VidscaleError as error:
        return {"error": str(error), "final": isinstance(error, ConfigError)}
    except MemoryError:
        return {"error": "out of memory", "final": False}
    except Exception as error:
        return {"error": f"internal error, {type(error).__name__}: {error}", "final": False}
