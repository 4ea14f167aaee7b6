"""From a file, a folder or a recording in memory to one filtered binary in microvolts.

::

    source.py           what the input is: its files in order, its stem, its fingerprint
    formats.py          which format a file or folder has (a table)
    readers.py          one opened file per format
    streams.py          streams by id and name, with and without electrodes
    mcs_recording.py    files of Multi Channel Systems
    open_ephys.py       experiments in a folder of Open Ephys
    stated_length.py    whether a recording is as long as its header says
    read_errors.py      errors of readers become one error that names the file, our setting and the next step
    trust.py            which classes, pickles and links of an input are refused
    completeness.py     whether all values that a file claims are there
    metadata_checks.py  impossible rates, names and positions; doubtful byte order
    probes.py           contacts from a probe file
    preprocess.py       microvolts, band-pass, bad channels
    across.py           interpolated channels, spatial high-pass, reference
    slicing.py          which frames are kept, and which frames of which file each epoch holds
    stimulation/        pulses: their onsets, and the traces without them
    clock/              when frames were recorded, and where frames are missing
    pieces.py           a recording at another rate, or in pieces, each a segment
    motion/             how tissue moved along a probe, and traces without that
    opening.py          all of these together: ``open_recording``
    parts.py            pieces of a prepared recording, filtered or as stored
    signal_checks.py    flat and saturated channels, wrong unit, NaN
    binary.py           the filtered binary that serves sorter and waveforms
    inspection.py       what a file holds, without sorting it
"""

from __future__ import annotations

from spikelab.spike_sorting.data import epochs_of
from spikelab.spike_sorting.recording.binary import write_binary
from spikelab.spike_sorting.recording.fingerprint import fingerprint
from spikelab.spike_sorting.recording.hdf5 import set_plugin_path
from spikelab.spike_sorting.recording.inspection import StreamInfo, inspect_file, list_streams
from spikelab.spike_sorting.recording.maxwell_writer import write_maxwell
from spikelab.spike_sorting.recording.opening import open_recording
from spikelab.spike_sorting.recording.signal_checks import RecordingReport
from spikelab.spike_sorting.recording.source import Source, resolve_source

__all__ = [
    "RecordingReport",
    "Source",
    "StreamInfo",
    "epochs_of",
    "fingerprint",
    "inspect_file",
    "list_streams",
    "open_recording",
    "resolve_source",
    "set_plugin_path",
    "write_binary",
    "write_maxwell",
]
