"""``spikelab sort``: plan the jobs, run them, and tabulate the outcomes."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import click

from spikelab.cli._output import (
    BAD_INPUT,
    BIOLOGY,
    ENVIRONMENT,
    OTHER,
    RESOURCE,
    code_for,
    message_for,
    most_severe,
    table,
)
from spikelab.cli._settings import build_config
from spikelab.spike_sorting.run.jobs import Job, Request, plan_jobs

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from spikelab.spike_sorting.batch.policy import Outcome
    from spikelab.spike_sorting.settings.schema import SortingPipelineConfig

HEADER = ("recording", "outcome", "units kept", "results")
DONE, NOT_ATTEMPTED = "done", "not attempted"
KIND_OF_CODE = {
    BIOLOGY: "cannot be sorted",
    BAD_INPUT: "cannot be read",
    RESOURCE: "ran out of a resource",
    ENVIRONMENT: "stopped by the environment",
    OTHER: "failed otherwise",
}
KINDS = (DONE, *KIND_OF_CODE.values(), NOT_ATTEMPTED)


def sort_files(
    files: Sequence[Path],
    sorter: str | None,
    config_file: Path | None,
    settings: dict[str, Any],
    streams: Sequence[str],
    results: Path | None,
    intermediate: Path | None,
) -> tuple[str, int]:
    """Sort the recordings of the command line; return the table of outcomes and the exit code."""
    from spikelab.spike_sorting.batch.in_process import run_jobs
    from spikelab.spike_sorting.run.jobs import require_sorter

    config = build_config(sorter, config_file, settings)
    try:
        require_sorter(config)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    requests = [(file, one) for one in _configs(files, config, streams) for file in files]
    return report_outcomes(run_jobs(_jobs(requests, results, intermediate)))


def report_outcomes(outcomes: Sequence[Outcome]) -> tuple[str, int]:
    """Tabulate the outcomes, list the causes of failures, and count the outcomes by kind; return the exit code too."""
    lines = [table(HEADER, [_row(outcome) for outcome in outcomes])]
    failed = [(outcome.job.name, outcome.error) for outcome in outcomes if outcome.error is not None]
    if len(outcomes) > 1:  # the outcome of a single recording is in the log just above
        lines += ["", *(f"{name}: {message_for(error)}" for name, error in failed)] if failed else []
        lines += ["", _counts(outcomes)]
    return "\n".join(lines), most_severe([code_for(error) for _, error in failed])


def _counts(outcomes: Sequence[Outcome]) -> str:
    counts = Counter(map(_kind, outcomes))
    return ", ".join(f"{counts[kind]} {kind}" for kind in KINDS if counts[kind])


def _configs(
    files: Sequence[Path], config: SortingPipelineConfig, streams: Sequence[str]
) -> list[SortingPipelineConfig]:
    """Make one configuration per stream."""
    from spikelab.spike_sorting.run.jobs import checked_streams

    if not streams:
        return [config]
    names = [name for file in files for name in checked_streams(file, streams, config)]
    return [config.override(stream_id=name) for name in dict.fromkeys(names)]


def _jobs(requests: Sequence[Request], results: Path | None, intermediate: Path | None) -> list[Job]:
    """Plan the jobs; the folders of the command line are those of one recording, or the parents of several."""
    if results is not None and intermediate is None:
        intermediate = results / "intermediate"
    folders = [intermediate] * len(requests), [results] * len(requests)
    if len(requests) == 1:
        return plan_jobs(requests, *folders)
    return plan_jobs(requests, intermediate_parents=folders[0], results_parents=folders[1])


def _row(outcome: Outcome) -> tuple[str, str, str, str]:
    """Return name, outcome, units and folder; "" where a failure came before the folder was made."""
    folder = str(outcome.job.results) if outcome.attempted and outcome.job.results.exists() else ""
    if outcome.done is not None:
        kept = f"{outcome.done.n_curated} of {outcome.done.n_units}"
        return outcome.job.name, DONE, kept, folder
    what = NOT_ATTEMPTED if outcome.error is None else type(outcome.error).__name__
    return outcome.job.name, what, "", folder


def _kind(outcome: Outcome) -> str:
    if outcome.error is None:
        return DONE if outcome.attempted else NOT_ATTEMPTED
    return KIND_OF_CODE[code_for(outcome.error)]
