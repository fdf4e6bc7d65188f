"""The task of encoding a chunk, and its result. Only paths and numbers travel."""

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
from vidscale.batch.source_state import SourceState
from vidscale.batch.task_movie import CODING, READING, TaskMovie
from vidscale.errors import ConfigError, EncodeError, VidscaleError
from vidscale.jobs.adaptation import NOTHING, Adaptation, adapts
from vidscale.jobs.plans import EncodePlan
from vidscale.stages.read_log import ReadLog
from vidscale.system.threads import Clock

_BLOCK = 1 << 20


class FinalError(ConfigError):
    """A chunk failed, and would fail again."""


class NotFoundError(FinalError):
    """A worker cannot find a file."""


class Task(Protocol):
    """A task for a worker.

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
        movie: that the chunk is a part of.
        start_s, end_s: the part to read; both None for the whole movie.
        file: path to write.
        threads: processors that the worker may use.
        gpus: share of a GPU that the chunk needs.
    """

    name: str
    movie: TaskMovie
    start_s: str | None
    end_s: str | None
    file: str
    threads: int
    gpus: float

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, record: dict[str, Any]) -> "ChunkTask":
        return cls(**record | {"movie": TaskMovie.from_json(record["movie"])})


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
        movie=TaskMovie.of(plan, dumped, state, jumps=jumps),
        start_s=None if part is None else str(part.start),
        end_s=None if part is None or part.end is None else str(part.end),
        file=str(file),
        threads=threads,
        gpus=gpu_share(device),
    )


def gpu_share(device: str) -> float:
    """Share of a GPU that a task needs whose pair runs on a device."""
    return 0.25 if device == "cuda" else 0.0


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
