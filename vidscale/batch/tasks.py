"""The work of one chunk: what a worker is told, what it does, what it answers. Only paths and numbers travel."""

import base64
import hashlib
import zlib
from array import array
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields, replace
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from secrets import token_hex
from typing import Any

import av

from vidscale.batch.chunks import Chunk
from vidscale.batch.encoder_threads import with_threads
from vidscale.config import EncodeSettings, TimeRange
from vidscale.errors import ConfigError, EncodeError, VidscaleError, reason_of
from vidscale.jobs.adaptation import NOTHING, Adaptation, adapt_upscaler, adapts, shots_to_adapt
from vidscale.jobs.pipeline import encode_video, small_frames
from vidscale.jobs.planning import plan_encode
from vidscale.jobs.plans import EncodePlan
from vidscale.media.versions import versions
from vidscale.models.pair_cache import remember
from vidscale.stages.encode import mean_quantiser
from vidscale.stages.pieces import reordering
from vidscale.stages.read_log import ReadLog
from vidscale.system.progress import Progress
from vidscale.system.threads import Clock, Prefetch, limit_cores, queue_depth

# The settings that decide what is coded; the others are about reports, goals and files.
CODING = ("scale", "pair", "tune", "effort", "crf", "codec", "preset", "encoder_params", "device", "ffmpeg", "adapt")
READING = ("stream", "interlaced", "alpha", "strict")

_BLOCK = 1 << 20


@dataclass(frozen=True, slots=True)
class SourceState:
    """A source file at some time: its size in bytes and its time of modification, ns; both None for a pattern."""

    size: int | None
    mtime_ns: int | None

    @classmethod
    def of(cls, path: Path) -> "SourceState":
        try:
            status = path.stat()
        except FileNotFoundError:  # a pattern of numbered pictures
            return cls(None, None)
        return cls(status.st_size, status.st_mtime_ns)


class FinalError(ConfigError):
    """A chunk failed, and would fail again."""


class SourceChangedError(ConfigError):
    """The source is not the file any more that the job began with."""


@dataclass(frozen=True, slots=True)
class ChunkTask:
    """What a worker needs to encode a chunk.

    Attributes:
        name: for people: movie and number of the chunk.
        source: path of the movie.
        state: of the movie when the job began.
        output: path of the small file that the chunk becomes part of.
        settings: `CODING` and `READING` settings as JSON values.
        start_s, end_s: the part to read; both None for the whole movie.
        file: path to write.
        pair: full name and hash of the pair.
        threads: processors that the worker may use.
        gpus: share of a GPU that the chunk needs.
        version: of vidscale.
    """

    name: str
    source: str
    state: SourceState
    output: str
    settings: dict[str, Any]
    start_s: str | None
    end_s: str | None
    file: str
    pair: tuple[str, str]
    threads: int
    gpus: float
    version: str

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, record: dict[str, Any]) -> "ChunkTask":
        pair = (record["pair"][0], record["pair"][1])
        return cls(**record | {"state": SourceState(**record["state"]), "pair": pair})


@dataclass(frozen=True, slots=True)
class ChunkResult:
    """A finished chunk.

    Attributes:
        pts: timestamps of its pictures in presentation order, from its origin on, in the source's time base.
        until: end of the last one, in the same unit; None when unknown.
        delay: see `vidscale.stages.pieces.reordering`.
        captions: closed captions by timestamp.
        quantiser: mean of its pictures, where it was asked for.
        log: of reading; its origin is the source time of the chunk's zero.
        clocks: of its stages.
        size: of the file, bytes.
        sha256: of the file.
        adaptation: its updates of the upscaler, from the same origin on.
    """

    pts: "array[int]"
    until: int | None
    delay: int
    captions: tuple[tuple[int, bytes], ...]
    quantiser: float | None
    log: ReadLog
    clocks: tuple[Clock, ...]
    size: int
    sha256: str
    adaptation: Adaptation = NOTHING

    def to_json(self) -> dict[str, Any]:
        return {
            "pts": base64.b85encode(zlib.compress(self.pts.tobytes())).decode(),
            "until": self.until,
            "delay": self.delay,
            "captions": [(pts, data.hex()) for pts, data in self.captions],
            "quantiser": self.quantiser,
            "log": log_record(self.log),
            "clocks": [(clock.stage, clock.frames, clock.busy_s) for clock in self.clocks],
            "size": self.size,
            "sha256": self.sha256,
            "adaptation": self.adaptation.to_json(),
        }

    @classmethod
    def from_json(cls, record: dict[str, Any]) -> "ChunkResult":
        return cls(
            pts=array("q", zlib.decompress(base64.b85decode(record["pts"]))),
            until=record["until"],
            delay=record["delay"],
            captions=tuple((pts, bytes.fromhex(data)) for pts, data in record["captions"]),
            quantiser=record["quantiser"],
            log=log_from(record["log"]),
            clocks=tuple(Clock(stage, frames, busy_s) for stage, frames, busy_s in record["clocks"]),
            size=record["size"],
            sha256=record["sha256"],
            adaptation=Adaptation.from_json(record["adaptation"]),
        )


def log_record(log: ReadLog) -> dict[str, Any]:
    """A log as JSON values."""
    record = {field.name: getattr(log, field.name) for field in fields(ReadLog)}
    late = None if log.truncated_at_s is None else str(log.truncated_at_s)
    side_data = {words: str(at) for words, at in log.side_data.items()}
    return record | {"origin_s": str(log.origin_s), "truncated_at_s": late, "side_data": side_data}


def log_from(record: dict[str, Any]) -> ReadLog:
    """The log of `log_record`."""
    late = record["truncated_at_s"]
    return ReadLog(
        **record
        | {
            "origin_s": Fraction(record["origin_s"]),
            "truncated_at_s": None if late is None else Fraction(late),
            "side_data": {words: Fraction(at) for words, at in record["side_data"].items()},
        }
    )


def task_of(plan: EncodePlan, chunk: Chunk, file: Path, *, name: str, state: SourceState, threads: int) -> ChunkTask:
    """The task of encoding a chunk of a plan.

    Args:
        plan: of the whole movie.
        chunk: the part.
        file: to write.
        name: for people.
        state: of the source when the job began.
        threads: processors for the worker.
    """
    device = plan.pair.downscale_backend.device
    adapt = plan.settings.adapt if adapts(plan) else "off"
    settings = plan.settings.model_copy(update={"device": device, "adapt": adapt})
    dumped = settings.model_dump(mode="json", include={*CODING, *READING})
    part = chunk.time_range(plan.source, plan.settings.range)
    return ChunkTask(
        name=name,
        source=str(plan.source.path),
        state=state,
        output=str(plan.output.path),
        settings=dumped,
        start_s=None if part is None else str(part.start),
        end_s=None if part is None or part.end is None else str(part.end),
        file=str(file),
        pair=(plan.pair.name, plan.pair.sha256),
        threads=threads,
        gpus=0.25 if device == "cuda" else 0.0,
        version=versions()["vidscale"],
    )


def check_version(version: str, *, at: str = "this worker", found: str | None = None) -> None:
    """Raises ConfigError if a job and a worker have different versions of vidscale.

    Args:
        version: of the job.
        at: the worker, for the message.
        found: its version; None for the version of this program.
    """
    own = found or versions()["vidscale"]
    if version != own:
        raise ConfigError(f"{at} runs vidscale {own}, the job vidscale {version}: install the same on both")


def run_chunk(task: ChunkTask, advance: Callable[[], None]) -> ChunkResult:
    """Encodes a chunk and verifies the file, which gets its name when it is complete.

    Args:
        task: what to do.
        advance: called for each encoded picture.

    Raises:
        VidscaleError: it failed.
    """
    check_version(task.version)
    source, file = Path(task.source), Path(task.file)
    _check_unchanged(source, task.state)
    plan = _planned(task)
    log, clocks = ReadLog(), (Clock("decode"), Clock("downscale"), Clock("encode"))
    part = file.with_name(f"{file.stem}.{token_hex(4)}.part{file.suffix}")
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
        delay = _verified(part, encoded.pts, plan.small.time_base)
        quantiser = mean_quantiser(quantisers) if plan.measures_strength else None
        adaptation = adapt_upscaler(plan, encoded, shots, progress) if shots else NOTHING
        _check_unchanged(source, task.state)
        size, digest = part.stat().st_size, sha256_of(part)
        part.replace(file)
    except OSError as error:
        raise EncodeError(f"cannot write {file}: {reason_of(error)}") from error
    finally:
        part.unlink(missing_ok=True)
        quantisers.unlink(missing_ok=True)
    remember(plan.pair)
    captions = tuple(encoded.captions.items())
    return ChunkResult(encoded.pts, encoded.until, delay, captions, quantiser, log, clocks, size, digest, adaptation)


def _planned(task: ChunkTask) -> EncodePlan:
    """The plan of the chunk: that of the movie, which is kept for the next chunk, with another range."""
    settings = tuple(sorted(task.settings.items()))
    plan = _movie_plan(task.source, task.state, task.output, settings)
    if (plan.pair.name, plan.pair.sha256) != task.pair:
        raise ConfigError(f"this worker has another {plan.pair.name} than the one the job began with")
    end = None if task.end_s is None else Fraction(task.end_s)
    part = None if task.start_s is None else TimeRange(start=Fraction(task.start_s), end=end)
    params = with_threads(plan.settings.codec, plan.settings.encoder_params, task.threads)
    return replace(plan, settings=plan.settings.model_copy(update={"range": part, "encoder_params": params}))


@lru_cache(maxsize=4)
def _movie_plan(source: str, state: SourceState, output: str, settings: tuple[tuple[str, Any], ...]) -> EncodePlan:
    resolved = EncodeSettings.resolve(dict(settings), {"report": False, "overwrite": True})
    return plan_encode(Path(source), Path(output), resolved)


def _check_unchanged(source: Path, state: SourceState) -> None:
    if SourceState.of(source) != state:
        raise SourceChangedError(f"{source} has changed since the job began: -y starts again")


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


def sha256_of(path: Path) -> str:
    """Hash of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def answer(record: dict[str, Any], advance: Callable[[], None]) -> dict[str, Any]:
    """Runs a task, both as JSON values.

    Returns:
        ``{"result": …}``, or ``{"error": message, "final": whether it would fail again}``.
    """
    try:
        task = ChunkTask.from_json(record)
        limit_cores(task.threads)
        return {"result": run_chunk(task, advance).to_json()}
    except VidscaleError as error:
        return {"error": str(error), "final": isinstance(error, ConfigError)}
    except MemoryError:
        return {"error": "out of memory", "final": False}
    except Exception as error:
        return {"error": f"internal error, {type(error).__name__}: {error}", "final": False}


def result_of(record: dict[str, Any]) -> ChunkResult:
    """The result in an answer.

    Raises:
        FinalError: the task failed, and would fail again.
        EncodeError: it failed.
    """
    if "error" in record:
        raise (FinalError if record["final"] else EncodeError)(record["error"])
    return ChunkResult.from_json(record["result"])
