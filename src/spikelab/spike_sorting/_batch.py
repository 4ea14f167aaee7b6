"""Failure policy of a batch: which failure stops it, which is skipped, what is raised in the end.

===========================  ==============================================
A recording fails because    then
===========================  ==============================================
biology, or bad input        it is noted and the next recording is sorted
a resource ran out           the same, after retries with a smaller batch
the environment is broken    the batch stops: every further recording would
                             fail the same way
anything else                it is noted and the next recording is sorted
===========================  ==============================================
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from spikelab.spike_sorting._exceptions import EnvironmentSortFailure, SortBatchError
from spikelab.spike_sorting._inputs import Job, n_files

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from spikelab.spike_sorting._run import Sorted
    from spikelab.spikedata import SpikeData

logger = logging.getLogger(__name__)


@dataclass
class Outcome:
    """What became of one job: results, an error, or neither where the batch stopped before it."""

    job: Job
    done: Sorted | None = None
    error: Exception | None = None

    @property
    def attempted(self) -> bool:
        """Whether it was tried at all."""
        return self.done is not None or self.error is not None

    @property
    def aligned(self) -> list[SpikeData | None]:
        """The results, or None in the place of each."""
        return [*self.done.results] if self.done is not None else [None] * n_files(self.job.recording_input)


def run_batch(jobs: Sequence[Job], sort_one: Callable[[Job], Sorted]) -> list[Outcome]:
    """Sort every job in order; only a broken environment stops the batch."""
    outcomes: list[Outcome] = []
    stopped = False
    for number, job in enumerate(jobs, start=1):
        if stopped:
            outcomes.append(Outcome(job))
            continue
        if len(jobs) > 1:
            logger.info("recording %d of %d: %s", number, len(jobs), job.name)
        try:
            outcomes.append(Outcome(job, sort_one(job)))
        except Exception as error:  # noqa: BLE001 - what went wrong with one recording must not end the others
            outcomes.append(Outcome(job, error=error))
            stopped = isinstance(error, EnvironmentSortFailure) and number < len(jobs)
            if stopped:
                logger.warning("the batch stops: the remaining recordings would fail the same way")
    return outcomes


def raise_failures(
    outcomes: Sequence[Outcome], results: list[Any] | dict[str, Any], on_failure: str, name: Callable[[Job], object]
) -> None:
    """Raise what failed: the error itself for a single recording, else a `SortBatchError`.

    Parameters
    ----------
    outcomes : sequence of Outcome
    results : list or dict
        What the batch error carries as ``results``.
    on_failure : {"raise", "skip"}
        With "skip" nothing is raised.
    name : callable
        How an input is named in ``failures`` and ``not_attempted``.
    """
    failed = [(outcome, outcome.error) for outcome in outcomes if outcome.error is not None]
    if not failed or on_failure == "skip":
        return
    if len(outcomes) == 1:
        raise failed[0][1]
    not_attempted = [name(outcome.job) for outcome in outcomes if not outcome.attempted]
    message = f"{len(failed)} of {len(outcomes)} recordings failed"
    if not_attempted:
        message += f", {len(not_attempted)} were not attempted"
    raise SortBatchError(
        message,
        [error for _, error in failed],
        results=results,
        failures=[(name(outcome.job), error) for outcome, error in failed],
        not_attempted=not_attempted,
    )
