"""Validate finished results: what can be expected of their units, told from known neurons in the same recording."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from spikelab.spike_sorting.run.again import job_again, sort_again
from spikelab.spike_sorting.run.further import NOT_VALIDATED
from spikelab.spike_sorting.run.results import Results
from spikelab.spike_sorting.validation import CannotValidateError

if TYPE_CHECKING:
    from spikelab.spike_sorting.data import Validation
    from spikelab.spike_sorting.run.jobs import Job


def validate_sort(
    results: str | Path,
    *,
    units: int | None = None,
    rounds: int = 1,
    recording: str | Path | None = None,
) -> Validation:
    """Tell how right a sort is: put known neurons into the recording, sort it again, and compare.

    The neurons have footprints, sizes, drift and spike trains of the sort's own units, moved over the array and scaled.
    The recording on disk is not changed: the traces with the neurons are a file in the intermediate folder, which is
    deleted afterwards. What comes out becomes metrics of the units (``expected_accuracy`` and others), and the stages
    that follow run again.

    Parameters
    ----------
    results : path
        Results folder of one recording.
    units : int, optional
        Neurons that are put in at once; by default 0.2 of the units of the sort, at least 6.
    rounds : int
        Times that the recording is sorted again, each with other neurons. Each takes about as long as the sort did.
    recording : path, optional
        Where the recording is now, should traces have to be filtered again and it was moved.

    Returns
    -------
    Validation
        Each injected neuron with what was found of it, what to expect of each unit, and of the recording.

    Raises
    ------
    CannotValidateError
        If there are too few units to lend their footprints, or no room on the array.
    TracesUnavailableError
        If the filtered traces are gone, and the recording too.
    FileNotFoundError
        If `results` holds no finished sort.

    Examples
    --------
    >>> from spikelab.spike_sorting import validate_sort
    >>> found = validate_sort("sorted_rt_sort_culture")
    >>> found.summary["n_injected"] >= 4
    True
    >>> 0 < found.summary["expected_accuracy"] <= 1
    True
    """
    job = validation_job(results, units=units, rounds=rounds, recording=recording)
    sort_again(job)
    opened = Results.open(job.results)
    if opened.validation is None:
        raise CannotValidateError(_reason(opened))
    return opened.validation


def validation_job(
    results: str | Path, *, units: int | None = None, rounds: int = 1, recording: str | Path | None = None
) -> Job:
    """Make the job that validates finished results; raises as :func:`validate_sort` does, before anything is done."""
    opened = Results.open(results)
    if opened.traces is None:
        opened.job(recording)  # which says where the recording would have to be
    job = job_again(opened, None if recording is None else Path(recording))
    config = job.config.override(validate=True, validation_units=units, validation_rounds=rounds)
    return replace(job, config=config)


def _reason(results: Results) -> str:
    """Return what the run said of why it could not validate."""
    said = [text for text in results.record.get("warnings") or () if text.startswith(NOT_VALIDATED)]
    return said[-1] if said else f"{NOT_VALIDATED}; the log in {results.folder} says why"
