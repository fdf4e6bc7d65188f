"""A movie encoded in chunks by several workers; resumes after a kill at any moment.

A folder beside the output, ``OUTPUT.chunks``, holds the finished chunks and their journal until the file and its report
are complete. A chunk in the journal counts only if its file still has the same bytes.
"""

import contextlib
import shutil
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from vidscale.batch.chunks import Chunk, divide, expected_count
from vidscale.batch.job import JUMPS, THREADS, Job, job_of, other_job
from vidscale.batch.joining import join
from vidscale.batch.journal import Journal
from vidscale.batch.local import Engine
from vidscale.batch.lock import Claim
from vidscale.batch.tasks import ChunkResult, log_from, log_record, task_of
from vidscale.batch.work import DiskFullError, Work
from vidscale.config import EncodeSettings
from vidscale.errors import EncodeError, reason_of
from vidscale.jobs.adaptation import SegmentFacts
from vidscale.jobs.pipeline import Outcome
from vidscale.jobs.plans import EncodePlan
from vidscale.per_title.encoding import Planned, plan_title
from vidscale.system.progress import Progress
from vidscale.system.threads import Clock, core_count
from vidscale.system.workspace import check_target, remove_abandoned

_JOURNAL, _LOCK = "journal.db", "lock"
_SPARE = 1 << 24  # bytes that stay free


def folder_of(output: Path) -> Path:
    """The folder of an unfinished output."""
    return output.with_name(f"{output.name}.chunks")


def plan_chunked(
    path: Path, output: Path | None, settings: EncodeSettings, progress: Progress | None = None
) -> Planned:
    """Plans an encode as `plan_title`, but what an unfinished run has written may be replaced."""
    if output is not None:
        _check_free(output, path, settings)
    found = plan_title(path, output, settings.model_copy(update={"overwrite": True}), progress)
    if output is None:
        _check_free(found.plan.output.path, path, settings)
    kept = found.plan.settings.model_copy(update={"overwrite": settings.overwrite})
    return replace(found, plan=replace(found.plan, settings=kept))


def _check_free(output: Path, source: Path, settings: EncodeSettings) -> None:
    is_unfinished = (folder_of(output) / _JOURNAL).exists()
    check_target(output, source=source, overwrite=settings.overwrite or is_unfinished)


class ChunkedEncoder:
    """Encodes plans in chunks. It holds the output until the ``with`` block ends, which also covers the report.

    Args:
        engine: where the chunks run.
        count: wanted number of chunks; None for as many as suit the movie.
        spread: workers that this movie alone is to keep busy; None for all, where there is no other movie.
        asked: the settings from which those of the plans were chosen; None if the plans have the user's own. A plan
            may then differ from that of an earlier run: it was made for the next try to meet a goal.
        expected_bytes: of the small video, as predicted; None when unknown.
    """

    def __init__(
        self,
        engine: Engine,
        count: int | None,
        *,
        spread: int | None = None,
        asked: EncodeSettings | None = None,
        expected_bytes: float | None = None,
    ) -> None:
        self._engine, self._count, self._spread, self._asked = engine, count, spread or engine.workers, asked
        self._expected_bytes = expected_bytes
        self._is_only = spread is None  # else a crash must not end the other movies
        self._claim: Claim | None = None
        self._journal: Journal | None = None
        self._folder = Path()

    def __enter__(self) -> "ChunkedEncoder":
        return self

    def __exit__(self, *_: object) -> None:
        self._release()

    def discard(self) -> None:
        """Removes the journal and the chunks: the movie and its report are complete."""
        if self._claim is None or self._journal is None:
            return
        self._journal.close()
        self._journal = None
        for path in sorted(self._folder.iterdir(), key=lambda path: path.name == _LOCK):
            path.unlink(missing_ok=True)
        self._release()
        with contextlib.suppress(OSError):
            self._folder.rmdir()

    def forget(self, output: Path) -> None:
        """Removes the leftovers of a run that was killed when its movie and report were complete."""
        remove_abandoned(output)
        if folder_of(output).exists():
            self._opened(output)
            self.discard()

    def _release(self) -> None:
        if self._journal is not None and self._journal.job() is None:
            self.discard()
        journal, self._journal = self._journal, None
        if journal is not None:
            journal.close()
        claim, self._claim = self._claim, None
        if claim is not None:
            claim.release()

    def __call__(self, plan: EncodePlan, progress: Progress | None = None) -> Outcome:
        """Executes a plan: writes the small file.

        Raises:
            VidscaleError: it failed; the finished chunks are kept for the next run.
        """
        progress = progress or Progress()
        journal = self._opened(plan.output.path)
        job, chunks = self._begun(plan, journal, progress)
        ours = journal.file(plan.output.path)
        if ours is not None and ours[0] == job.key:
            remove_abandoned(plan.output.path)
            return _outcome(plan, ours[1])
        overwrite = plan.settings.overwrite or ours is not None
        check_target(plan.output.path, source=plan.source.path, overwrite=overwrite)
        files = [self._folder / f"{number:05d}.mp4" for number in range(len(chunks))]
        self._remove_others(files)
        results = self._finished(journal, job, chunks, files)
        if results:
            progress.note(f"{len(results)} of {len(chunks)} chunks were finished before")
        if not results:  # the chunks, and the output that they are joined into
            _check_room(self._folder, 2 * (self._expected_bytes or 0))
        self._run(plan, journal, job, chunks, files, results, progress)
        progress.start("joining", None)

        def complete(content: Path, outcome: Outcome) -> None:
            journal.add_file(job.key, plan.output.path, _facts(outcome), content=content)

        ordered = [results[number] for number in range(len(chunks))]
        outcome = join(plan, chunks, ordered, files, overwrite=overwrite, complete=complete)
        for file in files:
            file.unlink(missing_ok=True)
        return outcome

    def _opened(self, output: Path) -> Journal:
        folder = folder_of(output)
        if self._journal is not None and folder == self._folder:
            return self._journal
        self._release()
        self._folder = folder
        try:
            folder.mkdir(exist_ok=True)
        except OSError as error:
            raise EncodeError(f"cannot write {folder}: {reason_of(error)}") from error
        self._claim = Claim(folder / _LOCK, str(output))
        self._journal = Journal(folder / _JOURNAL)
        return self._journal

    def _begun(self, plan: EncodePlan, journal: Journal, progress: Progress) -> tuple[Job, list[Chunk]]:
        """The job of the journal if it is this one; else a new one."""
        wanted = job_of(plan, self._count, self._asked)
        found = journal.job()
        if found is not None and found.key == wanted.key:
            return found, journal.chunks()
        if found is not None and not plan.settings.overwrite and not wanted.is_another_try(found):
            raise other_job(self._folder.name, found, wanted)
        progress.start("looking for cuts", None)
        self._prepare(plan, wanted)
        division = divide(plan.source, plan.settings.range, self._count, workers=self._spread)
        if division.note:
            progress.note(division.note)
        threads = core_count() if self._is_alone(len(division.chunks)) else self._engine.threads
        job = replace(wanted, facts=wanted.facts | {THREADS: threads, JUMPS: division.jumps})
        journal.begin(job, division.chunks)
        return job, list(division.chunks)

    def _is_alone(self, chunks: int) -> bool:
        """Whether the movie has a single chunk, and there is no other movie."""
        return chunks == 1 and self._spread == self._engine.workers

    def _prepare(self, plan: EncodePlan, job: Job) -> None:
        """Workers load what they need while this program looks for cuts."""
        count = expected_count(plan.source, plan.settings.range, self._count, workers=self._spread)
        if self._is_only and count == 1:
            return
        whole = Chunk(None, None, None)
        name = f"{plan.source.path.name}, in preparation"
        task = task_of(plan, whole, self._folder / "none.mp4", name=name, state=job.state, threads=self._engine.threads)
        self._engine.prepare(task, min(count, self._spread))

    def _finished(
        self, journal: Journal, job: Job, chunks: Sequence[Chunk], files: Sequence[Path]
    ) -> dict[int, ChunkResult]:
        """The finished chunks whose files still have the same bytes."""
        found = {
            number: journal.finished(number, job.depends(chunk), file)
            for number, (chunk, file) in enumerate(zip(chunks, files, strict=True))
        }
        return {number: result for number, result in found.items() if result is not None}

    def _remove_others(self, files: Sequence[Path]) -> None:
        """Removes the leftovers of killed workers."""
        for path in self._folder.iterdir():
            if path not in files and not path.name.startswith((_JOURNAL, _LOCK)):
                path.unlink(missing_ok=True)

    def _run(
        self,
        plan: EncodePlan,
        journal: Journal,
        job: Job,
        chunks: Sequence[Chunk],
        files: Sequence[Path],
        results: dict[int, ChunkResult],
        progress: Progress,
    ) -> None:
        """Encodes the chunks without a result, and enters each in the journal as soon as it is finished."""
        left = [number for number in range(len(chunks)) if number not in results]
        left.sort(key=lambda number: -(chunks[number].frames or 0))  # or one worker is busy with a long one at the end
        frames = [chunks[number].frames for number in left]
        progress.start("encoding", None if None in frames else sum(filter(None, frames)))
        tasks = {
            number: task_of(
                plan,
                chunks[number],
                files[number],
                name=f"{plan.source.path.name}, chunk {number + 1} of {len(chunks)}",
                state=job.state,
                threads=job.threads,
                jumps=job.jumps,
            )
            for number in left
        }

        def finished(number: int, result: ChunkResult) -> None:
            results[number] = result
            journal.finish(number, job.depends(chunks[number]), result)
            progress.part(len(results), len(chunks))
            _check_room(self._folder, _left_bytes(chunks, results))

        engine = self._engine.alone if self._is_only and len(chunks) == 1 else self._engine
        Work(engine.submit, tasks, finished, progress).run()


def _left_bytes(chunks: Sequence[Chunk], results: dict[int, ChunkResult]) -> float:
    """Bytes that the other chunks and the output will need, judged by the chunks so far."""
    coded = sum(len(result.pts) for result in results.values())
    size = sum(result.size for result in results.values())
    frames = sum(chunk.frames or 0 for chunk in chunks)
    total = size * max(1.0, frames / coded)
    return 2 * total - size


def _check_room(folder: Path, needed: float) -> None:
    """Raises DiskFullError when the disk does not have room for that many more bytes."""
    free = shutil.disk_usage(folder).free
    if free < needed + _SPARE:
        raise DiskFullError(
            f"the disk has room for {free:,} bytes, and the rest needs about {round(needed) + _SPARE:,}; "
            "free some space and run the same command again"
        )


def _facts(outcome: Outcome) -> dict[str, Any]:
    """An outcome for the journal."""
    clocks = [(clock.stage, clock.frames, clock.busy_s) for clock in outcome.clocks]
    return {
        "frames": outcome.frames,
        "notes": outcome.notes,
        "log": log_record(outcome.log),
        "clocks": clocks,
        "adapted": [asdict(segment) for segment in outcome.adapted],
    }


def _outcome(plan: EncodePlan, facts: dict[str, Any]) -> Outcome:
    clocks = tuple(Clock(*clock) for clock in facts["clocks"])
    adapted = tuple(SegmentFacts(**segment) for segment in facts["adapted"])
    return Outcome(plan.output.path, facts["frames"], log_from(facts["log"]), clocks, tuple(facts["notes"]), adapted)
