"""``spikelab sort``: plan the jobs, run them, and tabulate the outcomes."""

from __future__ import annotations

import logging
from collections import Counter
from dataclasses import replace
from typing import IO, TYPE_CHECKING, Any

import click

from spikelab.cli._output import (
    BAD_INPUT,
    BIOLOGY,
    ENVIRONMENT,
    OTHER,
    RESOURCE,
    as_options,
    code_for,
    indented,
    message_for,
    most_severe,
    table,
)
from spikelab.cli._progress import shown_progress
from spikelab.spike_sorting.data.outcomes import BIOLOGY as NOTHING_TO_SORT
from spikelab.spike_sorting.data.outcomes import DONE, FAILED, plain_name
from spikelab.spike_sorting.data.outcomes import ENVIRONMENT as CANNOT_RUN
from spikelab.spike_sorting.data.outcomes import RESOURCE as OUT_OF_RESOURCES
from spikelab.spike_sorting.run.jobs import Job, plan_jobs
from spikelab.spike_sorting.run.record import NO_UNIT_KEPT, shown_status
from spikelab.system.quoting import printable_lines

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from spikelab.spike_sorting.batch.policy import Outcome
    from spikelab.spike_sorting.run.faults import Fault
    from spikelab.spike_sorting.run.parts import Part
    from spikelab.spike_sorting.run.wanted import Wanted

logger = logging.getLogger(__name__)
NAMES_SHOWN = 3
HEADER: tuple[str, ...] = ("recording", "outcome", "units kept", "not kept", "results")
NOT_KEPT = 3  # its place
NOT_ATTEMPTED = "not attempted"
KIND_OF_CODE = {
    BIOLOGY: plain_name(NOTHING_TO_SORT),
    BAD_INPUT: "cannot be read",
    RESOURCE: plain_name(OUT_OF_RESOURCES),
    ENVIRONMENT: plain_name(CANNOT_RUN),
    OTHER: FAILED,
}
KINDS = (DONE, NO_UNIT_KEPT, *KIND_OF_CODE.values(), NOT_ATTEMPTED)


def sort_files(
    files: Sequence[Path],
    wanted: Wanted,
    streams: Sequence[str],
    *,
    all_recordings: bool,
    results: Path | None,
    intermediate: Path | None,
) -> tuple[str, int]:
    """Sort the recordings of the command line; return the table of outcomes and the exit code.

    What would be refused is told for all of them first, and the others are sorted.
    """
    from spikelab.spike_sorting.batch.in_process import run_jobs
    from spikelab.spike_sorting.run.parts import parts_of_files

    parts = parts_of_files(files, wanted, streams, all_recordings=all_recordings)
    jobs = _jobs(parts, results, intermediate)
    faults = faults_of_jobs(jobs, parts)
    for line in (*choice_lines(jobs), *lines_of_left_out(parts)):
        logger.info("%s", line)
    _tell(jobs, faults)
    with shown_progress():
        outcomes = run_jobs(jobs, {i: of_job[0].as_error() for i, of_job in faults.items()})
    return report_outcomes(outcomes)


def sort_found(source: Any, wanted: Wanted, results: Path, intermediate: Path | None) -> tuple[str, int]:
    """Sort one recording, a path or one in memory, whose settings are known; return the outcome and the exit code."""
    from spikelab.spike_sorting.batch.in_process import run_jobs

    if not hasattr(source, "get_traces"):
        return sort_files((source,), wanted, (), all_recordings=False, results=results, intermediate=intermediate)
    jobs = plan_jobs([(source, wanted.config)], [intermediate or results / "intermediate"], [results])
    with shown_progress():
        return report_outcomes(run_jobs(jobs))


def _tell(jobs: Sequence[Job], faults: Mapping[int, Sequence[Fault]]) -> None:
    """Tell all faults; Refused where every job has one, or one has to be chosen by whoever typed the command."""
    told = [(jobs[i].name, fault) for i, of_job in faults.items() for fault in of_job]
    if len(faults) == len(jobs) or any(fault.choice for _, fault in told):
        raise Refused(told)
    for name, fault in told:
        logger.warning("%s is not sorted: %s", name, fault_text(fault))


class Refused(click.ClickException):
    """Nothing could be started; the message has a line for each fault, and the exit code is that of the gravest."""

    def __init__(self, faults: Sequence[tuple[str, Fault]]) -> None:
        super().__init__("\n".join(_once_each(faults)))
        self.exit_code = most_severe(  # type: ignore[misc]  # click says it for the class
            [code_for(fault.as_error()) for _, fault in faults]
        )

    def show(self, file: IO[Any] | None = None) -> None:  # noqa: ARG002 - click's signature
        """Write the message to stderr."""
        lines = printable_lines(self.message)
        several = "\n" in lines
        click.echo(f"error: nothing was started:\n{indented(lines)}" if several else f"error: {lines}", err=True)


def _once_each(faults: Sequence[tuple[str, Fault]]) -> list[str]:
    """Write each fault once, with the recordings that have it, unless all do or it is none of theirs."""
    names: dict[str, list[str]] = {}
    for name, fault in faults:
        names.setdefault(fault_text(fault), []).append("" if fault.choice or fault.key == "sorter" else name)
    everyone = {name for name, _ in faults}
    lines = []
    for text, having in names.items():
        shown = [*having[:NAMES_SHOWN], *([f"{len(having) - NAMES_SHOWN} more"] if len(having) > NAMES_SHOWN else [])]
        lines.append(text if set(having) in ({""}, everyone) else f"{', '.join(shown)}: {text}")
    return lines


def fault_text(fault: Fault) -> str:
    """Write a fault for the command line."""
    return fault.text() + as_options(fault.text())


def faults_of_jobs(jobs: Sequence[Job], parts: Sequence[Part], *, sorts_here: bool = True) -> dict[int, list[Fault]]:
    """Gather the faults of each job, by its position: those of its recording, of the sorter here and of the disks."""
    from spikelab.spike_sorting.run.faults import machine_faults

    machine = machine_faults(jobs, [part.seen for part in parts], sorts_here=sorts_here)
    faults = {i: [*part.faults, *machine.get(i, ())] for i, part in enumerate(parts)}
    return {i: of_job for i, of_job in faults.items() if of_job}


def choice_lines(jobs: Sequence[Job]) -> list[str]:
    """Say what was chosen, once for all jobs that it was chosen for."""
    from spikelab.spike_sorting.run.choices import NOT_SAID

    texts = ["; ".join(text for name, text in job.chosen.items() if name not in NOT_SAID) for job in jobs]
    counts = Counter(filter(None, texts))
    of_all = len(counts) == 1 and len(texts) == counts.total()
    return [f"chosen{'' if of_all else f' for {n} of {len(jobs)}'}: {text}" for text, n in counts.items()]


def lines_of_left_out(parts: Sequence[Part]) -> list[str]:
    """Say which streams are not sorted, and why."""
    return [f"{part.path.name}: {part.left_out}" for part in parts if part.left_out]


def report_outcomes(outcomes: Sequence[Outcome]) -> tuple[str, int]:
    """Tabulate the outcomes, list the causes of failures, and count the outcomes by kind; return the exit code too."""
    failed = [(outcome.job.name, outcome.error) for outcome in outcomes if outcome.error is not None]
    lines = [_outcome_table(outcomes)]
    if len(outcomes) > 1:  # the outcome of a single recording is in the log just above
        causes = [f"{name}: {message_for(error)}" for name, error in failed]
        lines += [*(["", *causes] if causes else []), "", _counts(outcomes), *_reasons(outcomes)]
    elif failed and (options := as_options(str(failed[0][1]))):
        lines += ["", options.strip(" ()")]
    lines += _where_to_look(outcomes)
    return "\n".join(lines), most_severe([code_for(error) for _, error in failed])


def _outcome_table(outcomes: Sequence[Outcome]) -> str:
    rows = [HEADER, *map(_row, outcomes)]
    if len(outcomes) == 1 or not any(row[NOT_KEPT] for row in rows[1:]):  # of one recording the log has just said it
        rows = [row[:NOT_KEPT] + row[NOT_KEPT + 1 :] for row in rows]
    return table(rows[0], rows[1:])


def _where_to_look(outcomes: Sequence[Outcome]) -> list[str]:
    """Say which page shows the outcome: the report of one recording, or the page of several."""
    from spikelab.spike_sorting.run.jobs import overview_folder

    pages = [outcome.job.results / "report.html" for outcome in outcomes if outcome.attempted]
    if len(outcomes) > 1:
        pages = [overview_folder([outcome.job for outcome in outcomes]) / "index.html", *pages]
    found = next((page for page in pages if page.is_file()), None)
    return [] if found is None else ["", f"to see it, open {found}"]


def _counts(outcomes: Sequence[Outcome]) -> str:
    counts = Counter(map(_kind, outcomes))
    return ", ".join(f"{counts[kind]} {kind}" for kind in KINDS if counts[kind])


def _reasons(outcomes: Sequence[Outcome]) -> list[str]:
    """Add up why units were not kept, with the thresholds, and say which would be worth keeping."""
    from spikelab.spike_sorting.curation.dropped import together
    from spikelab.spike_sorting.report import small_words

    summaries = [outcome.done.summary for outcome in outcomes if outcome.done is not None]
    known = [summary for summary in summaries if summary is not None]
    reasons = together(summary.dropped for summary in known)
    return list(filter(None, [f"not kept: {', '.join(map(str, reasons))}" if reasons else "", small_words(known)]))


def _jobs(parts: Sequence[Part], results: Path | None, intermediate: Path | None) -> list[Job]:
    """Plan the jobs; the folders of the command line are those of one recording, or the parents of several."""
    requests = [(part.path, part.wanted.config) for part in parts]
    if results is not None and intermediate is None:
        intermediate = results / "intermediate"
    folders = [intermediate] * len(requests), [results] * len(requests)
    if len(requests) == 1:
        jobs = plan_jobs(requests, *folders)
    else:
        jobs = plan_jobs(requests, intermediate_parents=folders[0], results_parents=folders[1])
    return [replace(job, chosen=part.chosen) for job, part in zip(jobs, parts, strict=True)]


def _row(outcome: Outcome) -> tuple[str, ...]:
    """Return name, outcome, units kept and dropped, and folder; "" where a failure came before the folder was made."""
    folder = str(outcome.job.results) if outcome.attempted and outcome.job.results.exists() else ""
    if outcome.done is not None:
        kept = f"{outcome.done.n_curated} of {outcome.done.n_units}"
        reasons = () if outcome.done.summary is None else outcome.done.summary.dropped
        return outcome.job.name, _kind(outcome), kept, ", ".join(one.brief() for one in reasons), folder
    return outcome.job.name, _kind(outcome), "", "", folder


def _kind(outcome: Outcome) -> str:
    if outcome.error is None:
        units = None if outcome.done is None else {"curated": outcome.done.n_curated}
        return shown_status(DONE, units) if outcome.attempted else NOT_ATTEMPTED
    return KIND_OF_CODE[code_for(outcome.error)]
