"""``spikelab batch``, ``sort-one`` and ``status``: plan and run batches, and show their progress."""

from __future__ import annotations

import logging
import shutil
import sys
import time
from typing import TYPE_CHECKING

import click

from spikelab.cli._output import table
from spikelab.cli._progress import shown_progress
from spikelab.cli._sort import choice_lines, report_outcomes
from spikelab.spike_sorting.batch import status as _status
from spikelab.system.quoting import in_shell

if TYPE_CHECKING:
    from pathlib import Path

    from spikelab.spike_sorting.batch.on_cluster import Batch
    from spikelab.spike_sorting.batch.policy import Outcome
    from spikelab.spike_sorting.run.jobs import Job

logger = logging.getLogger(__name__)

MOST_ROWS = 200  # of a table that is printed once; a live table has as many as fit
CLEAR_REST, UP = "\x1b[0J", "\x1b[{}A"
LINE_EVERY_S = 30.0
AGAIN_S = 15.0


def planned(manifest: Path, *, all_recordings: bool, sorts_here: bool) -> list[Job]:
    """Read the jobs of a manifest, look into their recordings, and say what was chosen; faults are a usage error."""
    from spikelab.spike_sorting.batch.entries import ManifestError
    from spikelab.spike_sorting.batch.manifest import Look, read_manifest

    try:
        jobs = read_manifest(manifest, Look(all_recordings=all_recordings, sorts_here=sorts_here))
    except ManifestError as error:
        raise click.UsageError(str(error)) from error
    for line in choice_lines(jobs):
        logger.info("%s", line)
    return jobs


def run_batch(manifest: Path, scheduler: str | None, workers: int | None, *, all_recordings: bool) -> tuple[str, int]:
    """Sort all recordings of a manifest; return the table of outcomes and the exit code."""
    from spikelab.spike_sorting.batch.cluster import local_workers
    from spikelab.spike_sorting.batch.on_cluster import run_many
    from spikelab.spike_sorting.run.estimate import estimate_lines

    jobs = planned(manifest, all_recordings=all_recordings, sorts_here=scheduler is None)
    at_once = 1 if scheduler is not None else workers or local_workers(jobs)
    for line in estimate_lines((job.takes for job in jobs), at_once):
        logger.info("%s", line)
    board = Board()
    try:
        outcomes = run_many(jobs, scheduler, workers=workers, watch=board.show)
    finally:
        board.clear()
    return report_outcomes(outcomes)


def plan(manifest: Path, folder: Path, *, all_recordings: bool) -> str:
    """Write job files and scripts; return the text with the next steps."""
    from spikelab.spike_sorting.batch.plan import write_plan
    from spikelab.spike_sorting.run.estimate import estimate_lines

    jobs = planned(manifest, all_recordings=all_recordings, sorts_here=False)
    scripts = write_plan(jobs, folder)
    lines = [f"{len(jobs)} job files are in {folder / 'jobs'}; each runs with: spikelab sort-one JOB", "", "examples:"]
    lines += [f"  {script}" for script in scripts]
    lines += ["", *estimate_lines(job.takes for job in jobs)]
    return "\n".join([*lines, "", f"progress: spikelab status {in_shell(folder)}"])


def sort_job(job_file: Path) -> tuple[str, int]:
    """Sort the recording of a job file; return the outcome and the exit code."""
    return report_outcomes([_sorted(job_file)])


def sort_job_in_turn(job_file: Path) -> tuple[str, int]:
    """Sort the recording of a job file; first wait for its folders where another run holds them.

    A batch system starts a killed job again at once; a run killed on another host holds its folders a little longer.
    """
    from spikelab.spike_sorting._exceptions import ConcurrentSortError
    from spikelab.spike_sorting.run.alive import ENDS_WITHIN_S

    end = time.monotonic() + ENDS_WITHIN_S
    while isinstance((outcome := _sorted(job_file)).error, ConcurrentSortError) and time.monotonic() < end:
        click.echo(f"{outcome.job.name}: waits for its folders, {ENDS_WITHIN_S / 60:g} minutes at most", err=True)
        time.sleep(AGAIN_S)
    return report_outcomes([outcome])


def _sorted(job_file: Path) -> Outcome:
    from spikelab.spike_sorting.batch.in_process import run_jobs
    from spikelab.spike_sorting.batch.jobfile import read_job

    with shown_progress():
        (outcome,) = run_jobs([read_job(job_file)])
    return outcome


def status(folder: Path) -> str:
    """Tabulate the progress of the jobs of a folder, and sum it up."""
    rows = _status.folder_states(folder)
    shown = _status.to_show(rows, MOST_ROWS)
    lines = [table(_status.HEADER, [_status.cells(row) for row in shown])]
    if len(shown) < len(rows):
        lines.append(f"... and {len(rows) - len(shown)} more")
    return "\n".join([*lines, "", _status.summary(rows)])


class Board:
    """Progress of a batch: a live table on a terminal, regular lines elsewhere."""

    def __init__(self) -> None:
        self.live = sys.stderr.isatty()
        self.drawn = 0
        self.last = time.monotonic()
        self.rows: list[_status.Row] = []

    def show(self, batch: Batch) -> None:
        """Show the current state of `batch`."""
        now = time.monotonic()
        if not self.live and now - self.last < LINE_EVERY_S:
            return
        self.last = now
        self._update_rows(batch)
        summary = _status.summary(self.rows, max(len(batch.workers), 1))
        if not self.live:
            click.echo(f"{time.strftime('%H:%M:%S')} {summary}", err=True)
            return
        size = shutil.get_terminal_size()
        cells = [_status.cells(row) for row in _status.to_show(self.rows, size.lines - 4)]
        lines = [*table(_status.HEADER, cells).splitlines(), summary]
        self.clear()
        click.echo("\n".join(line[: size.columns - 1] for line in lines), err=True)
        self.drawn = len(lines)

    def clear(self) -> None:
        """Erase the table, so that lines can be written in its place."""
        if self.drawn:
            click.echo(UP.format(self.drawn) + CLEAR_REST, nl=False, err=True)
            self.drawn = 0

    def _update_rows(self, batch: Batch) -> None:
        """Read from disk the state of running and newly ended jobs only: there may be thousands of others."""
        running = {task.index for task, _ in batch.running.values()}
        if not self.rows:
            self.rows = [_status.Row(job.name, _status.TO_COME, job.results) for job in batch.jobs]
        for index, outcome in enumerate(batch.outcomes):
            job, row = batch.jobs[index], self.rows[index]
            if index in running or (outcome.attempted and row.state not in _status.ENDED):
                self.rows[index] = _status.job_state(job.name, job.results)
