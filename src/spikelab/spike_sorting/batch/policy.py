"""Failure policy of a batch: which failure stops it, which is skipped, what is raised in the end.

===========================  ==============================================
A recording fails because    then
===========================  ==============================================
biology, or bad input        it is noted and the next recording is sorted
a resource ran out           the same, after retries with a smaller batch
its folder is in use, or     the same: other folders may be free; where there
cannot be used               are other hosts, one of them is tried first
the environment is broken    nothing more is started with that sorter on that
                             host, where every further recording would fail the
                             same way; without another host, or when a second
                             one fails like that, nothing more with that sorter
anything else                it is noted and the next recording is sorted
===========================  ==============================================
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from spikelab.spike_sorting._exceptions import (
    ConcurrentSortError,
    EnvironmentSortFailure,
    FolderUnusableError,
    SortBatchError,
)
from spikelab.spike_sorting.run.jobs import Job, n_files
from spikelab.spike_sorting.run.sort_one import load_results

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from spikelab.spike_sorting.run.sort_one import Sorted
    from spikelab.spikedata import SpikeData

OF_ONE_RECORDING = (ConcurrentSortError, FolderUnusableError)  # environment failures that say nothing of others
BROKEN_HOSTS = 2  # that many, and the fault is the batch's, not a host's


@dataclass
class Outcome:
    """What became of one job: results, an error, or neither where the batch stopped before it.

    Attributes
    ----------
    job : Job
        ``job.name``, ``job.results`` (its folder) and what it was told to do.
    done : Sorted or None
        What it gave: ``n_units``, ``n_curated``, ``wall_s``.
    error : Exception or None
        Why it gave nothing.
    """

    job: Job
    done: Sorted | None = None
    error: Exception | None = None

    @property
    def attempted(self) -> bool:
        """Whether it was tried at all."""
        return self.done is not None or self.error is not None

    @property
    def aligned(self) -> list[SpikeData | None]:
        """The results, or None in the place of each; read from disk where another process sorted."""
        if self.done is None:
            return [None] * n_files(self.job.recording_input)
        return [*(load_results(self.job) if self.done.results is None else self.done.results)]


def concerns_host(error: Exception | None) -> bool:
    """Whether what a recording failed of would make every further one fail on that host."""
    return isinstance(error, EnvironmentSortFailure) and not isinstance(error, OF_ONE_RECORDING)


@dataclass
class Policy:
    """Which sorter may still be started where, as failures come in.

    Attributes
    ----------
    broken : set of (str, str)
        Hosts, and the sorters that do not run there.
    """

    broken: set[tuple[str, str]] = field(default_factory=set)

    def note(self, host: str, sorter: str, error: Exception | None) -> None:
        """Take note of how a job ended on `host`."""
        if concerns_host(error):
            self.broken.add((host, sorter))

    def may_start(self, host: str, sorter: str) -> bool:
        """Whether a job may be started on `host`."""
        return (host, sorter) not in self.broken and not self.repeats(sorter)

    def repeats(self, sorter: str) -> bool:
        """Whether hosts fail alike."""
        return sum(name == sorter for _, name in self.broken) >= BROKEN_HOSTS


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
