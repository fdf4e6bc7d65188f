"""The work of one chunk: what a worker is told, and what it answers. Only paths and numbers travel."""

import base64
import hashlib
import zlib
from array import array
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from fractions import Fraction
from pathlib import Path
from typing import Any, Protocol

from vidscale.batch.chunks import Chunk
from vidscale.errors import ConfigError, EncodeError, VidscaleError
from vidscale.jobs.adaptation import NOTHING, Adaptation, adapts
from vidscale.jobs.plans import EncodePlan
from vidscale.media.versions import versions
from vidscale.stages.read_log import ReadLog
from vidscale.system.threads import Clock

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


class NotFoundError(FinalError):
    """A worker does not find a file."""


class Task(Protocol):
    """What a worker is told.

    Attributes:
        name: for people.
        start_s, end_s: the part of the movie, seconds; None for its beginning and end.
        threads: processors that the worker may use.
        gpus: share of a GPU that it needs.
    """

    @property
    def name(self) -> str: ...
    @property
    def start_s(self) -> str | None: ...
    @property
    def end_s(self) -> str | None: ...
    @property
    def threads(self) -> int: ...
    @property
    def gpus(self) -> float: ...


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
        jumps: timestamps may jump in the movie: a range is then found by reading all packets before it.
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
    jumps: bool
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


def task_of(
    plan: EncodePlan, chunk: Chunk, file: Path, *, name: str, state: SourceState, threads: int, jumps: bool = True
) -> ChunkTask:
    """The task of encoding a chunk of a plan.

    Args:
        plan: of the whole movie.
        chunk: the part.
        file: to write.
        name: for people.
        state: of the source when the job began.
        threads: processors for the worker.
        jumps: whether timestamps may jump in the source.
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
        jumps=jumps,
        gpus=gpu_share(device),
        version=versions()["vidscale"],
    )


def gpu_share(device: str) -> float:
    """Share of a GPU that a task needs whose pair runs on a device."""
    return 0.25 if device == "cuda" else 0.0


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


def check_unchanged(source: str, state: SourceState) -> None:
    """Raises SourceChangedError if a movie is not the file any more that the job began with."""
    if SourceState.of(Path(source)) != state:
        raise SourceChangedError(f"{source} has changed since the job began: -y starts again")


def sha256_of(path: Path) -> str:
    """Hash of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def answered(run: Callable[[], Any]) -> dict[str, Any]:
    """What a worker answers.

    Returns:
        ``{"result": …}``, or ``{"error": message, "final": whether it would fail again}``.
    """
    try:
        return {"result": run()}
    except VidscaleError as error:
        return {"error": str(error), "final": isinstance(error, ConfigError)}
    except MemoryError:
        return {"error": "out of memory", "final": False}
    except Exception as error:
        return {"error": f"internal error, {type(error).__name__}: {error}", "final": False}


def result_of(record: dict[str, Any]) -> Any:
    """The result in an answer.

    Raises:
        FinalError: the task failed, and would fail again.
        EncodeError: it failed.
    """
    if "error" in record:
        raise (FinalError if record["final"] else EncodeError)(record["error"])
    return record["result"]
