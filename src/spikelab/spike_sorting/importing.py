"""Import of units that another program found: what a sort does after the sorter, on its recording."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from spikelab.spike_sorting.pipeline import sort_recording
from spikelab.system import files

if TYPE_CHECKING:
    from collections.abc import Collection

    from spikelab.spike_sorting.backends.imported import FoundRecording
    from spikelab.spike_sorting.settings.schema import SortingPipelineConfig
    from spikelab.spikedata import SpikeData

SORTER = "imported"


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
        If units cannot be read, or cannot be of this recording, by its rate or length.

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
    from spikelab.spike_sorting.backends.imported import find_recording

    folder, results = files.tidy(Path(folder)), files.tidy(Path(results))
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


def sorter_params(folder: Path, keep: Collection[str] | None) -> dict[str, Any]:
    """Return what the backend is told: the folder, and the labels that are taken."""
    wanted = [keep] if isinstance(keep, str) else list(keep or ())
    return {"folder": str(folder), **({"keep": wanted} if wanted else {})}


def with_probe(found: FoundRecording, results: Path, given: Collection[str]) -> dict[str, Any]:
    """Return the settings that describe the recording, but for those `given`; its probe is written into the results."""
    from spikelab.spike_sorting.backends.imported import PROBE_FILE

    settings = {name: value for name, value in found.settings.items() if name not in given}
    if found.probe is not None and "probe_path" not in given:
        from probeinterface import write_probeinterface

        results.mkdir(parents=True, exist_ok=True)
        with files.replacing(results / PROBE_FILE) as path:
            write_probeinterface(path, found.probe)
        settings["probe_path"] = str(results / PROBE_FILE)
    return settings
