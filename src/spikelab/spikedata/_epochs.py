"""Cutting spike data in time, and the epochs that no interval and no template window crosses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spikelab.spikedata._validation import span

if TYPE_CHECKING:
    from collections.abc import Mapping

    from spikelab.spikedata.spikedata import SpikeData

FloatArray = NDArray[np.float64]

# A frame's time computed as frame / fs * 1000 and an epoch's start computed as frame * 1000 / fs differ by rounding.
# A picosecond-scale allowance (1e-6 ms, far below any sampling period) keeps the first frame in its own epoch.
TOLERANCE_MS = 1e-6

# Metadata with one entry per epoch.
EPOCH_KEYS = ("rec_chunks_ms", "rec_chunks_frames", "rec_chunk_names", "rec_chunk_source_files")
SOURCES_KEY = "rec_chunk_sources"  # likewise: file, segment and frames that an epoch came from
FILES_KEY = "source_files"  # every file of a concatenation
# Attributes with one entry per epoch.
EPOCH_ATTRIBUTES = ("epoch_templates", "epoch_snr", "epoch_std_norm")
TEMPLATES = ("template", "template_windowed", "template_full")


def chunks_ms(metadata: Mapping[str, Any]) -> FloatArray | None:
    """``rec_chunks_ms`` as (epochs, 2); None where there are no epochs."""
    values = metadata.get("rec_chunks_ms")
    if values is None or len(values) == 0:
        return None
    chunks = np.asarray(values, dtype=np.float64).reshape(-1, 2)
    if (chunks[:, 0] >= chunks[:, 1]).any() or (chunks[1:, 0] < chunks[:-1, 1] - TOLERANCE_MS).any():
        raise ValueError(f"metadata['rec_chunks_ms'] must be ascending and must not overlap, got {chunks.tolist()}")
    return chunks


def starts_ms(metadata: Mapping[str, Any]) -> FloatArray | None:
    """Return the starts of the second and later epochs; None where no boundary exists."""
    chunks = chunks_ms(metadata)
    return None if chunks is None or len(chunks) == 1 else chunks[1:, 0]


def epoch_of(times: ArrayLike, starts: FloatArray) -> NDArray[np.int64]:
    """Index of the epoch in which each time lies, given the starts of the second and later epochs."""
    return np.searchsorted(starts - TOLERANCE_MS, times, side="right")


def intervals(times: FloatArray, starts: FloatArray | None) -> FloatArray:
    """Intervals between consecutive times, without those that cross an epoch boundary."""
    gaps: FloatArray = np.diff(times)
    if starts is None:
        return gaps
    within: FloatArray = gaps[np.diff(epoch_of(times, starts)) == 0]
    return within


def count_short_intervals(times: FloatArray, threshold_ms: float, min_ms: float, starts: FloatArray | None) -> int:
    """Count the intervals in [min_ms, threshold_ms) that do not cross an epoch boundary."""
    gaps = np.diff(times)
    short = np.flatnonzero((gaps < threshold_ms) & (gaps >= min_ms))
    if starts is None:
        return len(short)
    # Only short intervals are looked up: there are few of them among millions.
    return int((epoch_of(times[short], starts) == epoch_of(times[short + 1], starts)).sum())


def cut(sd: SpikeData, start: float, end: float, new_start: float, allowance: float = 0.0) -> SpikeData:
    """Keep the data in [start, end), with the end itself where the data end there; `start` becomes `new_start`."""
    shifted = new_start != start
    length = end - start if shifted else span(start, end)
    to_end = end >= sd.end_time - allowance
    kept = [_range(times, start, end, to_end, allowance) for times in sd.train]
    trains = [times[part] for times, part in zip(sd.train, kept, strict=True)]
    in_raw = _range(sd.raw_time, start, end, to_end, TOLERANCE_MS)
    shift_frames = (new_start - start) * _frames_per_ms(sd.metadata) if shifted else 0.0
    metadata, epochs = _cut_metadata(sd.metadata, start, end, new_start - start)
    if start > sd.start_time or not to_end:
        metadata.pop(SOURCES_KEY, None)  # they name frames of the original files, which fit whole epochs only
    raw_time = sd.raw_time[in_raw]
    return sd.replace(
        # Clipped, because a spike may lie before `start` by the allowance.
        train=[np.clip(new_start + (t - start), new_start, new_start + length) for t in trains] if shifted else trains,
        length=length,
        start_time=new_start,
        neuron_attributes=[
            _cut_attributes(values, len(times), part, shift_frames, epochs)
            for values, times, part in zip(sd.neuron_attributes, sd.train, kept, strict=True)
        ],
        metadata=metadata,
        raw_data=sd.raw_data[:, in_raw],
        raw_time=new_start + (raw_time - start) if shifted else raw_time,
    )


def split(sd: SpikeData) -> list[SpikeData]:
    """One object per epoch, each starting at 0."""
    chunks = chunks_ms(sd.metadata)
    if chunks is None:
        return [sd.replace()]
    return [piece(sd, epoch, epoch + 1, epoch) for epoch in range(len(chunks))]


def piece(sd: SpikeData, first: int, last: int, index: int) -> SpikeData:
    """Epochs [first, last) as one object that starts at 0 and has templates of its own.

    Metadata gain `index` as ``epoch_index`` and lose what tells of other epochs and files.
    """
    chunks = chunks_ms(sd.metadata)
    if chunks is None:
        return sd.replace(metadata=_own_metadata(sd, sd.metadata, first, last, index))
    if chunks[0, 0] < sd.start_time - TOLERANCE_MS or chunks[-1, 1] > sd.end_time + TOLERANCE_MS:
        raise ValueError(
            f"metadata['rec_chunks_ms'] spans [{chunks[0, 0]}, {chunks[-1, 1]}] ms, "
            f"but the data are [{sd.start_time}, {sd.end_time}] ms"
        )
    own = cut(sd, float(chunks[first, 0]), float(chunks[last - 1, 1]), 0.0, allowance=TOLERANCE_MS)
    edges = np.append(chunks[first:last, 0] - chunks[first, 0] - TOLERANCE_MS, np.inf)
    return own.replace(
        metadata=_own_metadata(sd, own.metadata, first, last, index),
        neuron_attributes=[
            _own_attributes(values, np.diff(np.searchsorted(times, edges)))
            for values, times in zip(own.neuron_attributes, own.train, strict=True)
        ],
    )


def _own_metadata(sd: SpikeData, cut_metadata: dict[str, Any], first: int, last: int, index: int) -> dict[str, Any]:
    gone = (FILES_KEY,) if last - first > 1 else (FILES_KEY, *EPOCH_KEYS)
    metadata = {key: value for key, value in cut_metadata.items() if key not in gone}
    metadata["epoch_index"] = index
    if SOURCES_KEY in sd.metadata:
        metadata[SOURCES_KEY] = sources = sd.metadata[SOURCES_KEY][first:last]
        if "source_file" in sources[0]:
            metadata["source_file"] = sources[0]["source_file"]
    if "rec_chunk_source_files" in sd.metadata:
        metadata["source_file"] = sd.metadata["rec_chunk_source_files"][first]
    if "rec_chunk_names" in sd.metadata and last - first == 1:
        metadata["epoch_name"] = sd.metadata["rec_chunk_names"][first]
    return metadata


def _own_attributes(values: dict[str, Any], counts: NDArray[np.int64]) -> dict[str, Any]:
    """Put what is known of the epochs themselves, in which the unit has `counts` spikes, in the place of the whole."""
    own = dict(values)
    if "epoch_templates" in values:
        template = combine_templates(values["epoch_templates"], counts)
        own |= _own_templates(values, template)
    if len(counts) > 1:
        return own
    for name in EPOCH_ATTRIBUTES:
        only = own.pop(name, None)
        if only is not None and name != "epoch_templates":
            own[name.removeprefix("epoch_")] = float(only[0])
    return own


def combine_templates(templates: NDArray[Any], counts: NDArray[np.int64]) -> NDArray[Any]:
    """Mean of epoch templates weighted by spikes.

    Parameters
    ----------
    templates : numpy.ndarray, shape (epochs, samples, channels)
        NaN where an epoch has none.
    counts : numpy.ndarray of int, shape (epochs,)
        Spikes of the unit in each epoch.

    Returns
    -------
    numpy.ndarray, shape (samples, channels)
        NaN where no epoch has a template.
    """
    if len(templates) == 1:
        only: NDArray[Any] = templates[0]
        return only
    valid = np.isfinite(templates).all(axis=(1, 2)) & (counts > 0)
    if not valid.any():
        return np.full_like(templates[0], np.nan)
    return np.average(templates[valid], axis=0, weights=counts[valid]).astype(templates.dtype)


def _own_templates(values: dict[str, Any], own: NDArray[Any]) -> dict[str, Any]:
    """Cut the windows of a unit's templates out of `own`, as far as it reaches."""
    windows: dict[str, Any] = {"template": own}
    parts: dict[int, NDArray[Any]] = {}  # templates of one length are one array, as they are in `values`
    for name in TEMPLATES:
        if name in values and len(values[name]) <= len(own):
            n_samples = len(values[name])
            if n_samples not in parts:
                parts[n_samples] = own[_window_of(values[name], values.get("template_full"), len(own))]
            windows[name] = parts[n_samples]
    return windows


def _window_of(template: NDArray[Any], full: NDArray[Any] | None, n_samples: int) -> slice:
    """Where `template` lies in the window of `n_samples` that `full` covers."""
    n = len(template)
    if n == n_samples:
        return slice(None)
    if full is not None and len(full) == n_samples:
        for first in range(n_samples - n + 1):
            if np.array_equal(full[first : first + n], template, equal_nan=True):
                return slice(first, first + n)
    raise ValueError(f"a template of {n} samples is no part of its full window, but epoch_templates has {n_samples}")


def _range(times: FloatArray, start: float, end: float, to_end: bool, allowance: float) -> slice:
    first, last = np.searchsorted(times, [start - allowance, end - allowance])
    return slice(int(first), len(times) if to_end else int(last))


def _frames_per_ms(metadata: Mapping[str, Any]) -> float:
    fs_hz = metadata.get("fs_Hz")
    return np.nan if fs_hz is None else float(fs_hz) / 1000


def _cut_attributes(
    values: dict[str, Any], n_spikes: int, part: slice, shift_frames: float, epochs: NDArray[np.bool_] | None
) -> dict[str, Any]:
    """Attributes with the spikes and epochs that are left; frames that cannot be known any more are dropped."""
    values = dict(values)
    samples = values.pop("spike_train_samples", None)
    if samples is not None and len(samples) == n_spikes and np.isfinite(shift_frames):
        values["spike_train_samples"] = np.asarray(samples)[part] + round(shift_frames)
    for name in EPOCH_ATTRIBUTES if epochs is not None else ():
        if name in values:
            values[name] = np.asarray(values[name])[epochs]
    return values


def _cut_metadata(
    metadata: Mapping[str, Any], start: float, end: float, shift: float
) -> tuple[dict[str, Any], NDArray[np.bool_] | None]:
    """Metadata whose epochs and number of samples fit the cut, and which epochs are left."""
    cut = dict(metadata)
    frames_per_ms = _frames_per_ms(metadata)
    if "n_samples" in cut and np.isfinite(frames_per_ms):
        cut["n_samples"] = round((end - start) * frames_per_ms)
    chunks = chunks_ms(metadata)
    if chunks is None:
        return cut, None
    clipped = np.clip(chunks, start, end)
    left = clipped[:, 1] - clipped[:, 0] > TOLERANCE_MS
    for key in EPOCH_KEYS:
        if key in metadata:
            cut[key] = [value for value, is_left in zip(metadata[key], left, strict=True) if is_left]
    cut["rec_chunks_ms"] = [[float(a), float(b)] for a, b in clipped[left] + shift]
    if np.isnan(frames_per_ms):
        cut.pop("rec_chunks_frames", None)
    elif "rec_chunks_frames" in cut:
        frames = np.rint((clipped[left] + shift) * frames_per_ms)
        cut["rec_chunks_frames"] = [[int(a), int(b)] for a, b in frames]
    return cut, left
