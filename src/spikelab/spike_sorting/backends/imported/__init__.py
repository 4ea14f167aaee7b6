"""Units that another program found: reading them, finding their recording, and the backend that takes them."""

from __future__ import annotations

from spikelab.spike_sorting.backends.imported.backend import ImportedBackend
from spikelab.spike_sorting.backends.imported.reading import kind_of, read_units
from spikelab.spike_sorting.backends.imported.recordings import PROBE_FILE, FoundRecording, find_recording
from spikelab.spike_sorting.backends.imported.settings import SORTER, sorter_params, with_probe
from spikelab.spike_sorting.backends.imported.units import ImportedUnits

__all__ = [
    "PROBE_FILE",
    "SORTER",
    "FoundRecording",
    "ImportedBackend",
    "ImportedUnits",
    "find_recording",
    "kind_of",
    "read_units",
    "sorter_params",
    "with_probe",
]
