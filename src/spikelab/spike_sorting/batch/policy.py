"""Decide how a batch goes on after a failure: which failure stops it, which is skipped, what is raised in the end.

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

OF_ONE_RECORDING = (ConcurrentSortError, FolderUnusableError)  # environment failures that concern no other recording
BROKEN_HOSTS = 2  # hosts that fail alike, from which on the fault is the batch's


@dataclass
class Outcome:
    """Outcome of one job: results, an error, or neither where the batch stopped before the job.

    Attributes
    ----------
    job : Job
        ``job.name``, ``job.results`` (its folder) and its settings.
    done : Sorted or None
        Its numbers: ``n_units``, ``n_curated``, ``wall_s``.
    error : Exception or None
        Reason of a failure.
    """

    job: Job
    done: Sorted | None = None
    error: Exception | None = None

    @property
    def attempted(self) -> bool:
        """Whether the job was started."""
        return self.done is not None or self.error is not None

    @property
    def aligned(self) -> list[SpikeData | None]:
        """Units of each original file, or None in their place; read from disk where another process sorted."""
        if self.done is None:
            return [None] * n_files(self.job.recording_input)
        return [*(load_results(self.job) if self.done.results is None else self.done.results)]


def concerns_host(error: Exception | None) -> bool:
    """Tell whether an error would make every further recording fail on the same host."""
    return isinstance(error, EnvironmentSortFailure) and not isinstance(error, OF_ONE_RECORDING)


@dataclass
class Policy:
    """Record failures of hosts, and decide where a sorter may still be started."""

    broken: set[tuple[str, str]] = field(default_factory=set)  # hosts, each with a sorter that does not run there

    def note(self, host: str, sorter: str, error: Exception | None) -> None:
        """Record how a job ended on `host`."""
        if concerns_host(error):
            self.broken.add((host, sorter))

    def may_start(self, host: str, sorter: str) -> bool:
        """Tell whether a job with `sorter` may be started on `host`."""
        return (host, sorter) not in self.broken and not self.repeats(sorter)

    def repeats(self, sorter: str) -> bool:
        """Tell whether several hosts failed alike with `sorter`."""
        return sum(name == sorter for _, name in self.broken) >= BROKEN_HOSTS


def raise_failures(
    outcomes: Sequence[Outcome], results: list[Any] | dict[str, Any], on_failure: str, name: Callable[[Job], object]
) -> None:
    """Raise the failures of a batch, unless they are skipped: that of a single recording, else a `SortBatchError`.

    `results` go into the `SortBatchError`; `name` names a job in its ``failures`` and ``not_attempted``.
    """
    failures = [(name(outcome.job), outcome.error) for outcome in outcomes if outcome.error is not None]
    if not failures or on_failure == "skip":
        return
    errors = [error for _, error in failures]
    if len(outcomes) == 1:
        raise errors[0]
    not_attempted = [name(outcome.job) for outcome in outcomes if not outcome.attempted]
    left = f", {len(not_attempted)} were not attempted" if not_attempted else ""
    message = f"{len(errors)} of {len(outcomes)} recordings failed{left}"
    raise SortBatchError(message, errors, results=results, failures=failures, not_attempted=not_attempted)
