"""``spikelab sort``: plan the jobs, run them, and say how each recording ended."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from spikelab.cli._exit_codes import code_for, gravest
from spikelab.cli._settings import build_config
from spikelab.cli._table import table
from spikelab.spike_sorting._inputs import Job, plan_jobs

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from spikelab.spike_sorting._batch import Outcome
    from spikelab.spike_sorting.config import SortingPipelineConfig


def sort_files(
    files: Sequence[Path],
    sorter: str | None,
    config_file: Path | None,
    settings: dict[str, Any],
    streams: Sequence[str],
    results: Path | None,
    intermediate: Path | None,
) -> tuple[str, int]:
    """Sort what the command line names; returns the table of outcomes and the exit code."""
    from spikelab.spike_sorting.pipeline import run_jobs

    config = build_config(sorter, config_file, settings)
    _require_known_sorter(config)
    jobs = [job for one in _configs(files, config, streams) for job in plan_jobs(files, one)]
    jobs = [_moved(job, results, intermediate, alone=len(jobs) == 1) for job in jobs]
    outcomes = run_jobs(jobs)
    text = table(("recording", "outcome", "units kept", "results"), [_row(outcome) for outcome in outcomes])
    return text, gravest([code_for(outcome.error) for outcome in outcomes if outcome.error is not None])


def _require_known_sorter(config: SortingPipelineConfig) -> None:
    from spikelab.spike_sorting.backends import get_backend_class

    try:
        get_backend_class(config.sorter.sorter_name)
    except ValueError as error:
        raise click.UsageError(str(error)) from error


def _configs(
    files: Sequence[Path], config: SortingPipelineConfig, streams: Sequence[str]
) -> list[SortingPipelineConfig]:
    """One configuration per stream."""
    from spikelab.spike_sorting.pipeline import checked_streams

    if not streams:
        return [config]
    names = [name for file in files for name in checked_streams(file, streams, config)]
    return [config.override(stream_id=name) for name in dict.fromkeys(names)]


def _moved(job: Job, results: Path | None, intermediate: Path | None, *, alone: bool) -> Job:
    """The job with the folders that the command line asks for."""
    if results is not None:
        job = replace(job, results=results.absolute() if alone else results.absolute() / job.results.name)
    if intermediate is not None:
        folder = intermediate.absolute() if alone else intermediate.absolute() / job.intermediate.name
        job = replace(job, intermediate=folder)
    elif results is not None:
        job = replace(job, intermediate=job.results / "intermediate")
    return job


def _row(outcome: Outcome) -> tuple[str, str, str, str]:
    if outcome.done is not None:
        kept = f"{outcome.done.n_curated} of {outcome.done.n_units}"
        return outcome.job.name, "done", kept, str(outcome.job.results)
    if outcome.error is not None:
        return outcome.job.name, type(outcome.error).__name__, "", str(outcome.job.results)
    return outcome.job.name, "not attempted", "", ""
