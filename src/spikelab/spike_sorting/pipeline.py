"""The entry points: resolve the inputs, run the stages for each, apply the failure policy, return the results."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from spikelab.spike_sorting.batch.in_process import run_jobs
from spikelab.spike_sorting.batch.policy import raise_failures
from spikelab.spike_sorting.run.jobs import as_list, checked_streams, of_each_recording, plan_jobs, require_sorter
from spikelab.spike_sorting.run.record import require_no_other_sort
from spikelab.spike_sorting.settings.keywords import changed
from spikelab.spike_sorting.settings.presets import preset_for
from spikelab.spike_sorting.settings.schema import SortingPipelineConfig
from spikelab.spike_sorting.settings.validation import validate_config
from spikelab.system import files

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from spikelab.spikedata import SpikeData

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

    Notes
    -----
    Each results folder has the curated units as ``sorted_spikedata_curated.npz`` and ``.pkl``; with ``save_raw_pkl``
    also all units, as ``sorted_spikedata.npz`` and ``.pkl``.

    ``hdf5_plugin_path`` is put into ``os.environ["HDF5_PLUGIN_PATH"]`` before any recording is loaded, whichever the
    sorter. Compressed Maxwell files need it.

    Examples
    --------
    >>> from pathlib import Path
    >>> from spikelab.demo import write_demo_recording
    >>> from spikelab.spike_sorting import sort_recording
    >>> true_spikes = write_demo_recording(Path("dish.raw.h5"), duration_s=10.0)
    >>> (neurons,) = sort_recording(["dish.raw.h5"], sorter="threshold", spikes_min_first=10, spikes_min_second=10)
    >>> neurons.N, (Path("sorted_threshold_dish") / "run.json").exists()
    (12, True)
    """
    config = _complete_config(config, sorter, kwargs)
    entries = as_list(recording_files)
    requests = list(zip(entries, of_each_recording(config, len(entries)), strict=True))
    jobs = plan_jobs(requests, intermediate_folders, results_folders)
    outcomes = run_jobs(jobs)
    results: list[Any] = [result for outcome in outcomes for result in outcome.aligned]
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
        For example ``["well000", "well001"]``: ids, or names. ``"all"`` stands for every stream that holds electrodes.
    config, sorter, **kwargs
        As for :func:`sort_recording`; ``stream_id`` and the folders are set for each stream, and a list of
        ``stim_times_s`` may have one entry for each.

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

    Notes
    -----
    Streams are checked before anything is sorted, in every format that names its streams. Of a folder the files must
    agree in the channels and the sampling rate of each stream (ValueError otherwise); other names or places of channels
    are warned of.

    Examples
    --------
    >>> from pathlib import Path
    >>> from spikelab.demo import write_demo_recording
    >>> from spikelab.spike_sorting import sort_multistream
    >>> true_spikes = write_demo_recording(Path("plate.raw.h5"), duration_s=10.0)  # of one well
    >>> wells = sort_multistream("plate.raw.h5", ["well000"], sorter="threshold", snr_min=8)
    >>> {well: [neurons.length for neurons in results] for well, results in wells.items()}
    {'well000': [10000.0]}
    """
    for keyword in RESERVED_BY_MULTISTREAM:
        if keyword in kwargs:
            raise ValueError(f"Do not pass '{keyword}': sort_multistream sets it for each stream itself")
    config = _complete_config(config, sorter, kwargs)
    streams = checked_streams(recording, stream_ids, config)
    (entry,) = as_list(recording)
    configs = zip(streams, of_each_recording(config, len(streams)), strict=True)
    jobs = plan_jobs([(entry, own.override(stream_id=stream)) for stream, own in configs])
    outcomes = run_jobs(jobs)
    results = {stream: outcome.aligned for stream, outcome in zip(streams, outcomes, strict=True)}
    raise_failures(outcomes, results, config.execution.on_failure, lambda job: job.config.recording.stream_id)
    return results  # type: ignore[return-value]  # None only with on_failure="skip"


def import_sorting(
    folder: str | Path,
    results: str | Path,
    recording: Any = None,
    *,
    keep: Collection[str] | None = None,
    intermediate: str | Path | None = None,
    config: SortingPipelineConfig | None = None,
    **settings: Any,
) -> list[SpikeData]:
    """Take the units that another program found through waveforms, curation, results and report.

    Parameters
    ----------
    folder : path
        A folder of Kilosort (2 to 4) or phy, a sorting or an analyzer of SpikeInterface (a folder, zarr, npz or json),
        or an NWB file with units. Nothing in it is changed.
    results : path
        Results folder, as of :func:`sort_recording`.
    recording : path or BaseRecording, optional
        The recording that was sorted. By default the one that the folder names: in ``params.py``, in the analyzer, or
        in the NWB file itself.
    keep : collection of str, optional
        Labels of the units that are taken, such as ``["good", "mua"]``; by default all.
    intermediate : path, optional
        Scratch folder; by default ``intermediate`` in `results`.
    config : SortingPipelineConfig, optional
        Complete configuration; `settings` are applied on top.
    **settings
        Single settings by their flat name, as of :func:`sort_recording`; ``gain_to_uv`` where the recording is a binary
        file of counts.

    Returns
    -------
    list of SpikeData
        Curated units, one entry per file of the recording. Units have the attributes ``sorter_unit_id``, the id that
        they came with, ``imported_label``, such as "good", and ``imported_<column>`` for all else that was said of
        them (spikes are aligned and measured anew: what others measured is only kept).

    Raises
    ------
    FileNotFoundError
        If the folder, a file of it, or the recording that it names is not there.
    ValueError
        If units cannot be read, or cannot be of this recording, by its rate or length; if `results` holds a sort, which
        would be replaced, or the units themselves.

    Warns
    -----
    UserWarning
        If the recording has another number of channels, or shows nothing at the spikes.

    Notes
    -----
    The criteria of curation are those of any sort, as is what follows from a changed setting. Where only the labels of
    the other program should count, give ``keep`` and ``curate_first=False, curate_second=False``. The same call again
    does nothing, and notices where the folder was changed.

    Examples
    --------
    >>> from spikelab.spike_sorting import export_results, import_sorting
    >>> folder = export_results("sorted_rt_sort_culture", "phy", "culture_for_import")
    >>> (neurons,) = import_sorting(folder, "imported_culture", "culture.raw.h5")
    >>> neurons.neuron_attributes[0]["imported_label"]
    'good'
    """
    from spikelab.spike_sorting.backends.imported import SORTER, find_recording, sorter_params, with_probe

    folder, results = files.tidy(Path(folder)), files.tidy(Path(results))
    require_no_other_sort(results, SORTER, folder)
    found = find_recording(folder, recording, trust=bool(settings.get("trust_input")))
    params = sorter_params(folder, keep)
    described = with_probe(found, results, {*settings, *_set_in(config)})
    return sort_recording(
        [found.source],
        config if config is None else config.override(sorter_name=SORTER),
        SORTER,
        [results / "intermediate" if intermediate is None else intermediate],
        [results],
        **{**described, **settings, "sorter_params": params},
    )


def _set_in(config: SortingPipelineConfig | None) -> set[str]:
    """Return which settings of the recording a configuration has."""
    values = {} if config is None else vars(config.recording)
    return {name for name, value in values.items() if value is not None}


def _complete_config(
    config: SortingPipelineConfig | None, sorter: str, kwargs: dict[str, Any]
) -> SortingPipelineConfig:
    """Return the configuration of a call, checked before any file is touched."""
    if config is not None and not isinstance(config, SortingPipelineConfig):
        raise TypeError(
            f"config must be a SortingPipelineConfig, got {config!r}; config_from_toml(path) reads one from a file, "
            "sorter=... names a sorter"
        )
    for name in set(kwargs) & {"results_folder", "intermediate_folder"}:
        raise TypeError(f"Unknown parameter '{name}': did you mean '{name}s', a list with one folder per recording?")
    config = preset_for(sorter) if config is None else config
    config = changed(config, kwargs)
    validate_config(config)
    require_sorter(config)
    return config
