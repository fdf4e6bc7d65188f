"""What the chunks of a movie depend on."""

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import Any

from vidscale.batch.chunks import Chunk
from vidscale.batch.source_state import SourceState, source_changed
from vidscale.batch.task_movie import CODING, READING
from vidscale.config import EncodeSettings
from vidscale.errors import ConfigError, VidscaleError
from vidscale.jobs.plans import EncodePlan
from vidscale.media.versions import versions

_ASKED = "asked"
_BESIDES = {"overwrite", "jobs", "report", "report_dir", "verdict", "chunks"}
THREADS = "threads"  # decided when the job begins, for the machine where it begins
JUMPS = "jumps"  # found when it begins


@dataclass(frozen=True, slots=True)
class Job:
    """An encode of a movie in chunks.

    Attributes:
        key: hash of the facts that the user and the machine's programs decide.
        facts: these, and what was decided when the job began.
    """

    key: str
    facts: dict[str, Any]

    @property
    def state(self) -> SourceState:
        """Of the source when the job began."""
        return SourceState(**self.facts["state"])

    @property
    def threads(self) -> int:
        """Processors for each worker. What x264 and x265 write depends on it."""
        threads: int = self.facts[THREADS]
        return threads

    @property
    def jumps(self) -> bool:
        """Whether timestamps jump in the source."""
        return bool(self.facts.get(JUMPS, True))

    def depends(self, chunk: Chunk) -> str:
        """Hash of everything that decides the bytes of a chunk."""
        return _hash([self.key, self.threads, chunk.start, chunk.end])

    def is_another_try(self, other: "Job") -> bool:
        """Whether both were chosen from the same settings for the same source."""
        same = all(self.facts[name] == other.facts.get(name) for name in (_ASKED, "source", "state"))
        return same and self.facts[_ASKED] is not None


def job_of(plan: EncodePlan, count: int | None, asked: EncodeSettings | None = None) -> Job:
    """The job of a plan, before anything is decided.

    Args:
        plan: of the movie.
        count: wanted number of chunks; None for automatic.
        asked: the settings from which those of the plan were chosen; None if they are the user's own.
    """
    facts: dict[str, Any] = {
        "source": str(plan.source.path.absolute()),
        "state": asdict(SourceState.of(plan.source.path)),
        "settings": plan.settings.model_dump(mode="json", include={*CODING, *READING, "range"}),
        "chunks": count,
        "pair": [plan.pair.name, plan.pair.sha256],
        "container": plan.output.muxer,
        "vidscale": versions()["vidscale"],
        "ffmpeg": plan.ffmpeg.version,
    }
    names = {*asked.model_fields_set} - _BESIDES if asked else set()
    chosen_from = asked.model_dump(mode="json", include=names) if asked else None
    return Job(_hash(facts), facts | {_ASKED: chosen_from})


def _hash(facts: object) -> str:
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def other_job(folder: str, found: Job, wanted: Job) -> VidscaleError:
    """The error for a journal of another job; names what differs.

    Args:
        folder: of the journal.
        found: the journal's.
        wanted: the one that was asked for.
    """
    known = {name: value for name, value in wanted.facts.items() if name != _ASKED}
    differing = [name for name, value in known.items() if found.facts.get(name) != value]
    if "state" in differing and "source" not in differing:
        return source_changed(wanted.facts["source"])
    if "settings" in differing:
        differing.remove("settings")
        then, now = found.facts["settings"], wanted.facts["settings"]
        differing += [name for name, value in now.items() if then.get(name) != value]
    return ConfigError(f"{folder} is of an unfinished run with another {', '.join(differing)}: -y starts again")
