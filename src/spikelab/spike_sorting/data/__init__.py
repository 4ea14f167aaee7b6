"""Data that flow from stage to stage: immutable, with their own save and load.

::

    recording  -> BinaryRecording    filtered traces on disk, and how to read them
    sorting    -> SpikeTrains        spike frames of each unit
    waveforms  -> Waveforms          templates, noise and metrics of each unit
    evidence   -> Evidence           size and place of every spike

Authors of sorters import these classes from here. Nothing here opens a raw recording, runs a sorter or curates a unit.
"""

from spikelab.spike_sorting.data.arrays import FloatArray, IntArray
from spikelab.spike_sorting.data.dead_time import annotate_dead_time, dead_time_of
from spikelab.spike_sorting.data.epochs import Epoch, annotate_epochs, epochs_of
from spikelab.spike_sorting.data.evidence import Evidence
from spikelab.spike_sorting.data.geometry import Geometry
from spikelab.spike_sorting.data.pulses import Pulses, annotate_pulses, pulses_of
from spikelab.spike_sorting.data.recording import BinaryRecording
from spikelab.spike_sorting.data.spike_trains import SpikeTrains, integer_ids, rows_of_each
from spikelab.spike_sorting.data.traces import Part, PartReader, SpikeInterfaceTraces, TraceSource, trace_source
from spikelab.spike_sorting.data.validation import Validation
from spikelab.spike_sorting.data.waveforms import Waveforms

__all__ = [
    "BinaryRecording",
    "Epoch",
    "Evidence",
    "FloatArray",
    "Geometry",
    "IntArray",
    "Part",
    "PartReader",
    "Pulses",
    "SpikeInterfaceTraces",
    "SpikeTrains",
    "TraceSource",
    "Validation",
    "Waveforms",
    "annotate_dead_time",
    "annotate_epochs",
    "annotate_pulses",
    "dead_time_of",
    "epochs_of",
    "integer_ids",
    "pulses_of",
    "rows_of_each",
    "trace_source",
]
