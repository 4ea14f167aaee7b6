"""The old name of :mod:`spikelab.spike_sorting.data`; it goes with the next release."""

import warnings

from spikelab.spike_sorting.data import BinaryRecording, Epoch, SpikeTrains, TraceSource, Waveforms

__all__ = ["BinaryRecording", "Epoch", "SpikeTrains", "TraceSource", "Waveforms"]

warnings.warn(
    "spikelab.spike_sorting._types is now spikelab.spike_sorting.data; the old name goes with the next release",
    DeprecationWarning,
    stacklevel=2,
)
