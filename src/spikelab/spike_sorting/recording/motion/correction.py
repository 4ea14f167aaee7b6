"""A recording as it would be if the contacts had moved with the tissue."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from spikeinterface.preprocessing.basepreprocessor import BasePreprocessor, BasePreprocessorSegment

from spikelab.spike_sorting.recording.motion._apply_kernels import interpolate
from spikelab.spike_sorting.recording.motion.course import Course

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray
    from spikeinterface import BaseRecording

    Floats = NDArray[np.float64]

STEP_UM = 1.0  # to which the course is rounded
BLOCK_S = 0.02  # in which it is taken to stand still
SIGMA_UM, POWER = 20.0, 2.0  # of SpikeInterface's presets
N_WEIGHTS = 16  # of each contact: the largest


class MotionCorrectedRecording(BasePreprocessor):  # type: ignore[misc]  # SpikeInterface has no types
    """Traces interpolated (kriging) to where the contacts would have been if they had moved with the tissue.

    All channels are kept: those at the ends of a probe fade where the tissue that they saw has left it. `courses` has
    the channels of each group of channels, and their course (:meth:`.Course.to_dict`).
    """

    def __init__(
        self,
        recording: BaseRecording,
        courses: Sequence[Mapping[str, Any]],
        sigma_um: float = SIGMA_UM,
        p: float = POWER,
    ) -> None:
        super().__init__(recording, dtype="float32")
        self.raw_pieces = getattr(recording, "raw_pieces", ())
        places = recording.get_channel_locations()[:, :2]
        tables = [_Table(values, places, sigma_um, p) for values in courses]
        fs = float(recording.get_sampling_frequency())
        for parent in recording.segments:
            self.add_recording_segment(_Segment(parent, tables, fs))
        self._kwargs = {
            "recording": recording,
            "courses": [dict(values) for values in courses],
            "sigma_um": float(sigma_um),
            "p": float(p),
        }


class _Table:
    """Weights of contacts of one group for every step by which they may have moved."""

    def __init__(self, values: Mapping[str, Any], places: Floats, sigma_um: float, p: float) -> None:
        self.channels, self.course = np.array(values["channels"], dtype=np.int64), Course.from_dict(values["course"])
        course, own = self.course, places[self.channels]
        self.depths = own[:, course.axis]
        self._first = int(np.floor(course.moved_um.min() / STEP_UM))
        steps: Floats = np.arange(self._first, int(np.ceil(course.moved_um.max() / STEP_UM)) + 1, dtype=np.float64)
        self.sources, self.weights = _weights(own, course.axis, steps * STEP_UM, sigma_um, p)

    def steps(self, times_s: Floats) -> NDArray[np.int64]:
        """Return at which step each channel is at `times_s`, shape (times, channels)."""
        return np.rint(self.course.at(times_s, self.depths) / STEP_UM).astype(np.int64) - self._first


def _weights(
    places: Floats, axis: int, moved_um: Floats, sigma_um: float, p: float
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return the contacts that tell most of each moved contact, and their weights, both (steps, channels, most)."""
    from spikeinterface.preprocessing import get_spatial_interpolation_kernel

    targets = np.repeat(places[None], len(moved_um), axis=0)
    targets[:, :, axis] += moved_um[:, None]
    kernel = get_spatial_interpolation_kernel(
        places,
        targets.reshape(-1, 2),
        dtype="float64",
        method="kriging",
        sigma_um=sigma_um,
        p=p,
        force_extrapolate=True,
    )
    kernel = kernel.T.reshape(len(moved_um), len(places), len(places))
    sources = np.argsort(-np.abs(kernel), axis=2, kind="stable")[:, :, :N_WEIGHTS]
    kept = np.take_along_axis(kernel, sources, axis=2)
    sums, kept_sums = kernel.sum(axis=2), kept.sum(axis=2)
    # What was left out is shared among the others: a signal that is the same on all contacts stays so.
    kept *= np.where(np.abs(kept_sums) > 0.5, sums / np.where(kept_sums == 0, 1, kept_sums), 1)[:, :, None]
    return sources, kept.astype(np.float32)


class _Segment(BasePreprocessorSegment):  # type: ignore[misc]  # SpikeInterface has no types
    def __init__(self, parent: Any, tables: Sequence[_Table], fs: float) -> None:
        super().__init__(parent)
        self._tables, self._fs, self._block = tables, fs, max(1, round(BLOCK_S * fs))

    def get_traces(self, start_frame: Any, end_frame: Any, channel_indices: Any) -> NDArray[np.float32]:
        """Read the parent's traces and interpolate them; blocks are counted from the first frame of the recording."""
        start, end = int(start_frame or 0), int(self.get_num_samples() if end_frame is None else end_frame)
        traces = np.asarray(self.parent_recording_segment.get_traces(start, end, slice(None)), dtype=np.float32)
        corrected = traces.copy()
        if end > start:
            blocks = np.arange(start // self._block, (end - 1) // self._block + 1)
            bounds = np.clip(np.append(blocks, blocks[-1] + 1) * self._block, start, end) - start
            middles = ((blocks + 0.5) * self._block / self._fs).astype(np.float64)
            for table in self._tables:
                own = np.ascontiguousarray(traces[:, table.channels].T)
                moved = np.empty_like(own)
                interpolate(own, table.steps(middles), bounds, table.sources, table.weights, moved)
                corrected[:, table.channels] = moved.T
        chosen: NDArray[np.float32] = corrected if channel_indices is None else corrected[:, channel_indices]
        return chosen
