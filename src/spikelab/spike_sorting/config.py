"""Settings of a sort and the presets, which are declared in ``settings/``."""

from spikelab.spike_sorting.settings.presets import (
    CURATE_BY_EVIDENCE,
    KILOSORT2,
    KILOSORT2_DOCKER,
    KILOSORT4,
    KILOSORT4_DOCKER,
    RT_SORT_MEA,
    RT_SORT_NEUROPIXELS,
    preset,
    preset_for,
)
from spikelab.spike_sorting.settings.schema import (
    CompilationConfig,
    CurationConfig,
    ExecutionConfig,
    FigureConfig,
    RecordingConfig,
    RTSortConfig,
    SorterConfig,
    SortingPipelineConfig,
    WaveformConfig,
)

__all__ = [
    "CURATE_BY_EVIDENCE",
    "KILOSORT2",
    "KILOSORT2_DOCKER",
    "KILOSORT4",
    "KILOSORT4_DOCKER",
    "RT_SORT_MEA",
    "RT_SORT_NEUROPIXELS",
    "CompilationConfig",
    "CurationConfig",
    "ExecutionConfig",
    "FigureConfig",
    "RTSortConfig",
    "RecordingConfig",
    "SorterConfig",
    "SortingPipelineConfig",
    "WaveformConfig",
    "preset",
    "preset_for",
]
