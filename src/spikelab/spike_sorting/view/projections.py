"""What a split is drawn on: amplitude over time, and the first two principal components, of every spike of a unit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from spikelab.spike_sorting.data import BinaryRecording, IntArray

MOST_SPIKES = 500_000  # of a unit: of a larger one the split by time is left
LEAST_SPIKES = 4
MOST_POINTS = 20_000  # that the page draws; what is drawn through decides over all spikes
SAMPLED = 5000  # spikes that the components are found on
AT_A_TIME = 20_000  # windows in memory
MAIN_CHANNELS = 4
BEFORE_MS, AFTER_MS = 0.8, 1.2
PEAK_MS = 0.3  # around the peak of the mean, in which each spike has its own


@dataclass(frozen=True)
class Projection:
    """Two values for each spike of a unit, in time order."""

    x: NDArray[np.float64]  # time (s) for amplitudes, else the first component
    y: NDArray[np.float64]  # amplitude (uV), else the second component
    labels: tuple[str, str]


def project(recording: BinaryRecording, frames: IntArray, by: str) -> Projection:
    """Compute amplitudes or the first two principal components of all spikes of a unit.

    Amplitude: the largest deflection within 0.3 ms of the mean's peak, on the main channel. Components: of the windows
    on the four channels with the largest mean, without their mean; their signs are those that make the largest
    coefficient positive, so that the same spikes give the same picture.
    """
    if len(frames) > MOST_SPIKES:
        raise ValueError(
            f"the unit has {len(frames)} spikes; amplitudes are read of {MOST_SPIKES} at most: split it by time first"
        )
    if len(frames) < LEAST_SPIKES:
        raise ValueError(f"the unit has {len(frames)} spikes: too few to be split by their shape")
    cutter = _Cutter(recording)
    sample = frames[np.linspace(0, len(frames) - 1, min(len(frames), SAMPLED)).astype(np.int64)]
    main, peak = cutter.main_channels(sample)
    if by == "amplitude":
        values = np.concatenate([cutter.peaks(part, main[0], peak) for part in _parts(frames)])
        return Projection(frames / recording.sampling_frequency, values, ("Time (s)", "Amplitude (uV)"))
    if by == "projection":
        mean, axes = _components(cutter.cut(sample, main).reshape(len(sample), -1))
        parts = [(cutter.cut(part, main).reshape(len(part), -1) - mean) @ axes for part in _parts(frames)]
        found = np.concatenate(parts).astype(np.float64)
        return Projection(found[:, 0], found[:, 1], ("First component (uV)", "Second component (uV)"))
    raise ValueError(f"by: found {by!r:.80}, expected amplitude or projection")


def second_part(shown: Projection, points: Any) -> NDArray[np.bool_]:
    """Tell of each spike whether it goes to the second part: right of a line of two points, or inside of a lasso."""
    corners = _corners(points)
    if len(corners) == 2:
        (x0, y0), (x1, y1) = corners
        return np.asarray((x1 - x0) * (shown.y - y0) - (y1 - y0) * (shown.x - x0) < 0)
    inside = np.zeros(len(shown.x), dtype=bool)
    for (x0, y0), (x1, y1) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        if y0 == y1:
            continue
        crosses = (shown.y >= min(y0, y1)) & (shown.y < max(y0, y1))
        inside ^= crosses & (shown.x < x0 + (shown.y - y0) / (y1 - y0) * (x1 - x0))
    return np.asarray(inside)


def _corners(points: Any) -> NDArray[np.float64]:
    try:
        corners = np.array(points, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError("points: expected a list of [x, y]") from error
    if corners.ndim != 2 or corners.shape[1] != 2 or len(corners) < 2 or not np.isfinite(corners).all():
        raise ValueError("points: expected two points of a line, or three or more of a lasso, each [x, y]")
    return corners


def _parts(frames: IntArray) -> list[IntArray]:
    return np.split(frames, range(AT_A_TIME, len(frames), AT_A_TIME))


def _components(windows: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Find mean and first two principal axes, shape (values, 2), of windows of shape (spikes, values)."""
    mean = windows.mean(axis=0)
    _, vectors = np.linalg.eigh(np.cov((windows - mean).T.astype(np.float64)))
    axes = vectors[:, :-3:-1]
    largest = np.abs(axes).argmax(axis=0)
    return mean, (axes * np.sign(axes[largest, [0, 1]])).astype(np.float32)


class _Cutter:
    """Windows around spikes, in uV; at the ends of the recording the frames repeat."""

    def __init__(self, recording: BinaryRecording) -> None:
        fs = recording.sampling_frequency
        self.n_before, n_after = round(BEFORE_MS * fs / 1000), round(AFTER_MS * fs / 1000)
        self.reach = max(1, round(PEAK_MS * fs / 1000))
        self.offsets = np.arange(-self.n_before, n_after + 1)
        self.counts, self.gain = recording.counts, np.float32(recording.gain_uv)

    def cut(self, frames: IntArray, channels: IntArray | slice) -> NDArray[np.float32]:
        """Cut windows, shape (spikes, samples, channels)."""
        rows = np.clip(frames[:, None] + self.offsets, 0, len(self.counts) - 1)
        if isinstance(channels, slice):
            return np.asarray(self.counts[rows][..., channels] * self.gain)
        return np.asarray(self.counts[rows[..., None], channels] * self.gain)

    def main_channels(self, sample: IntArray) -> tuple[IntArray, int]:
        """Return the channels with the largest mean, largest first, and the sample of the mean's peak there."""
        few = sample[:: max(1, len(sample) // 300)]
        mean = self.cut(few, slice(None)).mean(axis=0)
        near = slice(max(0, self.n_before - 2 * self.reach), self.n_before + 2 * self.reach + 1)
        main = np.argsort(-np.abs(mean[near]).max(axis=0), kind="stable")[:MAIN_CHANNELS]
        return main, int(np.abs(mean[near, main[0]]).argmax()) + near.start

    def peaks(self, frames: IntArray, channel: np.int64, peak: int) -> NDArray[np.float64]:
        """Return the largest deflection of each spike around the mean's peak."""
        windows = self.cut(frames, np.array([channel]))[..., 0]
        around = np.abs(windows[:, max(0, peak - self.reach) : peak + self.reach + 1])
        return np.asarray(around.max(axis=1), dtype=np.float64)
