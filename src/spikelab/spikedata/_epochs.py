"""Cutting spike data in time; epochs, whose boundaries no interspike interval and no template window crosses."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spikelab.spikedata._dead_time import DEAD_TIME_KEY, cut_dead_time, edges_ms
from spikelab.spikedata._pulses import STIM_SITES_KEY, STIM_TIMES_KEY, cut_pulses
from spikelab.spikedata._validation import span

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import EllipsisType

    from spikelab.spikedata._base import BaseSpikeData, Data

FloatArray = NDArray[np.float64]

# A frame's time computed as frame / fs * 1000 and an epoch's start computed as frame * 1000 / fs differ by rounding.
# A picosecond-scale allowance (1e-6 ms, far below any sampling period) keeps the first frame in its own epoch.
TOLERANCE_MS = 1e-6

# Metadata with one entry per epoch, and attributes with one.
EPOCH_KEYS = ("rec_chunks_ms", "rec_chunks_frames", "rec_chunk_names", "rec_chunk_source_files")
EPOCH_ATTRIBUTES = ("epoch_templates", "epoch_snr", "epoch_std_norm")
SOURCES_KEY = "rec_chunk_sources"  # one entry per epoch too: the file, segment and frames that the epoch came from
# Stretches in which the file's clock does not jump, which are the epochs: {"ms": start on the clock of this object,
# "clock_s": the same time on the file's clock, "zero": date and time at which that clock shows 0, "scale": seconds on
# it for each second by the sampling rate}. The first may start before the data, where these were cut.
CLOCK_KEY = "clock"
FILES_KEY = "source_files"  # every file of a concatenation
TEMPLATES = ("template", "template_windowed", "template_full")


def chunks_ms(metadata: Mapping[str, Any]) -> FloatArray | None:
    """Return ``rec_chunks_ms`` as (epochs, 2), in the order given; None where there are no epochs."""
    values = metadata.get("rec_chunks_ms")
    if values is None or len(values) == 0:
        return None
    chunks = np.asarray(values, dtype=np.float64).reshape(-1, 2)
    if not (chunks[:, 0] < chunks[:, 1]).all():
        raise ValueError(f"metadata['rec_chunks_ms'] must be pairs of start < end in ms, got {chunks.tolist()}")
    return chunks


def stretches_ms(metadata: Mapping[str, Any]) -> FloatArray | None:
    """Return the stretches of time between boundaries, (stretches, 2), ascending; None where there are no epochs.

    Epochs that overlap are windows of one stretch: no boundary lies where one begins within another.
    """
    chunks = chunks_ms(metadata)
    if chunks is None:
        return None
    chunks = chunks[np.argsort(chunks[:, 0], kind="stable")]
    ends = np.maximum.accumulate(chunks[:, 1])
    begins = np.append(True, chunks[1:, 0] >= ends[:-1] - TOLERANCE_MS)
    last = np.append(np.flatnonzero(begins)[1:] - 1, len(chunks) - 1)
    return np.column_stack([chunks[begins, 0], ends[last]])


def starts_ms(metadata: Mapping[str, Any]) -> FloatArray | None:
    """Return where the second and later stretches start, and the edges of dead time; None where no boundary exists."""
    stretches = stretches_ms(metadata)
    starts = None if stretches is None or len(stretches) == 1 else stretches[1:, 0]
    if DEAD_TIME_KEY not in metadata:
        return starts
    return np.unique(np.concatenate([edges_ms(metadata), [] if starts is None else starts]))


def epoch_of(times: ArrayLike, starts: FloatArray) -> NDArray[np.int64]:
    """Find the epoch in which each time lies, given the starts of the second and later epochs."""
    return np.searchsorted(starts - TOLERANCE_MS, times, side="right")


def intervals(times: FloatArray, starts: FloatArray | None) -> FloatArray:
    """Compute the intervals between consecutive times, without those that cross an epoch boundary."""
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
    # Epochs are found for short intervals only: there are few of them among millions.
    return int((epoch_of(times[short], starts) == epoch_of(times[short + 1], starts)).sum())


def subtime(
    sd: Data, start: float | EllipsisType | None, end: float | EllipsisType | None, shift_to: float | None = None
) -> Data:
    """Cut out the time from `start` to `end`: spikes, raw data, ``spike_train_samples``, epochs and clock.

    Half-open: a spike at `end` is left out, except at the very end of the data, so that cutting from `start_time`
    to `end_time` keeps every spike. ``sd[start:end]`` is the same.

    Parameters
    ----------
    sd : SpikeData
    start, end : float, Ellipsis or None
        In ms, on the clock of the data; None and ``...`` stand for that end of the data. An `end` past the data is
        clipped with a warning.
    shift_to : float, optional
        Time in ms, on the clock of the data, that becomes 0: an event, for example, so that the result starts at
        ``start - shift_to``. By default the result starts at 0; ``shift_to=0`` keeps the clock.

    Returns
    -------
    SpikeData
        The clock of the file goes along: ``times(unit, "file")`` are what they were.

    Raises
    ------
    ValueError
        `start` is before the data, or not before `end`.

    Examples
    --------
    >>> from spikelab import SpikeData
    >>> sd = SpikeData([[10, 30, 60]], length=100)
    >>> sd.subtime(20, 60), sd.subtime(20, 60).train[0]
    (SpikeData(N=1, 1 spikes, [0, 40] ms), array([10.]))
    >>> sd.subtime(20, None, shift_to=30)
    SpikeData(N=1, 2 spikes, [-10, 70] ms)
    """
    start = sd.start_time if start is None or start is ... else float(start)
    end = sd.end_time if end is None or end is ... else float(end)
    if start < sd.start_time:
        raise ValueError(f"Invalid time range: start ({start} ms) is below recording start ({sd.start_time} ms)")
    if not start < min(end, sd.end_time):
        raise ValueError(
            f"Invalid time range [{start}, {end}) ms: expected start < end within [{sd.start_time}, {sd.end_time}] ms"
        )
    if end > sd.end_time:
        warnings.warn(f"end ({end:g} ms) is past the data; clipped to {sd.end_time:g} ms", UserWarning, stacklevel=2)
        end = sd.end_time
    return _cut(sd, _Interval(start, end, 0.0 if shift_to is None else start - float(shift_to)))


def split_epochs(sd: Data) -> list[Data]:
    """Split at the epochs in ``metadata["rec_chunks_ms"]``.

    Every epoch keeps all units, starts at 0 and has its own length, raw data, ``spike_train_samples`` (relative
    to the epoch's start) and, from the attribute ``epoch_templates``, its own ``template``, ``template_full`` and
    ``template_windowed``: NaN for a unit without an averaged spike in that epoch. Its ``snr`` and ``std_norm`` are
    taken from ``epoch_snr`` and ``epoch_std_norm``. Other attributes (``amplitude``, a ``template_full`` longer
    than the epoch templates) stay those of the whole. Metadata gain ``epoch_index`` and, where known, ``epoch_name``;
    ``source_file`` is the epoch's entry of ``rec_chunk_source_files`` or, without such a list, of ``rec_chunk_names``.
    Epochs may overlap: a spike in two of them is in both.

    Parameters
    ----------
    sd : SpikeData

    Returns
    -------
    list of SpikeData

    Raises
    ------
    ValueError
        There are no epochs, or one is empty or lies outside of the data.

    Examples
    --------
    >>> from spikelab import SpikeData
    >>> epochs = {"rec_chunks_ms": [[0, 50], [50, 100]]}
    >>> [epoch.train[0] for epoch in SpikeData([[10, 60, 65]], length=100, metadata=epochs).split_epochs()]
    [array([10.]), array([10., 15.])]
    """
    chunks = chunks_ms(sd.metadata)
    if chunks is None:
        raise ValueError(
            "there are no epochs to split at: metadata['rec_chunks_ms'] is missing or empty; expected a list of "
            "(start, end) in ms. A recording of one file without a gap has none"
        )
    return [piece(sd, epoch, epoch + 1, epoch) for epoch in range(len(chunks))]


def piece(sd: Data, first: int, last: int, index: int) -> Data:
    """Cut out epochs [first, last) as one object that starts at 0 and has the templates of these epochs.

    Metadata gain `index` as ``epoch_index`` and lose the entries of other epochs and files.
    """
    chunks = chunks_ms(sd.metadata)
    if chunks is None:
        return sd.replace(metadata=_own_metadata(sd, sd.metadata, first, last, index))
    if chunks.min() < sd.start_time - TOLERANCE_MS or chunks.max() > sd.end_time + TOLERANCE_MS:
        raise ValueError(
            f"metadata['rec_chunks_ms'] spans [{chunks.min()}, {chunks.max()}] ms, "
            f"but the data are [{sd.start_time}, {sd.end_time}] ms"
        )
    interval = _Interval(float(chunks[first, 0]), float(chunks[last - 1, 1]), 0.0, TOLERANCE_MS)
    own = _cut(sd, interval, range(first, last))
    edges = np.append(chunks[first:last, 0] - chunks[first, 0] - TOLERANCE_MS, np.inf)
    return own.replace(
        metadata=_own_metadata(sd, own.metadata, first, last, index),
        neuron_attributes=own.neuron_attributes
        and [
            _own_attributes(values, np.diff(np.searchsorted(times, edges)))
            for values, times in zip(own.neuron_attributes, own.train, strict=True)
        ],
    )


def _own_metadata(sd: BaseSpikeData, cut_metadata: dict[str, Any], first: int, last: int, index: int) -> dict[str, Any]:
    gone = (FILES_KEY, SOURCES_KEY) if last - first > 1 else (FILES_KEY, SOURCES_KEY, *EPOCH_KEYS)
    metadata = {key: value for key, value in cut_metadata.items() if key not in gone}
    metadata["epoch_index"] = index
    sources = _of_epochs(sd.metadata, SOURCES_KEY)[first:last]
    if sources:
        metadata[SOURCES_KEY] = sources
    names = list(sd.metadata.get("rec_chunk_names", ()))[first : first + 1]
    if names and last - first == 1:
        metadata["epoch_name"] = names[0]
    files = _of_epochs(sd.metadata, "rec_chunk_source_files")[first : first + 1] or _files_of(sources) or names
    return metadata | ({"source_file": files[0]} if files else {})


def _files_of(sources: list[dict[str, Any]]) -> list[str]:
    return [source["source_file"] for source in sources if "source_file" in source]


def _of_epochs(metadata: Mapping[str, Any], key: str) -> list[Any]:
    """Return a list of the metadata with an entry for each epoch; none where it is of other epochs than there are."""
    values = list(metadata.get(key, ()))
    chunks = chunks_ms(metadata)
    return values if len(values) == (1 if chunks is None else len(chunks)) else []


def _own_attributes(values: dict[str, Any], counts: NDArray[np.int64]) -> dict[str, Any]:
    """Replace attributes of the whole recording by those of its epochs, in which the unit has `counts` spikes."""
    own = dict(values)
    if "epoch_templates" in values:
        own |= _own_templates(values, combine_templates(values["epoch_templates"], counts))
    if len(counts) > 1:
        return own
    for name in EPOCH_ATTRIBUTES:
        only = own.pop(name, None)
        if only is not None and name != "epoch_templates":
            own[name.removeprefix("epoch_")] = float(only[0])
    return own


def combine_templates(templates: NDArray[Any], counts: NDArray[np.int64]) -> NDArray[Any]:
    """Average a unit's templates (epochs, samples, channels), weighted by its spikes per epoch; NaN where all lack."""
    if len(templates) == 1:
        only: NDArray[Any] = templates[0]
        return only
    valid = np.isfinite(templates).all(axis=(1, 2)) & (counts > 0)
    if not valid.any():
        return np.full_like(templates[0], np.nan)
    return np.average(templates[valid], axis=0, weights=counts[valid]).astype(templates.dtype)


def _own_templates(values: dict[str, Any], own: NDArray[Any]) -> dict[str, Any]:
    """Cut the windows of a unit's templates out of `own`; templates longer than `own` are left out."""
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
    """Find `template` in the window of `n_samples` that `full` covers."""
    n = len(template)
    if n == n_samples:
        return slice(None)
    if full is not None and len(full) == n_samples:
        for first in range(n_samples - n + 1):
            if np.array_equal(full[first : first + n], template, equal_nan=True):
                return slice(first, first + n)
    raise ValueError(f"a template of {n} samples is no part of its full window, but epoch_templates has {n_samples}")


# ---- cutting ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Interval:
    """The time [start, end) in ms that is kept; `start` becomes `new_start`."""

    start: float
    end: float
    new_start: float
    # How far before `start` (`end`) a spike may lie and still belong to this (the next) interval.
    allowance: float = 0.0

    @property
    def shift(self) -> float:
        """Difference of the new clock and the old one."""
        return self.new_start - self.start

    @property
    def length(self) -> float:
        """Length that reaches the last spike."""
        return self.end - self.start if self.shift else span(self.start, self.end)

    def part(self, times: FloatArray, to_end: bool, allowance: float) -> slice:
        """Find the part of ascending `times` that lies in the interval."""
        first, last = np.searchsorted(times, [self.start - allowance, self.end - allowance])
        return slice(int(first), len(times) if to_end else int(last))

    def moved(self, times: FloatArray) -> FloatArray:
        """Put `times` on the new clock."""
        return self.new_start + (times - self.start) if self.shift else times

    def moved_spikes(self, times: FloatArray) -> FloatArray:
        """Put spike times on the new clock; one that lies before `start` by the allowance comes to lie at the start."""
        if not self.shift:
            return times
        return np.clip(self.moved(times), self.new_start, self.new_start + self.length)


def _cut(sd: Data, interval: _Interval, only: range | None = None) -> Data:
    """Keep the data in `interval`; of epochs that reach into it, `only` these."""
    to_end = interval.end >= sd.end_time - interval.allowance  # a spike at the end of the data is kept
    kept = [interval.part(times, to_end, interval.allowance) for times in sd.train]
    in_raw = interval.part(sd.raw_time, to_end, TOLERANCE_MS)
    shift_frames = interval.shift * frames_per_ms_of(sd.metadata) if interval.shift else 0.0
    metadata, epochs = _cut_metadata(sd.metadata, interval, only)
    if interval.start > sd.start_time or not to_end:
        metadata.pop(SOURCES_KEY, None)  # frames of the original files, which fit whole epochs only
    return sd.replace(
        train=[interval.moved_spikes(times[part]) for times, part in zip(sd.train, kept, strict=True)],
        length=interval.length,
        start_time=interval.new_start,
        neuron_attributes=sd.neuron_attributes
        and [
            _cut_attributes(values, len(times), part, shift_frames, epochs)
            for values, times, part in zip(sd.neuron_attributes, sd.train, kept, strict=True)
        ],
        metadata=metadata,
        raw_data=sd.raw_data[:, in_raw],
        raw_time=interval.moved(sd.raw_time[in_raw]),
    )


def _cut_attributes(
    values: dict[str, Any], n_spikes: int, part: slice, shift_frames: float, epochs: NDArray[np.bool_] | None
) -> dict[str, Any]:
    """Keep the spikes of `part` and the chosen `epochs`; drop ``spike_train_samples`` that can no longer be known."""
    values = dict(values)
    samples = values.pop("spike_train_samples", None)
    if samples is not None and len(samples) == n_spikes and np.isfinite(shift_frames):
        values["spike_train_samples"] = np.asarray(samples)[part] + round(shift_frames)
    for name in EPOCH_ATTRIBUTES if epochs is not None else ():
        found = values.pop(name, None)
        if found is not None and epochs is not None and len(found) == len(epochs):
            values[name] = np.asarray(found)[epochs]
    return values


def _cut_metadata(
    metadata: Mapping[str, Any], interval: _Interval, only: range | None
) -> tuple[dict[str, Any], NDArray[np.bool_] | None]:
    """Fit clock, epochs and number of samples to the interval; return also which epochs are left, None without."""
    cut = dict(metadata)
    frames_per_ms = frames_per_ms_of(metadata)
    if "n_samples" in cut and np.isfinite(frames_per_ms):
        cut["n_samples"] = round((interval.end - interval.start) * frames_per_ms)
    if metadata.get(CLOCK_KEY):
        cut[CLOCK_KEY] = _cut_clock(metadata[CLOCK_KEY], interval)
    if STIM_TIMES_KEY in cut:
        cut = _without(cut, (STIM_TIMES_KEY, STIM_SITES_KEY)) | cut_pulses(
            metadata, interval.start, interval.end, interval.shift
        )
    if cut.pop(DEAD_TIME_KEY, None):
        cut |= cut_dead_time(metadata, interval.start, interval.end, interval.shift)
    chunks = chunks_ms(metadata)
    if chunks is None:
        return cut, None
    clipped = np.clip(chunks, interval.start, interval.end)
    left = clipped[:, 1] - clipped[:, 0] > TOLERANCE_MS
    if only is not None:
        left &= np.isin(np.arange(len(left)), only)
    return _cut_epochs(cut, clipped, left, interval.shift, frames_per_ms), left


def _without(metadata: Mapping[str, Any], gone: Sequence[str]) -> dict[str, Any]:
    return {key: value for key, value in metadata.items() if key not in gone}


def _cut_epochs(
    cut: dict[str, Any], clipped: FloatArray, left: NDArray[np.bool_], shift: float, frames_per_ms: float
) -> dict[str, Any]:
    """Keep those epochs that are `left` in the metadata `cut`, from and to the times that are `clipped` to the cut."""
    for key in [key for key in EPOCH_KEYS if key in cut]:
        if key == "rec_chunk_names" or len(cut[key]) == len(left):  # people give more names than epochs, or fewer
            cut[key] = [value for value, is_left in zip(cut[key], left, strict=False) if is_left]
        else:
            del cut[key]  # of epochs that were there before a user set others
    moved = clipped[left] + shift
    cut["rec_chunks_ms"] = moved.tolist()
    if np.isnan(frames_per_ms):
        cut.pop("rec_chunks_frames", None)
    elif "rec_chunks_frames" in cut:
        cut["rec_chunks_frames"] = np.rint(moved * frames_per_ms).astype(np.int64).tolist()
    return cut


def _cut_clock(table: Sequence[Mapping[str, Any]], interval: _Interval) -> list[dict[str, Any]]:
    """Keep the stretches of a clock that the interval has a part of; each ends where the next begins."""
    ends = [*(entry["ms"] for entry in table[1:]), np.inf]
    first, last = interval.start + TOLERANCE_MS, interval.end - TOLERANCE_MS
    return [
        {**entry, "ms": entry["ms"] + interval.shift}
        for entry, end in zip(table, ends, strict=True)
        if entry["ms"] < last and end > first
    ]


def frames_per_ms_of(metadata: Mapping[str, Any]) -> float:
    """Return the sampling rate in kHz; NaN where the metadata do not say it."""
    fs_hz = metadata.get("fs_Hz")
    return np.nan if fs_hz is None else float(fs_hz) / 1000
