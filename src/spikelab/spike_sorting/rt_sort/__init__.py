"""RT-Sort: neurons by how their spikes travel across electrodes, offline and in real time.

::

    rt_sort = detect_sequences(recording)      # learn
    sorting = rt_sort.sort_offline(recording)  # apply
    stream = rt_sort.stream(band_pass=StreamBandPass(gain_to_uv=0.195))
    spikes = stream.push(frames)               # apply while the recording runs
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from spikelab.spike_sorting.filters.stream import StreamBandPass
    from spikelab.spike_sorting.rt_sort.detect import detect_sequences
    from spikelab.spike_sorting.rt_sort.detection.model import ModelSpikeSorter
    from spikelab.spike_sorting.rt_sort.parameters import PUBLISHED, SequenceParameters
    from spikelab.spike_sorting.rt_sort.sorter import RTSort, RTSortStream

__all__ = [
    "PUBLISHED",
    "ModelSpikeSorter",
    "RTSort",
    "RTSortStream",
    "SequenceParameters",
    "StreamBandPass",
    "detect_sequences",
]
_MODULES = {
    "detect_sequences": "rt_sort.detect",
    "ModelSpikeSorter": "rt_sort.detection.model",
    "PUBLISHED": "rt_sort.parameters",
    "SequenceParameters": "rt_sort.parameters",
    "StreamBandPass": "filters.stream",
    "RTSort": "rt_sort.sorter",
    "RTSortStream": "rt_sort.sorter",
}


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return getattr(importlib.import_module(f"spikelab.spike_sorting.{_MODULES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
