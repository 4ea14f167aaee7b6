"""Presets of the built-in sorters."""

from __future__ import annotations

from spikelab.spike_sorting.settings.schema import SortingPipelineConfig

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
