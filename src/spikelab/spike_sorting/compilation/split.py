"""One ``SpikeData`` per original file out of a sorted concatenation."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any

import numpy as np

from spikelab.spikedata import SpikeData

if TYPE_CHECKING:
    from numpy.typing import NDArray

EPOCH_KEYS = ("rec_chunks_frames", "rec_chunks_ms", "rec_chunk_names", "rec_chunk_source_files")


@dataclass(frozen=True)
class _File:
    """The epochs of one original file: [first, last) of the epoch table, [start, end) in frames."""

    first: int
    last: int
    start: int
    end: int

    @property
    def n_epochs(self) -> int:
        return self.last - self.first


def split_by_file(sd: SpikeData) -> list[SpikeData]:
    """Cut the result of a concatenation back into its original files.

    Parameters
    ----------
    sd : SpikeData
        As :func:`~spikelab.spike_sorting.compilation.build_spikedata` makes it, curated or not.

    Returns
    -------
    list of SpikeData
        One per file, in the order of the concatenation, all with the same units: shifted to 0, with the length, the
        spikes, the ``spike_train_samples`` and the epochs of that file. ``template`` is the file's own: the mean of
        the templates of its epochs, weighted by the unit's spikes in each; epochs without an averaged spike do not
        count, and where there is no other the template is NaN. Amplitudes, SNR and std_norm are
        those of the whole sort. A single file gives ``[sd]`` itself.

    Raises
    ------
    ValueError
        If `sd` was cut in time, so that its epochs are not those of the files any more.
    """
    files = _files(sd.metadata)
    if len(files) < 2:
        return [sd]
    return [_one_file(sd, file) for file in files]


def _files(metadata: dict[str, Any]) -> list[_File]:
    frames = metadata.get("rec_chunks_frames")
    if frames is None:
        return []
    sources = [source["source_index"] for source in metadata["rec_chunk_sources"]]
    if len(sources) != len(frames):
        raise ValueError(
            f"metadata['rec_chunk_sources'] describes {len(sources)} epochs, but there are {len(frames)}; "
            "split by file before cutting in time"
        )
    files = []
    for _, group in groupby(range(len(sources)), key=sources.__getitem__):
        epochs = list(group)
        first, last = epochs[0], epochs[-1]
        files.append(_File(first, last + 1, int(frames[first][0]), int(frames[last][1])))
    return files


def _one_file(sd: SpikeData, file: _File) -> SpikeData:
    fs = float(sd.metadata["fs_Hz"])
    frames = np.asarray(sd.metadata["rec_chunks_frames"][file.first : file.last])
    attributes = [
        _own_attributes(unit, file, frames, sd.metadata["template_full_peak_ind"])
        for unit in sd.neuron_attributes or []
    ]
    return SpikeData(
        [unit["spike_train_samples"] * 1000.0 / fs for unit in attributes],
        N=sd.N,
        length=(file.end - file.start) * 1000.0 / fs,
        neuron_attributes=attributes,
        metadata=_own_metadata(sd.metadata, file, fs),
    )


def _own_attributes(unit: dict[str, Any], file: _File, frames: NDArray[np.int64], full_peak: int) -> dict[str, Any]:
    spikes = unit["spike_train_samples"]
    own = {key: value for key, value in unit.items() if key != "epoch_templates"}
    own["spike_train_samples"] = spikes[(spikes >= file.start) & (spikes < file.end)] - file.start
    templates = unit["epoch_templates"][file.first : file.last]
    counts = np.searchsorted(spikes, frames[:, 1]) - np.searchsorted(spikes, frames[:, 0])
    template = combine_templates(templates, counts)
    compiled = _compiled(template, unit, full_peak)
    own |= {"template": compiled, "template_full": template, "template_windowed": compiled}
    if file.n_epochs > 1:
        own["epoch_templates"] = templates
    return own


def _compiled(template: NDArray[np.float32], unit: dict[str, Any], full_peak: int) -> NDArray[np.float32]:
    """Cut the window of the unit's ``template`` out of a template over the whole window."""
    n_samples, first = len(unit["template"]), full_peak - unit["template_peak_ind"]
    return template if len(template) == n_samples else template[first : first + n_samples]


def combine_templates(templates: NDArray[np.float32], counts: NDArray[np.int64]) -> NDArray[np.float32]:
    """Mean of epoch templates weighted by spikes.

    Parameters
    ----------
    templates : numpy.ndarray, shape (epochs, samples, channels)
        NaN where an epoch has none.
    counts : numpy.ndarray of int, shape (epochs,)
        Spikes of the unit in each epoch.

    Returns
    -------
    numpy.ndarray of float32, shape (samples, channels)
        NaN where no epoch has a template.
    """
    valid = np.isfinite(templates).all(axis=(1, 2)) & (counts > 0)
    if not valid.any():
        return np.full(templates.shape[1:], np.nan, dtype=np.float32)
    return np.average(templates[valid], axis=0, weights=counts[valid]).astype(np.float32)


def _own_metadata(metadata: dict[str, Any], file: _File, fs: float) -> dict[str, Any]:
    own = {key: value for key, value in metadata.items() if key not in EPOCH_KEYS}
    sources = metadata["rec_chunk_sources"][file.first : file.last]
    own["rec_chunk_sources"] = sources
    own["source_file"] = sources[0]["source_file"]
    own["n_samples"] = file.end - file.start
    if file.n_epochs > 1:
        frames = np.asarray(metadata["rec_chunks_frames"][file.first : file.last]) - file.start
        own["rec_chunks_frames"] = frames.tolist()
        own["rec_chunks_ms"] = (frames * 1000.0 / fs).tolist()
        for key in ("rec_chunk_names", "rec_chunk_source_files"):
            own[key] = metadata[key][file.first : file.last]
    return own
