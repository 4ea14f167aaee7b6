"""Run finished results again after decisions: what depends on them, and never the sorter."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from spikelab.spike_sorting import decisions as decided
from spikelab.spike_sorting import stages
from spikelab.spike_sorting.data.validation import ABOUT
from spikelab.spike_sorting.recording.fingerprint import fingerprint
from spikelab.spike_sorting.run.jobs import Job
from spikelab.spike_sorting.run.results import TracesUnavailableError
from spikelab.spike_sorting.run.sort_one import Sorted, context_of, sort_one
from spikelab.spike_sorting.stages.manifest import Manifest

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from spikelab.spike_sorting.decisions import State
    from spikelab.spike_sorting.run.results import Results
    from spikelab.spike_sorting.settings.schema import SortingPipelineConfig

logger = logging.getLogger(__name__)

FORCED = (
    "recompute_recording",
    "recompute_sorting",
    "reextract_waveforms",
    "recurate_first",
    "recurate_second",
    "recompile_single_recording",
)


def job_again(results: Results, recording: Path | None = None) -> Job:
    """Make the job that made the results; the recording need not be there.

    Raises
    ------
    ValueError
        The sorter would have to run again.
    """
    job = Job(
        recording_input=_source(results, recording),
        name=results.record.get("name", results.folder.name),
        config=results.config.override(**dict.fromkeys(FORCED, False)),
        results=results.folder,
        intermediate=(results.folder / (results.record.get("intermediate") or "intermediate")).resolve(),
        metadata=results.record.get("metadata") or {},
        chosen=results.record.get("chosen") or {},
        fingerprint=_fingerprint_of(results),
    )
    if stages.will_sort(context_of(job, {})):
        raise ValueError(
            f"{results.folder} would have to be sorted again: what it was sorted from or by is not what "
            "config_used.toml says, or its files are damaged; 'spikelab sort' says why, and sorts again"
        )
    return job


def sort_again(job: Job) -> Sorted:
    """Run what is left to do of a job."""
    return sort_one(job)


def require_traces(results: Results, state: State, recording: Path | None = None) -> None:
    """Raise TracesUnavailableError where the units of a state need filtered traces, and these cannot be had.

    Merges and splits that are not in the results yet need them, for the waveforms of the new units; so do files and
    figures with the waveforms of all units. Verdicts and labels alone do not.
    """
    config = results.config
    shown = config.compilation.compile_waveforms or config.figures.create_unit_figures
    if results.traces is not None or not (shown or _units(state) != _units(results.state)):
        return
    missing = why_no_traces(results, recording)
    if not missing:
        return
    what = "the figures or files of waveforms that the settings ask for" if shown else "merges and splits"
    raise TracesUnavailableError(
        f"{what} need the filtered traces, which were deleted (delete_inter), and {missing}. Give its place "
        "(--recording), or decide only which units are kept and how they are called"
    )


def why_no_traces(results: Results, recording: Path | None = None) -> str:
    """Say why filtered traces cannot be had; empty where they are there, or the recording that they are made from."""
    source = _source(results, recording)
    if results.traces is not None:
        return ""
    if source is None or not source.exists():
        return f"there is no recording{'' if source is None else f' at {source}'} to filter again"
    if fingerprint(source, leave_out=(results.folder,)) != _fingerprint_of(results):
        return f"{source} is not the recording that was sorted, or was changed since"
    return ""


def without_further_sorts(job: Job, results: Results, state: State) -> Job:
    """Leave validation and repeated sorts out of a job that merges or splits units by hand: no sorter is to run.

    Limits on what they tell are left out too, as nothing tells it of the new units.
    """
    if not _sorts_further(job.config) or _units(state) == _units(results.state):
        return job
    limits = job.config.curation.metric_limits or {}
    logger.warning(
        "the results are not validated any more: units were merged or split; 'spikelab validate' does it anew"
    )
    unknown = {name: limits[name] for name in limits if name in (*ABOUT, stages.AGREEMENT)}
    _warn_of_unknown(unknown)
    others = {name: limit for name, limit in limits.items() if name not in unknown}
    return replace(job, config=job.config.override(validate=False, sort_again=0, metric_limits=others or None))


def _warn_of_unknown(limits: Mapping[str, Any]) -> None:
    if limits:
        logger.warning(
            "limits that need a new validation, or new sorts, are left out: %s. Units that they dropped may be back; "
            "the call that sorted these results, with the limits, validates them as they are now and applies these",
            ", ".join(f"{name} {limit}" for name, limit in limits.items()),
        )


def _sorts_further(config: SortingPipelineConfig) -> bool:
    return bool(config.validation.validate or config.validation.sort_again)


def state_to_apply(results: Results) -> State:
    """Return the units after the decisions that the next run takes up: those in the results folder."""
    path = results.folder / decided.FILE
    if not path.is_file():
        return results.state
    return decided.state_of(decided.read(path), results.trains, results.recording.sampling_frequency)


def _source(results: Results, given: Path | None) -> Path | None:
    """Return where the recording should be; None of one in memory."""
    known = results.record.get("recording_input")
    return given or (None if known is None else (results.folder / known).resolve())


def _units(state: State) -> list[tuple[int, bytes]]:
    """Return the ids of the units that were merged or split, and their spikes."""
    return [(unit.unit_id, unit.frames.tobytes()) for unit in state.new]


def _fingerprint_of(results: Results) -> str:
    """Return the fingerprint of the recording that was sorted."""
    manifest = Manifest.read(results.intact("recording"))
    assert manifest is not None
    return str(manifest.settings["input"])
