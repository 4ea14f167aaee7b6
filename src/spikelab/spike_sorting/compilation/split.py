"""Split of a sorted concatenation into one ``SpikeData`` per original file."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, Any

import numpy as np

from spikelab.spikedata import SpikeData
from spikelab.spikedata._dead_time import DEAD_TIME_KEY
from spikelab.spikedata._epochs import CLOCK_KEY, EPOCH_ATTRIBUTES, EPOCH_KEYS, FILES_KEY, SOURCES_KEY, TEMPLATES, piece
from spikelab.spikedata._pulses import STIM_SITES_KEY, STIM_TIMES_KEY

if TYPE_CHECKING:
    from collections.abc import Mapping


def split_by_file(sd: SpikeData) -> list[SpikeData]:
    """Split the units of a concatenation by file, in the order of the files; a single file gives ``[sd]`` itself.

    All files have the same units. Each is shifted to 0 and has the length, the spikes, the ``spike_train_samples`` and
    the epochs of that file, and its position as ``epoch_index``. A file that is one epoch is what
    :meth:`.SpikeData.split_epochs` makes of it, with its own ``template``, ``snr`` and ``std_norm``. The ``template``
    of a file of several epochs is the mean of their templates, weighted by the unit's spikes in each (NaN where no
    epoch has an averaged spike); its SNR and std_norm are those of the whole sort. A file of which nothing was kept
    has length 0 and empty trains. Data that were cut in time before are a ValueError: their epochs are not those of
    the files any more.
    """
    if FILES_KEY not in sd.metadata and "rec_chunks_frames" not in sd.metadata:
        return [sd]
    epochs, files = _epochs_of_files(sd.metadata), sd.metadata.get(FILES_KEY, ())
    if max(len(epochs), len(files)) < 2:
        return [sd]
    if not files:
        return [piece(sd, first, last, index) for index, (first, last) in enumerate(epochs.values())]
    return [
        piece(sd, *epochs[index], index) if index in epochs else _nothing_of(sd, file, index)
        for index, file in enumerate(files)
    ]


def _epochs_of_files(metadata: Mapping[str, Any]) -> dict[int, tuple[int, int]]:
    """Find the half-open range of epochs of each file that has any, by the position of the file."""
    sources, n_epochs = metadata.get(SOURCES_KEY, ()), len(metadata.get("rec_chunks_frames", [None]))
    if len(sources) != n_epochs:
        raise ValueError(
            f"metadata[{SOURCES_KEY!r}] describes {len(sources)} epochs, but there are {n_epochs}; "
            "split by file before cutting in time"
        )
    ranges = {}
    for file, group in groupby(range(n_epochs), key=lambda epoch: int(sources[epoch]["source_index"])):
        epochs = list(group)
        ranges[file] = (epochs[0], epochs[-1] + 1)
    return ranges


def _nothing_of(sd: SpikeData, file: str, index: int) -> SpikeData:
    """Make the data of a file of which nothing was kept: all units, length 0, no spikes."""
    silent = {"spike_train_samples": np.empty(0, dtype=np.int64), "snr": 0.0, "std_norm": np.inf}
    gone = (FILES_KEY, CLOCK_KEY, DEAD_TIME_KEY, STIM_TIMES_KEY, STIM_SITES_KEY, *EPOCH_KEYS)
    return SpikeData(
        [],
        N=sd.N,
        length=0.0,
        neuron_attributes=[
            {key: value for key, value in unit.items() if key not in EPOCH_ATTRIBUTES}
            | {name: np.full_like(unit[name], np.nan) for name in TEMPLATES}
            | silent
            for unit in sd.unit_attributes
        ],
        metadata={key: value for key, value in sd.metadata.items() if key not in gone}
        | {SOURCES_KEY: [], "n_samples": 0, "source_file": file, "epoch_index": index},
    )
