"""What is no neuron and no noise: the hum of the mains, and stimulation pulses that put amplifiers on the rail."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from spikeinterface import BaseRecording

    from benchmarks.rt_sort_recipes import Recipe

MAINS_HZ = 50.0
HARMONICS = {1: 1.0, 2: 0.3, 3: 0.5, 5: 0.4, 7: 0.3, 9: 0.2, 11: 0.15, 13: 0.1, 21: 0.05}  # amplitudes
HUM_SPREAD = 0.2  # how much its size differs from contact to contact
RAIL_MS = 3.0
RECOVERY_MS = (5.0, 20.0)  # time constants of the contacts
RECOVERY_LENGTH = 8.0  # time constants until it is over
PULSE_MARGIN_S = 0.5  # at both ends of the recording, and at least between two


class Disturbances:
    """What is added to finished traces, piece by piece.

    Parameters
    ----------
    recipe : Recipe
        Its `amplifier` is read.
    rng : numpy.random.Generator

    Attributes
    ----------
    pulses : numpy.ndarray of int
        Frames at which the pulses begin.
    """

    def __init__(self, recipe: Recipe, rng: np.random.Generator) -> None:
        channels = recipe.columns * recipe.rows
        self._recipe, self._rail = recipe, recipe.amplifier.rails_uv
        self._hum = recipe.amplifier.hum_uv * rng.normal(1, HUM_SPREAD, channels)
        self._phases = dict(zip(HARMONICS, rng.uniform(0, 2 * np.pi, len(HARMONICS)), strict=True))
        self._recovery = rng.uniform(*RECOVERY_MS, channels) * recipe.fs / 1e3
        slots = np.linspace(PULSE_MARGIN_S, recipe.seconds - PULSE_MARGIN_S, recipe.amplifier.pulses + 1)
        spread = np.clip(np.diff(slots) - PULSE_MARGIN_S, 0, None)
        self.pulses = np.rint((slots[:-1] + rng.random(recipe.amplifier.pulses) * spread) * recipe.fs).astype(np.int64)
        self._positive = rng.integers(2, size=recipe.amplifier.pulses).astype(bool)

    @property
    def periods(self) -> list[tuple[int, int]]:
        """First frame of each pulse, and the frame after it."""
        return [(int(pulse), int(pulse) + self.rail_frames) for pulse in self.pulses]

    @property
    def rail_frames(self) -> int:
        """How long a pulse lasts."""
        return round(RAIL_MS * self._recipe.fs / 1e3)

    def add(self, chunk: NDArray[np.float32], start: int) -> NDArray[np.float32]:
        """Give `chunk`, which begins at frame `start`, with what disturbs it."""
        if not (self._recipe.amplifier.hum_uv or self._recipe.amplifier.pulses):
            return chunk
        chunk = chunk.copy()
        frames = start + np.arange(len(chunk))
        if self._recipe.amplifier.hum_uv:
            chunk += self._mains(frames)
        for pulse, positive in zip(self.pulses, self._positive, strict=True):
            self._add_pulse(chunk, start, int(pulse), self._rail[int(positive)])
        return chunk

    def _mains(self, frames: NDArray[np.int64]) -> NDArray[np.float32]:
        wave = np.zeros(len(frames))
        for harmonic, phase in self._phases.items():
            wave += HARMONICS[harmonic] * np.sin(2 * np.pi * MAINS_HZ * harmonic * frames / self._recipe.fs + phase)
        return (wave[:, None] * self._hum).astype(np.float32)

    def _add_pulse(self, chunk: NDArray[np.float32], start: int, pulse: int, rail: float) -> None:
        first, end = pulse - start, pulse + self.rail_frames - start
        last = end + round(RECOVERY_LENGTH * self._recovery.max())
        contacts = self._recipe.amplifier.pulsed or chunk.shape[1]
        chunk[max(first, 0) : max(end, 0), :contacts] = rail
        after = np.arange(max(end, 0), min(max(last, 0), len(chunk)))
        if len(after):
            fading = np.exp(-((after - end)[:, None] / self._recovery[:contacts]))
            chunk[after, :contacts] += (rail * fading).astype(np.float32)


class Disturbed:
    """Traces with disturbances: ``disturbed[start:end]`` in microvolts, of an array or a recording."""

    def __init__(self, traces: NDArray[np.float32] | BaseRecording, disturbances: Disturbances) -> None:
        self._traces, self._disturbances = traces, disturbances

    def __getitem__(self, frames: slice) -> NDArray[Any]:
        """Read a piece."""
        start, end = frames.start, frames.stop
        kept = self._traces
        chunk = kept[start:end] if isinstance(kept, np.ndarray) else kept.get_traces(0, start, end)
        return self._disturbances.add(chunk, start)
