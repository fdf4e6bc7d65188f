"""What a worker does: encodes a chunk, from its movie or from packets that were sent, and verifies it."""

import contextlib
from array import array
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from secrets import token_hex
from typing import Any

import av

from vidscale.batch.encoder_threads import with_threads
from vidscale.batch.sending import Sent, as_file, read_range
from vidscale.batch.task_movie import check_version, movie_plan
from vidscale.batch.tasks import ChunkResult, ChunkTask, answered, sha256_of
from vidscale.config import TimeRange
from vidscale.errors import EncodeError, VidscaleError, reason_of
from vidscale.jobs.adaptation import adapts, shots_to_adapt
from vidscale.jobs.encoding import adapt_encoded, encode_video, small_frames
from vidscale.jobs.plans import EncodePlan
from vidscale.jobs.reading import ReadOnce
from vidscale.media.frames import Frame
from vidscale.media.probe import Source
from vidscale.models.pair_cache import remember
from vidscale.stages.encode import mean_quantiser
from vidscale.stages.pieces import reordering
from vidscale.stages.read_log import ReadLog
from vidscale.system.progress import Progress
from vidscale.system.threads import Clock, Prefetch, limit_cores, queue_depth


def send(task: ChunkTask) -> Sent:
    """The packets of a chunk, for a worker that cannot open the movie.

    Raises:
        VidscaleError: they cannot be read.
    """
    task.movie.check_unchanged()
    plan = _planned(task)
    sent = read_range(plan.source, plan.settings.range or TimeRange())
    task.movie.check_unchanged()
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
    check_version(task.movie.version)
    file = Path(task.file)
    if source is None:
        task.movie.check_unchanged()
    plan = _planned(task, source)
    log, clocks = ReadLog(), (Clock("decode"), Clock("downscale"), Clock("encode"))
    part = file.with_name(f"{file.stem}.{token_hex(4)}.part{file.suffix}")
    again = part.with_name(f"{part.stem}.again{part.suffix}")
    quantisers = part.with_suffix(".log")
    progress = Progress()
    read = ReadOnce(plan) if adapts(plan) else None
    shots = shots_to_adapt(read, progress) if read else ()
    try:
        with (
            small_frames(plan, log, clocks, read=read) as small,
            Prefetch(small, queue_depth(plan.small.frame_bytes)) as frames,
        ):
            counted = _counted(frames, advance)
            encoded = encode_video(plan, counted, part, clocks[-1], quantisers=quantisers, shots=shots)
        quantiser = mean_quantiser(quantisers) if plan.measures_strength else None
        encoded, adaptation = adapt_encoded(plan, encoded, shots, progress, again, read)
        delay = _verified(encoded.path, encoded.pts, plan.small.time_base)
        if source is None:
            task.movie.check_unchanged()
        size, digest = encoded.path.stat().st_size, sha256_of(encoded.path)
        encoded.path.replace(file)
    except OSError as error:
        raise EncodeError(f"cannot write {file}: {reason_of(error)}") from error
    finally:
        for rest in (part, again, quantisers):
            rest.unlink(missing_ok=True)
    remember(plan.pair)
    captions = tuple(encoded.captions.items())
    return ChunkResult(encoded.pts, encoded.until, delay, captions, quantiser, log, clocks, size, digest, adaptation)


def _counted(frames: Iterable[Frame], advance: Callable[[], None]) -> Iterator[Frame]:
    for frame in frames:
        yield frame
        advance()


def _planned(task: ChunkTask, source: Source | None = None) -> EncodePlan:
    """The plan of the chunk: that of the movie with another range."""
    plan = movie_plan(task.movie, source)
    end = None if task.end_s is None else Fraction(task.end_s)
    part = None if task.start_s is None else TimeRange(start=Fraction(task.start_s), end=end)
    params = with_threads(plan.settings.codec, plan.settings.encoder_params, task.threads)
    return replace(plan, settings=plan.settings.model_copy(update={"range": part, "encoder_params": params}))


def _verified(file: Path, pts: "array[int]", unit: Fraction) -> int:
    """Checks that a file has exactly these pictures, beginning with a keyframe; returns the reordering delay."""
    try:
        with av.open(str(file)) as container:
            found, starts_with_key = list[int](), False
            for packet in container.demux(container.streams.video[0]):
                if packet.size and packet.pts is not None:
                    starts_with_key |= not found and packet.is_keyframe
                    found.append(round(packet.pts * Fraction(packet.time_base) / unit))
    except (av.FFmpegError, OSError) as error:
        raise EncodeError(f"{file.name} cannot be read back: {reason_of(error)}") from error
    if sorted(found) != list(pts) or not starts_with_key or found[0] != pts[0]:
        raise EncodeError(
            f"{file.name} does not hold exactly the {len(pts)} frames that were encoded ({len(found)} found)"
        )
    return reordering(found)


def prepare(record: dict[str, Any]) -> None:
    """Loads what tasks like this one need: plans the movie and scales its first picture."""
    with contextlib.suppress(VidscaleError, OSError):  # the tasks themselves report it
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
