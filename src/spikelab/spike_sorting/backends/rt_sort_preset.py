"""Which preset of RT-Sort fits the electrodes of a recording: detection model and thresholds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spikelab.spike_sorting.recording.geometry.columns import is_column, is_known
from spikelab.spike_sorting.settings.presets import RT_SORT_MEA, RT_SORT_NEUROPIXELS
from spikelab.spike_sorting.settings.schema import RTSortConfig

if TYPE_CHECKING:
    from spikelab.spike_sorting.data import Geometry
    from spikelab.spike_sorting.settings.schema import SortingPipelineConfig

IN_COLUMNS = "columns of electrodes"
COLUMN_RATES_HZ = (24_000.0, 40_000.0)  # around the 30 kHz of the detection model for columns


def fitting_preset(geometry: Geometry | None, rate_hz: float) -> tuple[RTSortConfig, str]:
    """Choose a preset by how the electrodes lie, and say in words which and why."""
    lie, (low, high) = how_they_lie(geometry), COLUMN_RATES_HZ
    preset = (RT_SORT_NEUROPIXELS if lie == IN_COLUMNS and low <= rate_hz <= high else RT_SORT_MEA).rt_sort
    return preset, f"preset rt_sort_{preset.probe} ({lie}, {rate_hz / 1000:g} kHz)"


def how_they_lie(geometry: Geometry | None) -> str:
    """Say how the electrodes lie."""
    if geometry is None or not is_known(geometry):
        return "electrodes whose places are unknown"
    return IN_COLUMNS if is_column(geometry) else "electrodes in a plane"


def with_fitting_preset(
    config: SortingPipelineConfig, geometry: Geometry | None, rate_hz: float
) -> tuple[SortingPipelineConfig, str]:
    """Give RT-Sort the preset for the electrodes where nothing of it is set; return what was chosen in words too.

    For sorts of a recording that another sorter sorted. The words are "" where nothing is chosen.
    """
    if config.sorter.sorter_name != "rt_sort" or config.rt_sort != RTSortConfig():
        return config, ""
    preset, words = fitting_preset(geometry, rate_hz)
    return config.override(rt_sort_probe=preset.probe, rt_sort_params=preset.params), words
