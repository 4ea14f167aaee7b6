"""What a spike of one unit looks like on any contacts: measured footprints, moved, turned, stretched, with an axon."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from scipy.interpolate import CubicSpline, RBFInterpolator

if TYPE_CHECKING:
    from numpy.typing import NDArray

TEMPLATES = Path(__file__).resolve().parents[2] / "shared" / "data" / "templates_neuropixels3A_midbrain.npz"
NEAR_UM = 40.0  # the sites around the largest one that say where the soma is
REACH_UM = (100.0, 160.0)  # footprints fade out between these distances from the soma
DECAY_UM = 25.0  # beyond the sites that were measured
STRETCH = (0.9, 1.15)

AXON_SPEED = (300.0, 600.0)  # um/ms, that is 0.3 to 0.6 m/s
AXON_LENGTH_UM = (120.0, 250.0)
AXON_WIDTH_UM = 14.0  # how far from the axon its signal is seen
AXON_STEP_UM = 1.0
AXON_HILLOCK_UM = 30.0  # the axon's signal grows over this length
AXON_TURN = 0.01  # radians per um and square root: how far the path wanders


@dataclass(frozen=True)
class Measured:
    """A mean spike as it was measured: waveforms (samples, sites) in microvolts at positions (sites, 2)."""

    waveforms: NDArray[np.float64]
    positions: NDArray[np.float64]
    fs: float


def load_bank(path: Path | None) -> tuple[list[Measured], str]:
    """Measured footprints and a digest of them; where there is no file, SpikeInterface's generated ones instead."""
    path = TEMPLATES if path is None else path
    if not path.is_file():
        print(f"No footprints at {path}: SpikeInterface's generated ones are used")
        return generated_bank(), "generated"
    with np.load(path) as data:
        fs, count = float(data["sampling_frequency"]), len(data["labels"])
        bank = [Measured(data[f"templates_{i}"].astype(float), data[f"positions_{i}"], fs) for i in range(count)]
    return bank, hashlib.sha256(path.read_bytes()).hexdigest()[:16]


def generated_bank(count: int = 20, fs: float = 30_000.0) -> list[Measured]:
    """SpikeInterface's generated footprints, which everybody has."""
    from spikeinterface.core.generate import generate_templates

    x, y = np.meshgrid(np.arange(-24, 25, 16.0), np.arange(-250, 251, 20.0))
    sites, rng = np.column_stack([x.ravel(), y.ravel()]), np.random.default_rng(0)
    somata = np.column_stack([rng.uniform(-20, 20, count), rng.uniform(-20, 20, count), rng.uniform(10, 30, count)])
    templates = generate_templates(sites, somata, fs, ms_before=1.3, ms_after=2.4, seed=0)
    return [Measured(np.asarray(template, float), sites, fs) for template in templates]


class Soma:
    """The somatic part of a footprint, a smooth function of place and time.

    Parameters
    ----------
    measured : Measured
    angle : float
        How far it is turned, in radians.
    mirror : bool
        Whether it is mirrored first.
    stretch : float
        Of its duration.
    """

    def __init__(self, measured: Measured, angle: float, mirror: bool, stretch: float) -> None:
        waveforms = _denoised(measured)
        amplitude = np.abs(waveforms).max(axis=0)
        largest = measured.positions[amplitude.argmax()]
        near = np.linalg.norm(measured.positions - largest, axis=1) < NEAR_UM
        self._soma = np.average(measured.positions[near], axis=0, weights=amplitude[near] ** 2)
        self._low, self._high = measured.positions.min(axis=0), measured.positions.max(axis=0)
        cos, sin = np.cos(angle), np.sin(angle)
        self._turn = np.array([[cos, -sin], [sin, cos]]) @ np.diag([-1.0 if mirror else 1.0, 1.0])
        self._space = RBFInterpolator(measured.positions, waveforms.T, kernel="thin_plate_spline")
        trough = np.abs(waveforms).max(axis=1).argmax()
        self._times_ms = (np.arange(len(waveforms)) - trough) / measured.fs * 1e3 * stretch

    def __call__(self, offsets: NDArray[np.float64], times_ms: NDArray[np.float64]) -> NDArray[np.float64]:
        """Waveforms (times, contacts) at `offsets` (contacts, 2) from the soma."""
        places = offsets @ self._turn + self._soma
        inside = np.clip(places, self._low, self._high)
        waveforms = self._space(inside).T
        waveforms *= np.exp(-np.linalg.norm(places - inside, axis=1) / DECAY_UM) * _fade(offsets)
        within = (times_ms >= self._times_ms[0]) & (times_ms <= self._times_ms[-1])
        result = np.zeros((len(times_ms), len(offsets)))
        result[within] = CubicSpline(self._times_ms, waveforms)(times_ms[within])
        return result


def _denoised(measured: Measured) -> NDArray[np.float64]:
    """Zero at both ends; sites that show little more than those far away are shrunk."""
    ramp = np.sin(np.linspace(0, np.pi / 2, 12)) ** 2
    waveforms = measured.waveforms - measured.waveforms[:5].mean(axis=0)
    waveforms[:12] *= ramp[:, None]
    waveforms[-12:] *= ramp[::-1, None]
    extent = np.ptp(waveforms, axis=0)
    distance = np.linalg.norm(measured.positions - measured.positions[extent.argmax()], axis=1)
    noise = np.median(extent[distance > REACH_UM[1]])
    return waveforms * np.clip(1 - (noise / extent) ** 2, 0, None)


def _fade(offsets: NDArray[np.float64]) -> NDArray[np.float64]:
    start, end = REACH_UM
    phase = np.clip((np.linalg.norm(offsets, axis=1) - start) / (end - start), 0, 1)
    return 0.5 * (1 + np.cos(np.pi * phase))


class Axon:
    """A small triphasic spike that runs along a path; relative to a soma with amplitude one.

    Parameters
    ----------
    rng : numpy.random.Generator
    heading : float
        Direction in which the path sets out, in radians.
    amplitude : (float, float)
        Least and most, relative to the soma's.
    """

    def __init__(self, rng: np.random.Generator, heading: float, amplitude: tuple[float, float]) -> None:
        length = rng.uniform(*AXON_LENGTH_UM)
        steps = int(length / AXON_STEP_UM)
        turns = heading + np.cumsum(rng.normal(0, AXON_TURN * np.sqrt(AXON_STEP_UM), steps))
        self._path = np.cumsum(np.column_stack([np.cos(turns), np.sin(turns)]) * AXON_STEP_UM, axis=0)
        self._amplitude = rng.uniform(*amplitude)
        self._speed = rng.uniform(*AXON_SPEED)
        arc = np.arange(1, steps + 1) * AXON_STEP_UM
        ends = np.minimum(arc, length - arc + AXON_STEP_UM)
        self._arc, self._weight = arc, np.clip(ends / AXON_HILLOCK_UM, 0, 1)

    def __call__(self, offsets: NDArray[np.float64], times_ms: NDArray[np.float64]) -> NDArray[np.float64]:
        """Waveforms (times, contacts) at `offsets` (contacts, 2) from the soma."""
        distance = np.linalg.norm(offsets[:, None] - self._path, axis=2)
        nearest = distance.argmin(axis=1)
        amplitude = self._amplitude * self._weight[nearest] * np.exp(-distance.min(axis=1) / AXON_WIDTH_UM)
        return amplitude * _triphasic(times_ms[:, None] - self._arc[nearest] / self._speed)


def _triphasic(times_ms: NDArray[np.float64]) -> NDArray[np.float64]:
    """Positive, negative (-1 at time 0), positive."""

    def bump(centre: float, width: float) -> NDArray[np.float64]:
        return np.exp(-(((times_ms - centre) / width) ** 2))

    return 0.35 * bump(-0.2, 0.1) - bump(0.0, 0.11) + 0.3 * bump(0.3, 0.18)


@dataclass(frozen=True)
class Footprint:
    """A unit in its place.

    Attributes
    ----------
    soma : Soma
    axon : Axon or None
    position : numpy.ndarray, shape (2,)
    gain : float
        Microvolts of the soma per microvolt measured.
    axon_gain : float
        Microvolts that stand for an axon of amplitude one.
    trough_ms : float
        When the waveform of the main channel is lowest; it is moved to time 0.
    """

    soma: Soma
    axon: Axon | None
    position: NDArray[np.float64]
    gain: float = 1.0
    axon_gain: float = 1.0
    trough_ms: float = 0.0

    def __call__(self, contacts: NDArray[np.float64], times_ms: NDArray[np.float64]) -> NDArray[np.float64]:
        """Waveforms (times, contacts) in microvolts."""
        offsets, times = contacts - self.position, times_ms + self.trough_ms
        waveforms = self.gain * self.soma(offsets, times)
        if self.axon is not None:
            waveforms += self.axon_gain * self.axon(offsets, times)
        return waveforms

    @property
    def inverted(self) -> Footprint:
        """The same with its somatic part upside down."""
        return replace(self, gain=-self.gain)
