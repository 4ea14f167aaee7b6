"""The two entry points: resolve the inputs, run the stages for each, apply the failure policy, return the results."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spikelab.spike_sorting.batch.policy import Outcome, raise_failures, run_batch
from spikelab.spike_sorting.run.jobs import Job, as_list, overview_folder, plan_jobs
from spikelab.spike_sorting.run.sort_one import FigureData, sort_one, status_of
from spikelab.spike_sorting.settings.schema import SortingPipelineConfig, preset_for
from spikelab.spike_sorting.settings.validation import validate_config

if TYPE_CHECKING:
    from collections.abc import Sequence

    from spikelab.spike_sorting.report import IndexRow
    from spikelab.spikedata import SpikeData

logger = logging.getLogger(__name__)

MOST_READ_FOR_FIGURES = 100  # recordings; more would be in memory together, and nobody could tell them apart
RESERVED_BY_MULTISTREAM = ("stream_id", "intermediate_folders", "results_folders")


def sort_recording(
    recording_files: Sequence[Any],
    config: SortingPipelineConfig | None = None,
    sorter: str = "kilosort2",
    intermediate_folders: Sequence[Any] | None = None,
    results_folders: Sequence[Any] | None = None,
    **kwargs: Any,
) -> list[SpikeData]:
    """Sort recordings into curated neurons.

    Each recording goes through six stages: recording, sorting, waveforms, curation, compilation, figures. Every
    finished stage is on disk; the same call again resumes where it stopped, and runs nothing when all is done.

    Parameters
    ----------
    recording_files : list
        Paths of recordings, or SpikeInterface recordings in memory. A folder that is not itself a recording is its
        files in natural order, concatenated for sorting and split again afterwards.
    config : SortingPipelineConfig, optional
        Complete configuration; `kwargs` are applied on top. By default the preset of `sorter`.
    sorter : str
        Name of a sorter (see ``spikelab.spike_sorting.backends.list_sorters``); only used without `config`.
    intermediate_folders, results_folders : list, optional
        One folder per recording for scratch and for results. By default ``inter_{sorter}_{name}`` and
        ``sorted_{sorter}_{name}`` beside the recording.
    **kwargs
        Single settings by their flat name, for example ``snr_min=8``.

    Returns
    -------
    list of SpikeData
        Curated units; one entry per original file, in the order of the inputs.

    Raises
    ------
    TypeError, ValueError
        For an unknown or impossible setting, the same input twice and the like, before any file is touched.
    SpikeSortingClassifiedError
        For one recording: the failure itself, with its likely cause.
    SortBatchError
        For several recordings, after all that could be sorted were: its ``results`` hold what succeeded.
    """
    config = _complete_config(config, sorter, kwargs)
    requests = [(entry, config) for entry in as_list(recording_files)]
    jobs = plan_jobs(requests, intermediate_folders, results_folders)
    outcomes = run_jobs(jobs)
    results = _aligned(outcomes)
    raise_failures(outcomes, results, config.execution.on_failure, lambda job: job.recording_input)
    return results


def sort_multistream(
    recording: Any,
    stream_ids: Sequence[str],
    config: SortingPipelineConfig | None = None,
    sorter: str = "kilosort2",
    **kwargs: Any,
) -> dict[str, list[SpikeData]]:
    """Sort several streams (for example the wells of a plate) of one recording.

    Parameters
    ----------
    recording : path
        A file with several streams, or a folder of such files, which are concatenated per stream.
    stream_ids : list of str
        For example ``["well000", "well001"]``.
    config, sorter, **kwargs
        As for :func:`sort_recording`; ``stream_id`` and the folders are set for each stream.

    Returns
    -------
    dict of str to list of SpikeData
        Results by stream.

    Raises
    ------
    ValueError
        If a stream is not in the recording, or a keyword is given that is set for each stream.
    SortBatchError
        If streams failed; its ``results`` maps each stream to its list.
    """
    for keyword in RESERVED_BY_MULTISTREAM:
        if keyword in kwargs:
            raise ValueError(f"sort_multistream sets '{keyword}' for each stream itself; leave it out")
    config = _complete_config(config, sorter, kwargs)
    streams = checked_streams(recording, stream_ids, config)
    (entry,) = as_list(recording)
    jobs = plan_jobs([(entry, config.override(stream_id=stream)) for stream in streams])
    outcomes = run_jobs(jobs)
    results = {stream: outcome.aligned for stream, outcome in zip(streams, outcomes, strict=True)}
    raise_failures(outcomes, results, config.execution.on_failure, lambda job: job.config.recording.stream_id)
    return results  # type: ignore[return-value]  # None only with on_failure="skip"


def run_jobs(jobs: Sequence[Job]) -> list[Outcome]:
    """Sort every job under the failure policy; with several, draw the overview figures and write their page."""
    outcomes = run_batch(jobs, sort_one)
    write_overview(outcomes)
    return outcomes


def write_overview(outcomes: Sequence[Outcome]) -> None:
    """What is told of several recordings together: figures, where they are wanted, and their page."""
    if len(outcomes) > 1:
        _overview_figures(outcomes)
        write_overview_page(outcomes)


def _complete_config(
    config: SortingPipelineConfig | None, sorter: str, kwargs: dict[str, Any]
) -> SortingPipelineConfig:
    """The configuration of this call, checked before any file is touched."""
    if config is not None and not isinstance(config, SortingPipelineConfig):
        raise TypeError(
            f"config must be a SortingPipelineConfig, got {config!r}; config_from_toml(path) reads one from a file, "
            "sorter=... names a sorter"
        )
    for name in set(kwargs) & {"results_folder", "intermediate_folder"}:
        raise TypeError(f"Unknown parameter '{name}': did you mean '{name}s', a list with one folder per recording?")
    config = (preset_for(sorter) if config is None else config).override(**kwargs)
    validate_config(config)
    require_sorter(config)
    return config


def require_sorter(config: SortingPipelineConfig) -> None:
    """ValueError for an unknown sorter, or for settings of its own that it does not have."""
    from spikelab.spike_sorting.backends import get_backend_class

    get_backend_class(config.sorter.sorter_name)(config).check_settings()


def checked_streams(recording: Any, stream_ids: Sequence[str], config: SortingPipelineConfig) -> list[str]:
    """The streams that were asked for ("all" is every one), provided that `recording` has them."""
    from spikelab.spike_sorting.recording import list_streams, set_plugin_path

    streams = [stream_ids] if isinstance(stream_ids, str) else list(stream_ids)
    if len(set(streams)) < len(streams):
        raise ValueError(f"stream_ids: a stream is given twice: {streams}")
    if config.recording.hdf5_plugin_path is not None:
        set_plugin_path(config.recording.hdf5_plugin_path)
    present = list_streams(Path(recording), trust_input=config.recording.trust_input)
    if streams == ["all"] and present is not None:
        return present
    missing = [stream for stream in streams if present is not None and stream not in present]
    if missing:
        raise ValueError(
            f"no stream {', '.join(map(repr, missing))} in {recording}; there are: {', '.join(present or ())}"
        )
    return streams


def _aligned(outcomes: Sequence[Outcome]) -> list[Any]:
    return [result for outcome in outcomes for result in outcome.aligned]


def _overview_figures(outcomes: Sequence[Outcome]) -> None:
    """Figures of all recordings together, where there are several and figures are wanted."""
    from spikelab.spike_sorting.stages import draw_overview

    wanted = [outcome for outcome in outcomes if outcome.job.config.figures.create_figures]
    if sum(_is_on_disk(outcome) for outcome in wanted) > MOST_READ_FOR_FIGURES:
        logger.info("no figures of all recordings together: that is done for up to %d", MOST_READ_FOR_FIGURES)
        return
    drawn = [(outcome.job, data) for outcome in wanted if (data := _figure_data(outcome)) is not None]
    if len(drawn) < 2:
        return
    jobs = [job for job, _ in drawn]
    folder = overview_folder(jobs)
    recordings = [(job.name, data.units, data.curation) for job, data in drawn]
    try:
        new = draw_overview(recordings, [data.run_id for _, data in drawn], jobs[0].config, folder)
    except Exception as error:  # noqa: BLE001 - the results of the batch do not fail for a figure
        logger.warning("the figures of all recordings could not be drawn: %s: %s", type(error).__name__, error)
    else:
        if new:
            logger.info("figures of all recordings together are in %s", folder)


def _is_on_disk(outcome: Outcome) -> bool:
    """Whether another process sorted it, and left the results where they are."""
    return outcome.done is not None and outcome.done.results is None


def _figure_data(outcome: Outcome) -> FigureData | None:
    """What figures of several recordings need of this one; None where it has none of its own."""
    from spikelab.spike_sorting.run.results import Results

    if outcome.done is None:
        return None
    if not _is_on_disk(outcome):
        return outcome.done.figure_data
    try:
        results = Results.open(outcome.job.results)
        return FigureData(results.run_id("figures"), results.units, results.curation)
    except FileNotFoundError:
        return None


def write_overview_page(outcomes: Sequence[Outcome], *, under_way: bool = False) -> None:
    """The page of all recordings, those that failed too; `under_way` while the batch goes on."""
    from spikelab.spike_sorting.report import INDEX, write_index

    folder = overview_folder([outcome.job for outcome in outcomes])
    try:
        rows = [_index_row(outcome, under_way=under_way) for outcome in outcomes]
        new = write_index(folder, outcomes[0].job.config.sorter.sorter_name, rows)
    except Exception as error:  # noqa: BLE001 - the results of the batch do not fail for a page
        logger.warning("the page of all recordings could not be written: %s: %s", type(error).__name__, error)
    else:
        if new and not under_way:
            logger.info("all recordings are on one page: %s", folder / INDEX)


def _index_row(outcome: Outcome, *, under_way: bool) -> IndexRow:
    from spikelab.spike_sorting.report import IndexRow

    error = outcome.error
    not_attempted = "to come" if under_way else "not attempted"
    status = not_attempted if not outcome.attempted else "done" if error is None else status_of(error)
    return IndexRow(
        name=outcome.job.name,
        status=status,
        results=outcome.job.results,
        error="" if error is None else f"{type(error).__name__}: {error}",
        wall_s=None if outcome.done is None else outcome.done.wall_s,
        summary=None if outcome.done is None else outcome.done.summary,
    )
