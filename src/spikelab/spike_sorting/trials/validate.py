"""Validate finished results: what can be expected of their units, told from known neurons in the same recording."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spikelab.spike_sorting import stages
from spikelab.spike_sorting.failures.system_errors import known_errors
from spikelab.spike_sorting.run.again import job_again, sort_again, why_no_traces
from spikelab.spike_sorting.run.lock import locked
from spikelab.spike_sorting.run.record import versions_of
from spikelab.spike_sorting.run.results import Results, TracesUnavailableError
from spikelab.spike_sorting.run.sort_one import context_of
from spikelab.spike_sorting.settings.schema import SortingPipelineConfig
from spikelab.spike_sorting.settings.validation import validate_config
from spikelab.system.runlog import run_log

if TYPE_CHECKING:
    from collections.abc import Iterator

    from spikelab.spike_sorting.data import BinaryRecording, Validation, Waveforms
    from spikelab.spike_sorting.run.jobs import Job
    from spikelab.spike_sorting.stages import Context, StageResult


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
    ValueError
        If `units` or `rounds` is no number that can be.
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
    with opened(job) as (context, recorded, waveforms):  # the results stay as they are until all is sorted
        stages.validation_stage(context, recorded, waveforms)
    sort_again(job)
    found = Results.open(job.results).validation
    assert found is not None
    return found


def validation_job(
    results: str | Path, *, units: int | None = None, rounds: int = 1, recording: str | Path | None = None
) -> Job:
    """Make the job that validates finished results; raises as :func:`validate_sort` does, before anything is done."""
    there = Results.open(results)
    place = None if recording is None else Path(recording)
    changes: dict[str, Any] = {"validate": True, "validation_units": units, "validation_rounds": rounds}
    validate_config(SortingPipelineConfig().override(**changes))
    if missing := why_no_traces(there, place):
        raise TracesUnavailableError(
            f"a validation needs the filtered traces, which were deleted (delete_inter), and {missing}. Give its place "
            "(--recording)"
        )
    job = job_again(there, place)
    return replace(job, config=job.config.override(**changes))


@contextmanager
def opened(job: Job) -> Iterator[tuple[Context, StageResult[BinaryRecording], StageResult[Waveforms]]]:
    """Hold the folders of finished results, and load their recording and waveforms; what is done goes to their log."""
    had_traces = Results.open(job.results).traces is not None
    with (
        known_errors(job.name, job.results, job.intermediate),
        locked(job.results, job.intermediate),
        run_log(job.results / job.config.execution.out_file),
    ):
        context = context_of(job, versions_of(job.config))
        recording = stages.recording_stage(context)
        movement = stages.movement_stage(context, recording)
        if movement is not None:
            recording = stages.with_movement(recording, movement)
        sorting = stages.sorting_stage(context, recording, [])
        decided = stages.decisions_stage(context, recording, sorting)
        if decided is not None and decided.trains is not None:
            sorting = decided.trains
        try:
            yield context, recording, stages.waveforms_stage(context, recording, sorting)
        finally:
            if job.config.execution.delete_inter and not had_traces:
                stages.delete_scratch(job.intermediate)
