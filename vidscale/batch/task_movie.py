"""The movie of a task, as it is sent to a worker, and the plan that the worker makes from it."""

from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from vidscale.batch.source_state import SourceState, source_changed
from vidscale.config import EncodeSettings
from vidscale.errors import ConfigError
from vidscale.jobs.planning import plan_encode
from vidscale.jobs.plans import EncodePlan
from vidscale.media.probe import Source
from vidscale.media.versions import versions

# The settings that decide what is coded; the others are about reports, goals and files.
CODING = ("scale", "pair", "tune", "effort", "crf", "codec", "preset", "encoder_params", "device", "ffmpeg", "adapt")
READING = ("stream", "interlaced", "alpha", "strict")


@dataclass(frozen=True, slots=True)
class TaskMovie:
    """A movie as it is sent to a worker: paths and numbers only.

    Attributes:
        source: path of the movie.
        state: of the movie when the job began.
        output: path of the small file.
        settings: the settings that matter for the task, as JSON values.
        pair: full name and hash of the pair.
        jumps: timestamps may jump in the movie: a range is then found by reading all packets before it.
        version: of vidscale.
    """

    source: str
    state: SourceState
    output: str
    settings: dict[str, Any] = field(hash=False)
    pair: tuple[str, str]
    jumps: bool
    version: str

    @classmethod
    def of(cls, plan: EncodePlan, settings: dict[str, Any], state: SourceState, *, jumps: bool) -> "TaskMovie":
        """The movie of a plan; arguments as the attributes."""
        return cls(
            source=str(plan.source.path),
            state=state,
            output=str(plan.output.path),
            settings=settings,
            pair=(plan.pair.name, plan.pair.sha256),
            jumps=jumps,
            version=versions()["vidscale"],
        )

    @classmethod
    def from_json(cls, record: dict[str, Any]) -> "TaskMovie":
        """Parses the output of `dataclasses.asdict`, after its way through JSON."""
        pair = (record["pair"][0], record["pair"][1])
        return cls(**record | {"state": SourceState(**record["state"]), "pair": pair})

    def check_unchanged(self) -> None:
        """Raises SourceChangedError if the movie has changed since the job began."""
        if SourceState.of(Path(self.source)) != self.state:
            raise source_changed(self.source)


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


def movie_plan(movie: TaskMovie, source: Source | None = None) -> EncodePlan:
    """The plan of a movie, which is kept for its next task.

    Args:
        movie: what to plan.
        source: to read in place of the movie; such a plan is not kept.

    Raises:
        ConfigError: this worker's pair of that name is another one.
    """
    return _kept_plan(movie) if source is None else _plan(movie, source)


@lru_cache(maxsize=4)
def _kept_plan(movie: TaskMovie) -> EncodePlan:
    return _plan(movie, None)


def _plan(movie: TaskMovie, source: Source | None) -> EncodePlan:
    settings = EncodeSettings.resolve(movie.settings, {"report": False, "overwrite": True})
    path = Path(movie.source) if source is None else source.path
    plan = plan_encode(path, Path(movie.output), settings, source=source)
    if (plan.pair.name, plan.pair.sha256) != movie.pair:
        raise ConfigError(f"this worker has another {plan.pair.name} than the one the job began with")
    return replace(plan, source=replace(plan.source, may_jump=plan.source.may_jump and movie.jumps))
