"""Recordings with known spikes, as SpikeInterface binary folders, and the sorter that knows the answer."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from spikelab.spike_sorting.backends import registry
from spikelab.spike_sorting.backends.base import StandardBackend
from spikelab.spike_sorting.data import SpikeTrains

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from spikeinterface import BaseRecording, BaseSorting

FS = 20_000.0
GAIN_UV = 0.5
PITCH_UM = 17.5
NOISE_UV = 6.0
DRIFT_UV = 40.0
RATE_HZ = 10.0
REFRACTORY_FRAMES = 80
SPREAD_UM = 20.0
FOOTPRINT_CHANNELS = 20
# Sorters report spikes some frames off; alignment has to find the peak again.
JITTER_FRAMES = 4
EDGE_FRAMES = 200
CHUNK_FRAMES = 20_000
SEED = 42
SPIKES_FILE = "spikes.npz"
SORTER = "truth"


@dataclass(frozen=True)
class Size:
    """How large a recording is."""

    channels: int
    seconds: float
    units: int

    def __str__(self) -> str:
        return f"{self.channels} channels, {self.seconds:g} s, {self.units} units"

    @property
    def frames(self) -> int:
        """Length in frames."""
        return round(self.seconds * FS)

    @property
    def name(self) -> str:
        """Name of the folder."""
        return f"{self.channels}ch_{self.seconds:g}s_{self.units}u"


def make_recording(folder: Path, size: Size, seed: int = SEED) -> Path:
    """Write the recording and the frames its spikes are reported at; return the recording's folder.

    White noise of 6 uV, a slow common drift for the filter to remove, and units of 60 to 300 uV that fire at 10 Hz,
    never within 4 ms, each on the 20 channels around it.
    """
    from spikeinterface.core import BinaryRecordingExtractor

    rng = np.random.default_rng(seed)
    locations = _grid(size.channels)
    peaks = [_train(rng, size.frames) for _ in range(size.units)]
    footprints = [_footprint(rng, locations) for _ in range(size.units)]
    raw = folder / f"{size.name}.raw"
    _write_traces(raw, rng, size, peaks, footprints)
    recording = BinaryRecordingExtractor(
        raw, FS, "int16", num_channels=size.channels, gain_to_uV=GAIN_UV, offset_to_uV=0.0
    )
    recording.set_dummy_probe_from_locations(locations)
    target = folder / size.name
    recording.save(folder=target, verbose=False, progress_bar=False, n_jobs=1, chunk_duration="1s")
    del recording
    raw.unlink()
    reported = {u: p + rng.integers(-JITTER_FRAMES, JITTER_FRAMES + 1, len(p)) for u, p in enumerate(peaks)}
    SpikeTrains.from_dict(reported).save(target / SPIKES_FILE)
    return target


def _grid(n_channels: int) -> NDArray[np.float64]:
    columns = int(np.ceil(np.sqrt(n_channels)))
    index = np.arange(n_channels)
    return np.column_stack([index % columns, index // columns]) * PITCH_UM


def _train(rng: np.random.Generator, n_frames: int) -> NDArray[np.int64]:
    mean = FS / RATE_HZ - REFRACTORY_FRAMES
    gaps = REFRACTORY_FRAMES + rng.exponential(mean, int(1.5 * n_frames * RATE_HZ / FS) + 50).astype(np.int64)
    frames = EDGE_FRAMES + np.cumsum(gaps)
    return frames[frames < n_frames - EDGE_FRAMES]


def _footprint(rng: np.random.Generator, locations: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[Any]]:
    """Channels of a unit and its waveform there, (channels, samples), in microvolts; the peak is in the middle."""
    centre = locations[rng.integers(len(locations))] + rng.uniform(-0.4, 0.4, 2) * PITCH_UM
    distance = np.linalg.norm(locations - centre, axis=1)
    channels = np.sort(np.argsort(distance)[:FOOTPRINT_CHANNELS])
    t = (np.arange(REFRACTORY_FRAMES - 20) - 30) * 1000 / FS
    shape = -np.exp(-((t / 0.15) ** 2)) + 0.35 * np.exp(-(((t - 0.45) / 0.25) ** 2))
    amplitudes = rng.uniform(60, 300) * np.exp(-distance[channels] / SPREAD_UM)
    return channels, (amplitudes[:, None] * shape).astype(np.float32)


def _write_traces(
    path: Path, rng: np.random.Generator, size: Size, peaks: list[NDArray[np.int64]], footprints: list[Any]
) -> None:
    """Chunk by chunk; a spike is added to the chunk that holds its peak, and the margin goes on to the next one."""
    margin = 100
    carried = NOISE_UV * rng.standard_normal((2 * margin, size.channels), dtype=np.float32)
    with path.open("wb") as file:
        for start in range(0, size.frames, CHUNK_FRAMES):
            length = min(CHUNK_FRAMES, size.frames - start)
            traces = np.empty((length + 2 * margin, size.channels), dtype=np.float32)
            rng.standard_normal(out=traces[2 * margin :], dtype=np.float32)
            traces[2 * margin :] *= NOISE_UV
            time = (start + margin + np.arange(length)) / FS
            traces[2 * margin :] += (DRIFT_UV * np.sin(2 * np.pi * 7 * time)).astype(np.float32)[:, None]
            traces[: 2 * margin] = carried
            for frames, (channels, waveform) in zip(peaks, footprints, strict=True):
                near = frames[np.searchsorted(frames, start) : np.searchsorted(frames, start + length)] - start + margin
                rows = near[:, None] + np.arange(waveform.shape[1]) - 30
                traces[rows[:, :, None], channels] += waveform.T
            carried = traces[length:]
            done = traces[margin if start == 0 else 0 : length + (margin if start + length == size.frames else 0)]
            (done / GAIN_UV).round().clip(-32768, 32767).astype("<i2").tofile(file)


class TruthBackend(StandardBackend):
    """Returns the spikes that lie beside the recording, so that what is measured is the pipeline alone."""

    sorter_label = SORTER

    def sort(
        self,
        recording: BaseRecording,
        rec_path: Any,
        recording_dat_path: Path,  # noqa: ARG002 - part of the interface
        output_folder: Path,  # noqa: ARG002
    ) -> BaseSorting:
        """Load them."""
        return SpikeTrains.load(Path(rec_path) / SPIKES_FILE).to_spikeinterface(recording.get_sampling_frequency())


def register() -> None:
    """Let ``sort_recording(sorter="truth")`` find the backend in this process."""
    registry.BUILT_IN[SORTER] = f"{__name__}:{TruthBackend.__name__}"
