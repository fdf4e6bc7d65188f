"""A whole encode: decides, encodes, measures, encodes again while the goal is missed, adds the verdict."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from vidscale.config import EncodeSettings
from vidscale.errors import UsageError
from vidscale.jobs.estimates import expected_frames
from vidscale.jobs.evaluation import Measure, evaluate_encode
from vidscale.jobs.pipeline import Outcome, encode
from vidscale.jobs.planning import plan_encode
from vidscale.jobs.plans import EncodePlan
from vidscale.per_title.checking import Check, better_crf, check, closest
from vidscale.per_title.deciding import chosen_settings, decide
from vidscale.per_title.decision import Decision
from vidscale.per_title.record import decision_record
from vidscale.per_title.verdict import verdict_of_decision, verdict_of_encode
from vidscale.report.rows import Report
from vidscale.report.verdict import Verdict
from vidscale.system.progress import Progress
from vidscale.system.versions import Versions

Encoder = Callable[[EncodePlan, Progress | None], Outcome]


@dataclass(frozen=True, slots=True)
class Planned:
    """A planned encode, and the decision that it follows from; None if the settings decide everything."""

    plan: EncodePlan
    decision: Decision | None


@dataclass(frozen=True, slots=True)
class Finished:
    """A finished encode.

    Attributes:
        plan, outcome: of the encode that was kept.
        report: None if nothing was measured; with ``report=False`` it was only measured for the goal.
        checks: one for each encode that had a goal.
    """

    plan: EncodePlan
    outcome: Outcome
    report: Report | None
    checks: tuple[Check, ...] = ()


def plan_title(path: Path, output: Path | None, settings: EncodeSettings, progress: Progress | None = None) -> Planned:
    """Plans an encode; decides first what the settings leave open.

    Args:
        path: the source.
        output: the small file; None for the default name.
        settings: resolved settings.
        progress: of the decision.

    Raises:
        VidscaleError: the job is not possible.
    """
    if settings.segments is not None:
        raise UsageError("segments write a playlist: use `ladder`")
    if not (settings.chooses_scale or settings.has_goal):
        return Planned(plan_encode(path, output, settings), None)
    decision = decide(path, settings, output=output, progress=progress)
    return Planned(plan_encode(path, output, chosen_settings(decision)), decision)


def run_title(
    planned: Planned,
    progress: Progress | None = None,
    *,
    started: float | None = None,
    encoder: Encoder = encode,
    measure: Measure | None = None,
    encoded: Callable[[Outcome], None] = lambda outcome: None,
) -> Finished:
    """Executes a planned encode.

    Args:
        planned: the plan.
        progress: receives the progress, in frames.
        started: `time.perf_counter` at the start of the job; None for now.
        encoder: executes a plan.
        measure: what measures its output; None for this program.
        encoded: called after each encode.

    Raises:
        VidscaleError: it failed.
    """
    started = time.perf_counter() if started is None else started
    decision = planned.decision
    is_verified = decision is not None and decision.is_verified

    def attempt(plan: EncodePlan) -> Finished:
        is_measured = plan.settings.report or is_verified
        if progress and is_measured:
            progress.expect("measuring", expected_frames(plan.source, plan.settings.range))
        outcome = encoder(plan, progress)
        encoded(outcome)
        report = evaluate_encode(plan, outcome, progress, started, measure=measure) if is_measured else None
        return Finished(plan, outcome, report)

    finished = attempt(planned.plan)
    if decision is not None and is_verified:
        finished = _until_met(finished, decision, attempt)
    if finished.report is None:
        return finished
    report = with_verdict(finished.report, finished.plan, decision, progress)
    return replace(finished, report=replace(report, wall_s=time.perf_counter() - started))


def _until_met(first: Finished, decision: Decision, attempt: Callable[[EncodePlan], Finished]) -> Finished:
    """Encodes again while the goal is missed and another crf may meet it; keeps the file that comes closest."""
    tries, checks = [first], [_checked(first, decision)]
    with Versions(first.plan.output.path) as versions:
        while (crf := better_crf(decision, checks)) is not None:
            versions.keep()
            again = first.plan.settings.model_copy(update={"crf": crf, "overwrite": True})
            plan = plan_encode(first.plan.source.path, first.plan.output.path, again, pair=first.plan.pair)
            tries.append(attempt(plan))
            checks.append(_checked(tries[-1], decision))
        best = closest(decision, checks)
        if best < len(tries) - 1:
            versions.bring_back(best)
    checks[best] = replace(checks[best], is_kept=True)
    return replace(tries[best], checks=tuple(checks))


def _checked(finished: Finished, decision: Decision) -> Check:
    if finished.report is None:
        raise ValueError(f"{finished.outcome.path} was not measured")
    return check(decision, finished.plan.settings.crf, finished.report, finished.outcome.path)


def with_verdict(
    report: Report, plan: EncodePlan, decision: Decision | None, progress: Progress | None = None
) -> Report:
    """The report with the decision, and with what the full size would have needed."""
    if decision is not None:
        report = replace(report, decision=decision_record(decision))
    if not (plan.settings.verdict and plan.settings.report):
        return report
    found: Verdict | str | None = verdict_of_decision(decision) if decision else None
    if found is None:
        found = verdict_of_encode(plan, progress)
    if isinstance(found, Verdict):
        return replace(report, verdict=found)
    return replace(report, notes=(*report.notes, found)) if found else report
