"""From a recipe and a seed to traces with known spikes, in memory."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.rt_sort_activity import (
    REFRACTORY_MS,
    burst_periods,
    firing_rates,
    spike_amplitudes,
    spike_times,
)
from benchmarks.rt_sort_converter import add_stripes, sample_in_turn
from benchmarks.rt_sort_disturbances import Disturbances, Disturbed
from benchmarks.rt_sort_footprints import STRETCH, Axon, Footprint, Measured, Soma
from benchmarks.rt_sort_movement import Drift, Lives
from benchmarks.rt_sort_noise import LARGE, add_noise, band_pass_templates
from benchmarks.rt_sort_recipes import Crowd, Recipe

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

CANVAS = "canvas.raw"
WINDOW_MS = (1.6, 2.6)
GENERATED_BEFORE_MS = 1.0
SEPARATION_UM = 12.0
PHASES = 4  # places of a spike between two samples
NEGLIGIBLE_UV = 0.2
SMALL_SNR = (1.0, 3.0)
LARGE_SNR = (20.0, 60.0)
CLUSTER_UM = 20.0
REACH_UM = 380.0  # where the longest axon has no more than 0.1 uV


@dataclass(frozen=True)
class Scene:
    """A recording before it is written.

    Attributes
    ----------
    traces : Disturbed
        Microvolts: ``traces[start:end]`` has the shape (frames, channels).
    trains : list of numpy.ndarray
        Frames of the spikes of each unit, at the trough of its main channel.
    templates : numpy.ndarray, shape (units, samples, channels)
        Mean waveforms in microvolts.
    n_before : int
        Sample of the templates at which a spike's frame is.
    facts : list of dict
        What is known of each unit.
    periods : dict of list of (int, int)
        First and last frame of each network burst ("bursts"), and of each pulse ("pulses").
    small : list of numpy.ndarray
        Frames of the spikes of the small units that nobody is asked for.
    course : dict of numpy.ndarray
        Way of the tissue: ``times_s``, ``depths_um`` and ``moved_um``, shape (times, depths).
    """

    traces: Disturbed
    trains: list[NDArray[np.int64]]
    templates: NDArray[np.float32]
    n_before: int
    facts: list[dict[str, Any]]
    periods: dict[str, list[tuple[int, int]]]
    small: list[NDArray[np.int64]] = field(default_factory=list)
    course: dict[str, NDArray[np.float64]] = field(default_factory=dict)


def generated(recipe: Recipe, seed: int) -> Scene:
    """SpikeInterface's generated ground truth; only the spikes are moved to the trough of their main channel."""
    from spikeinterface.core import generate_ground_truth_recording

    rng = np.random.default_rng(seed)
    recording, truth = generate_ground_truth_recording(
        durations=[recipe.seconds],
        sampling_frequency=recipe.fs,
        num_channels=recipe.columns * recipe.rows,
        num_units=recipe.units,
        probe=_probe(recipe),
        ms_before=GENERATED_BEFORE_MS,
        generate_sorting_kwargs={"firing_rates": firing_rates(recipe, rng), "refractory_period_ms": REFRACTORY_MS},
        noise_kwargs={"noise_levels": recipe.noise_uv, "strategy": "on_the_fly"},
        seed=seed,
    )
    templates = np.asarray(recording.templates, dtype=np.float32)
    n_before = int(GENERATED_BEFORE_MS * recipe.fs / 1e3)
    main = np.abs(templates).max(axis=1).argmax(axis=1)
    late = templates[np.arange(len(templates)), :, main].argmin(axis=1) - n_before
    trains = [truth.get_unit_spike_train(unit) + shift for unit, shift in zip(truth.unit_ids, late, strict=True)]
    moved = [np.roll(template, -shift, axis=0) for template, shift in zip(templates, late, strict=True)]
    facts = [{"bursting": False, "axon": False} for _ in trains]
    disturbances = Disturbances(recipe, np.random.default_rng([seed, 4]))
    periods = {"bursts": [], "pulses": disturbances.periods}
    return Scene(Disturbed(recording, disturbances), trains, np.stack(moved), n_before, facts, periods)


def assembled(recipe: Recipe, seed: int, bank: Sequence[Measured], scratch: Path | None = None) -> Scene:
    """Noise, and every spike with its amplitude, where the drift has taken its unit.

    Traces that are large are in a file in the folder `scratch`, where there is one.
    """
    take = [recipe.take] if recipe.take else []
    place = np.random.default_rng([seed, 0])
    spikes, noise, small = (np.random.default_rng([seed, part, *take]) for part in (1, 2, 3))
    footprints = _footprints(recipe, bank, place)
    bursting = _chosen(recipe.bursting, recipe.units, place)
    drift, lives = Drift(recipe, place), Lives(recipe, place)
    positive = _chosen(recipe.crowd.positive, recipe.units, place)
    traces = _canvas(recipe, scratch)
    add_noise(traces, recipe, noise)
    network = spikes.uniform(0, recipe.seconds, spikes.poisson(recipe.network_hz * recipe.seconds))
    adder = Adder(traces, recipe, drift)
    trains, templates, facts = [], [], []
    for unit, rate in enumerate(firing_rates(recipe, spikes)):
        footprint = footprints[unit].inverted if positive[unit] else footprints[unit]
        times = spike_times(recipe, rate, bool(bursting[unit]), network, spikes)
        amplitudes = spike_amplitudes(times, bool(bursting[unit]), spikes) * lives.gain(unit, times)
        alive = lives.alive(unit, times)
        frames, template = adder.add(footprint, times[alive], amplitudes[alive])
        trains.append(frames)
        templates.append(template)
        known = {"bursting": bool(bursting[unit]), "axon": footprint.axon is not None, "positive": bool(positive[unit])}
        facts.append({**known, **_axon_facts(footprint, recipe), **lives.facts(unit)})
    crowd = _add_small(adder, recipe, bank, small)
    if recipe.converter.stripes_uv:
        add_stripes(traces, recipe, np.random.default_rng([seed, 5]))
    if recipe.converter.in_turn:
        sample_in_turn(traces)
    disturbances = Disturbances(recipe, np.random.default_rng([seed, 4]))
    periods = {"bursts": burst_periods(recipe, network), "pulses": disturbances.periods}
    disturbed = Disturbed(traces, disturbances)
    course = drift.course(np.unique(recipe.contacts[:, 1]))
    return Scene(disturbed, trains, np.stack(templates), adder.n_before, facts, periods, crowd, course)


def _canvas(recipe: Recipe, scratch: Path | None) -> NDArray[np.float32]:
    shape = (recipe.frames, len(recipe.contacts))
    if scratch is None or np.prod(shape) <= LARGE:
        return np.zeros(shape, dtype=np.float32)
    return np.memmap(scratch / CANVAS, dtype=np.float32, mode="w+", shape=shape)


def _add_small(
    adder: Adder, recipe: Recipe, bank: Sequence[Measured], rng: np.random.Generator
) -> list[NDArray[np.int64]]:
    """Add the spikes of the units that are too small for anybody to ask for; return their frames."""
    if not recipe.crowd.small:
        return []
    crowd, trains = replace(recipe, units=recipe.crowd.small, snr=SMALL_SNR, axons=0.0, crowd=Crowd()), []
    for footprint, rate in zip(_footprints(crowd, bank, rng, apart=0.0), firing_rates(crowd, rng), strict=True):
        times = spike_times(crowd, rate, False, np.zeros(0), rng)
        trains.append(adder.add(footprint, times, spike_amplitudes(times, False, rng))[0])
    return trains


def _axon_facts(footprint: Footprint, recipe: Recipe) -> dict[str, Any]:
    """The largest signal of the axon alone, in microvolts, and on how many contacts it is at least half of that."""
    if footprint.axon is None:
        return {"axon_uv": 0.0, "axon_channels": 0}
    waveforms = footprint.axon(recipe.contacts - footprint.position, np.arange(-1.0, 2.0, 0.02))
    amplitudes = footprint.axon_gain * np.abs(waveforms).max(axis=0)
    largest = float(amplitudes.max())
    return {"axon_uv": round(largest, 1), "axon_channels": int((amplitudes > largest / 2).sum())}


def _probe(recipe: Recipe) -> Any:
    from probeinterface import Probe

    probe = Probe(ndim=2, si_units="um")
    probe.set_contacts(recipe.contacts, shapes="square", shape_params={"width": 10})
    probe.set_device_channel_indices(np.arange(len(recipe.contacts)))
    return probe


def _chosen(share: float, count: int, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Exactly a share of `count`, at random."""
    return rng.permutation(count) < round(share * count)


def _footprints(
    recipe: Recipe, bank: Sequence[Measured], rng: np.random.Generator, apart: float = SEPARATION_UM
) -> list[Footprint]:
    """Footprints of the bank in turn, anywhere among the contacts, turned (on a column: upside down), scaled."""
    order = np.concatenate([rng.permutation(len(bank)) for _ in range(recipe.units // len(bank) + 1)])
    aims = rng.permutation(_sizes(recipe)) * recipe.noise_uv
    positions = _positions(recipe, rng, apart)
    footprints = []
    for index, aim, position, grows in zip(
        order, aims, positions, _chosen(recipe.axons, recipe.units, rng), strict=False
    ):
        angle = rng.uniform(0, 2 * np.pi) if recipe.probe == "mea" else np.pi * rng.integers(2)
        soma = Soma(bank[index], angle, mirror=bool(rng.integers(2)), stretch=rng.uniform(*STRETCH))
        inwards = recipe.contacts.mean(axis=0) - position
        heading = np.arctan2(inwards[1], inwards[0]) + rng.uniform(-1, 1)
        axon = Axon(rng, heading, recipe.crowd.axon) if grows else None
        footprints.append(_scaled(recipe, soma, axon, position, aim))
    return footprints


def _sizes(recipe: Recipe) -> NDArray[np.float64]:
    """Signal-to-noise ratios of all units."""
    assert recipe.snr is not None
    large = round(recipe.crowd.large * recipe.units)
    return np.concatenate([np.geomspace(*recipe.snr, recipe.units - large), np.geomspace(*LARGE_SNR, large)])


def _positions(recipe: Recipe, rng: np.random.Generator, apart: float) -> NDArray[np.float64]:
    """Among the contacts, `apart` at least; where there are clusters, around their centres."""
    low, high = recipe.contacts.min(axis=0), recipe.contacts.max(axis=0)
    centres = rng.uniform(low, high, (recipe.crowd.clusters, 2))
    positions = np.empty((0, 2))
    for _ in range(100 * recipe.units):
        new = rng.uniform(low, high)
        if recipe.crowd.clusters:
            new = rng.normal(centres[len(positions) % len(centres)], CLUSTER_UM).clip(low, high)
        if len(positions) == recipe.units:
            return positions
        if np.all(np.linalg.norm(positions - new, axis=1) >= apart):
            positions = np.vstack([positions, new])
    raise ValueError(f"{recipe.units} units do not fit among these contacts")


def _scaled(recipe: Recipe, soma: Soma, axon: Axon | None, position: NDArray[np.float64], aim: float) -> Footprint:
    """Scale it so that the filtered peak is `aim` microvolts, with the trough of the main channel at time 0."""
    fine = np.arange(-1.6, 2.6, 0.005)
    alone = soma(recipe.contacts - position, fine)
    trough, main = np.unravel_index(np.abs(alone).argmax(), alone.shape)
    filtered = band_pass_templates(alone[None], 200e3)[0]
    gain = aim / np.abs(filtered).max()
    return Footprint(soma, axon, position, gain, gain * abs(alone[trough, main]), fine[trough])


class Adder:
    """Adds the spikes of units to traces.

    Parameters
    ----------
    traces : numpy.ndarray, shape (frames, channels)
    recipe : Recipe
    drift : Drift

    Attributes
    ----------
    n_before : int
        Sample of a waveform at which its frame is.
    """

    def __init__(self, traces: NDArray[np.float32], recipe: Recipe, drift: Drift) -> None:
        self.n_before, n_after = (round(ms * recipe.fs / 1e3) for ms in WINDOW_MS)
        self._traces, self._fs, self._contacts, self._drift = traces, recipe.fs, recipe.contacts, drift
        self._times_ms = np.arange(-self.n_before, n_after) / recipe.fs * 1e3

    def add(
        self, footprint: Footprint, times: NDArray[np.float64], amplitudes: NDArray[np.float64]
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Add the spikes at `times` in seconds; return whole frames and the mean waveform."""
        places = times * self._fs
        frames = np.rint(places).astype(np.int64)
        phases = np.clip(np.floor((places - frames + 0.5) * PHASES), 0, PHASES - 1).astype(np.int64)
        shapes, channels = self._shapes(footprint)
        steps, n_samples = self._drift.step(times, footprint.position[1]), len(self._times_ms)
        mean = np.zeros((n_samples, len(self._contacts)), dtype=np.float32)
        for frame, phase, amplitude, step in zip(frames, phases, amplitudes.astype(np.float32), steps, strict=True):
            waveform = amplitude * shapes[step, phase]
            start = frame - self.n_before
            self._traces[start : start + n_samples, channels] += waveform
            mean[:, channels] += waveform / len(frames)
        return frames, mean

    def _shapes(self, footprint: Footprint) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Waveforms (drift steps, phases, samples, channels) where there is anything to see, and these channels.

        Phase p is a spike (p + 0.5) / PHASES - 0.5 samples after its frame.
        """
        times_ms, offsets = self._times_ms, self._drift.offsets
        later = ((np.arange(PHASES) + 0.5) / PHASES - 0.5) * (times_ms[1] - times_ms[0])
        fine = (times_ms - later[:, None]).ravel()
        order = np.argsort(fine)
        near = np.flatnonzero(np.linalg.norm(self._contacts - footprint.position, axis=1) < REACH_UM)
        waveforms = np.empty((len(offsets), len(fine), len(near)), dtype=np.float32)
        for step, offset in enumerate(offsets):
            waveforms[step, order] = footprint(self._contacts[near] - offset, fine[order])
        seen = np.abs(waveforms).max(axis=(0, 1)) > NEGLIGIBLE_UV
        shape = (len(offsets), PHASES, len(times_ms), int(seen.sum()))
        return waveforms[..., seen].reshape(shape), near[seen]
