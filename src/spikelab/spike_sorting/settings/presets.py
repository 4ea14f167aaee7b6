"""Presets of the built-in sorters, and of curation."""

from __future__ import annotations

from dataclasses import fields
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from spikelab.spike_sorting.settings.keywords import flat_name, groups, suggestion
from spikelab.spike_sorting.settings.schema import SortingPipelineConfig

if TYPE_CHECKING:
    from collections.abc import Mapping

KILOSORT2 = SortingPipelineConfig()
KILOSORT2_DOCKER = KILOSORT2.override(use_docker=True)
KILOSORT4 = KILOSORT2.override(sorter_name="kilosort4")
KILOSORT4_DOCKER = KILOSORT4.override(use_docker=True)
RT_SORT_MEA = KILOSORT2.override(sorter_name="rt_sort")
RT_SORT_NEUROPIXELS = RT_SORT_MEA.override(
    rt_sort_probe="neuropixels",
    rt_sort_params={
        "stringent_thresh": 0.175,
        "loose_thresh": 0.075,
        "inference_scaling_numerator": 15.4,
        "min_amp_dist_p": 0.1,
        "max_latency_diff_spikes": 2.5,
        "max_amp_median_diff_spikes": 0.45,
        "max_latency_diff_sequences": 2.5,
        "max_amp_median_diff_sequences": 0.45,
        "max_root_amp_median_std_sequences": 2.5,
    },
)

# For an array, with all that goes before the sorter. What differs between Neuropixels 1.0 and 2.0, such as the times at
# which channels are sampled, shanks and gains, is in their files. How far the tissue moves along them is measured.
NEUROPIXELS_RT_SORT = RT_SORT_NEUROPIXELS.override(bad_channels="auto", spatial_filter="highpass", motion="estimate")
# Kilosort 4 subtracts a median, whitens, and corrects drift itself; of the times of sampling it knows nothing.
NEUROPIXELS_KILOSORT4 = KILOSORT4.override(bad_channels="auto", motion="estimate")
# One chain for all arrays in a plane, on purpose: the spatial filter and movement are of columns, and a reference is
# left to be asked for: on a dense array a neuron is on many electrodes, and a sparse one has few to take it from.
PLANE_RT_SORT = RT_SORT_MEA.override(bad_channels="auto")
MAXWELL = PLANE_RT_SORT
# Each neuron is seen on one electrode or two, as by a plate of 60 electrodes 200 um apart: RT-Sort sees how far apart
# they are, goes by the waveform there, and finds more in a generated recording than the sorters of SpikeInterface (0.73
# beside 0.50 at most).
LOW_DENSITY = PLANE_RT_SORT

# Keyword arguments of `sort_recording` and `override`: units are kept by statistics instead of by size and number.
CURATE_BY_EVIDENCE: Mapping[str, Any] = MappingProxyType(
    {
        "curate_first": True,
        "curate_second": True,
        "fr_min": None,  # a neuron that fires once a minute is one
        "isi_viol_max": 0.01,
        "isi_violation_method": "certain",  # one violation of 30 spikes is an accident
        "snr_min": None,
        # Ten alike spikes are no accident; fewer may be the same overlap of two large neurons a few times.
        "spikes_min_first": 10,
        "spikes_min_second": None,
        "std_norm_max": None,  # bursts and drift are no fault of the unit
        # Noise that is picked for being alike reaches 6 in the best of 10^9 tries; 8 is for noise that is not Gaussian.
        "significance_min": 8.0,
        "merge_duplicates": True,
        # As far as a spike travels along an axon in a window of a template, and as long as that takes.
        "merge_duplicates_params": {"dist_um": 200.0, "max_lag": 40},
    }
)
# Every preset by name, lower case: a complete configuration, or settings that go on top of any.
PRESETS: Mapping[str, SortingPipelineConfig | Mapping[str, Any]] = MappingProxyType(
    {
        "kilosort2": KILOSORT2,
        "kilosort2_docker": KILOSORT2_DOCKER,
        "kilosort4": KILOSORT4,
        "kilosort4_docker": KILOSORT4_DOCKER,
        "rt_sort_mea": RT_SORT_MEA,
        "rt_sort_neuropixels": RT_SORT_NEUROPIXELS,
        "neuropixels_rt_sort": NEUROPIXELS_RT_SORT,
        "neuropixels_kilosort4": NEUROPIXELS_KILOSORT4,
        "maxwell": MAXWELL,
        "low_density": LOW_DENSITY,
        "evidence": CURATE_BY_EVIDENCE,
    }
)
# What each is for, in a line.
PRESET_DOCS: Mapping[str, str] = MappingProxyType(
    {
        "kilosort2": "Kilosort 2: MATLAB and an NVIDIA GPU",
        "kilosort2_docker": "Kilosort 2 in a container: an NVIDIA GPU, no MATLAB",
        "kilosort4": "Kilosort 4: an NVIDIA GPU, or patience",
        "kilosort4_docker": "Kilosort 4 in a container",
        "rt_sort_mea": "RT-Sort for electrodes in a plane",
        "rt_sort_neuropixels": "RT-Sort for columns of electrodes, such as Neuropixels, at about 30 kHz",
        "neuropixels_rt_sort": "Neuropixels 1.0 and 2.0 with RT-Sort: no bad channels, no stripes, movement measured",
        "neuropixels_kilosort4": "Neuropixels 1.0 and 2.0 with Kilosort 4, which follows drift; movement measured",
        "maxwell": "MaxOne and MaxTwo with RT-Sort: bad channels left out",
        "low_density": "electrodes 100 um apart or more, each with neurons of its own: the chain of maxwell, RT-Sort",
        "evidence": "curation by statistics; keeps small and rare neurons; goes with any sorter",
    }
)

_PRESETS = {"kilosort2": KILOSORT2, "kilosort4": KILOSORT4, "rt_sort": RT_SORT_MEA}


def preset_for(sorter: str) -> SortingPipelineConfig:
    """Return a copy of the preset of a sorter; of a sorter without a preset, the defaults with its name.

    Examples
    --------
    >>> from spikelab.spike_sorting.config import preset_for
    >>> preset_for("rt_sort").sorter.sorter_name
    'rt_sort'
    >>> preset_for("spykingcircus2").curation.snr_min
    5.0
    """
    return _PRESETS.get(sorter, KILOSORT2).override(sorter_name=sorter)


def preset(name: str) -> SortingPipelineConfig:
    """Return a copy of the preset of a name; one of curation alone is on top of the defaults.

    Parameters
    ----------
    name : str
        Name of a preset, such as ``"rt_sort_neuropixels"`` or ``"evidence"``; in capitals too.

    Raises
    ------
    ValueError
        If there is no such preset.

    Examples
    --------
    >>> from spikelab.spike_sorting.config import RT_SORT_NEUROPIXELS, preset
    >>> preset("rt_sort_neuropixels") == RT_SORT_NEUROPIXELS
    True
    >>> preset("evidence").curation.significance_min
    8.0
    """
    return KILOSORT2.override(**preset_changes(name))


def preset_changes(name: str) -> dict[str, Any]:
    """Return the settings of a preset as flat keywords: what it changes, and the sorter that it is for.

    ValueError if there is no such preset.
    """
    found = PRESETS.get(name.lower().replace("-", "_"))
    if found is None:
        raise ValueError(
            f"there is no preset {name!r}{suggestion(name.lower(), PRESETS)}; there are {', '.join(PRESETS)}"
        )
    if not isinstance(found, SortingPipelineConfig):
        return dict(found)
    return {"sorter_name": found.sorter.sorter_name, **differences(found)}


def differences(config: SortingPipelineConfig, base: SortingPipelineConfig = KILOSORT2) -> dict[str, Any]:
    """Return the settings of `config` that are not those of `base`, as flat keywords."""
    return {
        flat_name(declared): getattr(getattr(config, group), declared.name)
        for group, group_type in groups(type(config)).items()
        for declared in fields(group_type)
        if getattr(getattr(config, group), declared.name) != getattr(getattr(base, group), declared.name)
    }
