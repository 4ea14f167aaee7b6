"""From a recipe and a seed to traces with known spikes, in memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.signal import butter, oaconvolve, sosfiltfilt

from benchmarks.rt_sort_footprints import STRETCH, Axon, Footprint, Measured, Soma

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from spikeinterface import BaseRecording

    from benchmarks.rt_sort_recipes import Recipe

BAND_HZ = (300.0, 6000.0)
REFRACTORY_MS = 2.0
WINDOW_MS = (1.6, 2.6)
GENERATED_BEFORE_MS = 1.0
SEPARATION_UM = 12.0
PHASES = 4  # places of a spike between two samples
DRIFT_STEP_UM = 0.5
NEGLIGIBLE_UV = 0.2
AMPLITUDE_JITTER = 0.04
BURST_SPIKES = (2, 6)
BURST_INTERVAL_MS = (3.0, 8.0)
BURST_SHARE = 0.7  # of the events of a bursting unit; the others are single spikes
BURST_DECAY = (0.75, 0.9)  # amplitude from one spike of a burst to the next ...
BURST_FLOOR = 0.5  # ... down to this
RECOVERY_MS = 10.0  # a spike after a longer pause has its full amplitude
NETWORK_SHARE = 0.6  # of the units take part in a network burst
NETWORK_SPIKES = (1, 3)
NETWORK_WIDTH_MS = 25.0
NOISE_TAPS = 1024
NOISE_LENGTH_UM = 30.0
NOISE_BLOCK_S = 5.0


@dataclass(frozen=True)
class Scene:
    """A recording before it is written.

    Attributes
    ----------
    traces : numpy.ndarray, shape (frames, channels), or a SpikeInterface recording
        Microvolts.
    trains : list of numpy.ndarray
        Frames of the spikes of each unit, at the trough of its main channel.
    templates : numpy.ndarray, shape (units, samples, channels)
        Mean waveforms in microvolts.
    n_before : int
        Sample of the templates at which a spike's frame is.
    facts : list of dict
        What is known of each unit.
    """

    traces: NDArray[np.float32] | BaseRecording
    trains: list[NDArray[np.int64]]
    templates: NDArray[np.float32]
    n_before: int
    facts: list[dict[str, Any]]


def band_pass(traces: NDArray[Any], fs: float) -> NDArray[np.float64]:
    """300 to 6000 Hz along the first axis, order 5, forward and backward."""
    sos = butter(5, BAND_HZ, "bandpass", fs=fs, output="sos")
    filtered: NDArray[np.float64] = sosfiltfilt(sos, traces, axis=0)
    return filtered


def band_pass_templates(templates: NDArray[Any], fs: float) -> NDArray[np.float64]:
    """Band-pass (units, samples, channels) with silence around them."""
    margin = round(0.02 * fs)
    padded = np.pad(templates.transpose(1, 0, 2), ((margin, margin), (0, 0), (0, 0)))
    return band_pass(padded, fs)[margin:-margin].transpose(1, 0, 2)


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
        generate_sorting_kwargs={"firing_rates": _rates(recipe, rng), "refractory_period_ms": REFRACTORY_MS},
        noise_kwargs={"noise_levels": recipe.noise_uv, "strategy": "on_the_fly"},
        seed=seed,
    )
    templates = np.asarray(recording.templates, dtype=np.float32)
    n_before = int(GENERATED_BEFORE_MS * recipe.fs / 1e3)
    main = np.abs(templates).max(axis=1).argmax(axis=1)
    late = templates[np.arange(len(templates)), :, main].argmin(axis=1) - n_before
    trains = [truth.get_unit_spike_train(unit) + shift for unit, shift in zip(truth.unit_ids, late, strict=True)]
    moved = [np.roll(template, -shift, axis=0) for template, shift in zip(templates, late, strict=True)]
    return Scene(recording, trains, np.stack(moved), n_before, [{"bursting": False, "axon": False} for _ in trains])


def assembled(recipe: Recipe, seed: int, bank: Sequence[Measured]) -> Scene:
    """Noise, and every spike with its amplitude, where the drift has taken its unit."""
    take = [recipe.take] if recipe.take else []
    place = np.random.default_rng([seed, 0])
    spikes, noise = (np.random.default_rng([seed, part, *take]) for part in (1, 2))
    footprints = _footprints(recipe, bank, place)
    bursting = _chosen(recipe.bursting, recipe.units, place)
    drift = Drift(recipe, place)
    traces = _noise(recipe, noise)
    network = spikes.uniform(0, recipe.seconds, spikes.poisson(recipe.network_hz * recipe.seconds))
    n_before, n_after = (round(ms * recipe.fs / 1e3) for ms in WINDOW_MS)
    times_ms = np.arange(-n_before, n_after) / recipe.fs * 1e3
    trains, templates, facts = [], [], []
    for footprint, rate, bursts in zip(footprints, _rates(recipe, spikes), bursting, strict=True):
        times = _times(recipe, rate, bool(bursts), network, spikes)
        amplitudes = _amplitudes(times, bool(bursts), spikes)
        shapes = _shapes(footprint, recipe.contacts, drift, times_ms)
        frames, template = _add(traces, shapes, times * recipe.fs, amplitudes, drift.step(times), n_before)
        trains.append(frames)
        templates.append(template)
        facts.append({"bursting": bool(bursts), "axon": footprint.axon is not None, **_axon_facts(footprint, recipe)})
    return Scene(traces, trains, np.stack(templates), n_before, facts)


def _axon_facts(footprint: Footprint, recipe: Recipe) -> dict[str, Any]:
    """The largest signal of the axon alone, in microvolts, and on how many contacts it is at least half of that."""
    if footprint.axon is None:
        return {"axon_uv": 0.0, "axon_channels": 0}
    waveforms = footprint.axon(recipe.contacts - footprint.position, np.arange(-1.0, 2.0, 0.02))
    amplitudes = footprint.axon_gain * np.abs(waveforms).max(axis=0)
    largest = float(amplitudes.max())
    return {"axon_uv": round(largest, 1), "axon_channels": int((amplitudes > largest / 2).sum())}


class Drift:
    """The way of all units along one direction: a ramp with two slow waves, in steps of half a micrometre.

    Attributes
    ----------
    offsets : numpy.ndarray, shape (steps, 2)
        Displacement in micrometres at each step.
    """

    def __init__(self, recipe: Recipe, rng: np.random.Generator) -> None:
        self._times = np.linspace(0, recipe.seconds, 500)
        phase = np.linspace(0, 1, len(self._times))
        way = phase + 0.25 * np.sin(2 * np.pi * (1.5 * phase + rng.random()))
        way += 0.1 * np.sin(2 * np.pi * (4 * phase + rng.random()))
        self._way = recipe.drift_um * (way - way.min()) / np.ptp(way)
        angle = rng.uniform(0, 2 * np.pi) if recipe.probe == "mea" else np.pi / 2
        along = np.arange(0, recipe.drift_um + DRIFT_STEP_UM, DRIFT_STEP_UM) - recipe.drift_um / 2
        self.offsets = (
            along[:, None] * np.array([np.cos(angle), np.sin(angle)]) if recipe.drift_um else np.zeros((1, 2))
        )

    def step(self, times: NDArray[np.float64]) -> NDArray[np.int64]:
        """Which step the units are at, at `times` in seconds."""
        return np.rint(np.interp(times, self._times, self._way) / DRIFT_STEP_UM).astype(np.int64)


def _probe(recipe: Recipe) -> Any:
    from probeinterface import Probe

    probe = Probe(ndim=2, si_units="um")
    probe.set_contacts(recipe.contacts, shapes="square", shape_params={"width": 10})
    probe.set_device_channel_indices(np.arange(len(recipe.contacts)))
    return probe


def _rates(recipe: Recipe, rng: np.random.Generator) -> NDArray[np.float64]:
    rates: NDArray[np.float64] = np.exp(rng.uniform(*np.log(recipe.rates_hz), recipe.units))
    return rates


def _chosen(share: float, count: int, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Exactly a share of `count`, at random."""
    return rng.permutation(count) < round(share * count)


def _footprints(recipe: Recipe, bank: Sequence[Measured], rng: np.random.Generator) -> list[Footprint]:
    """Footprints of the bank in turn, anywhere among the contacts, turned (on a column: upside down), scaled."""
    assert recipe.snr is not None
    order = np.concatenate([rng.permutation(len(bank)) for _ in range(recipe.units // len(bank) + 1)])
    aims = rng.permutation(np.geomspace(*recipe.snr, recipe.units)) * recipe.noise_uv
    positions = _positions(recipe, rng)
    footprints = []
    for index, aim, position, grows in zip(
        order, aims, positions, _chosen(recipe.axons, recipe.units, rng), strict=False
    ):
        angle = rng.uniform(0, 2 * np.pi) if recipe.probe == "mea" else np.pi * rng.integers(2)
        soma = Soma(bank[index], angle, mirror=bool(rng.integers(2)), stretch=rng.uniform(*STRETCH))
        inwards = recipe.contacts.mean(axis=0) - position
        heading = np.arctan2(inwards[1], inwards[0]) + rng.uniform(-1, 1)
        footprints.append(_scaled(recipe, soma, Axon(rng, heading) if grows else None, position, aim))
    return footprints


def _positions(recipe: Recipe, rng: np.random.Generator) -> NDArray[np.float64]:
    """Among the contacts, at least 12 um apart."""
    low, high = recipe.contacts.min(axis=0), recipe.contacts.max(axis=0)
    positions = np.empty((0, 2))
    for _ in range(100 * recipe.units):
        new = rng.uniform(low, high)
        if len(positions) == recipe.units:
            return positions
        if np.all(np.linalg.norm(positions - new, axis=1) >= SEPARATION_UM):
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


def _times(
    recipe: Recipe, rate: float, bursts: bool, network: NDArray[np.float64], rng: np.random.Generator
) -> NDArray[np.float64]:
    """Seconds of the spikes: single ones or bursts, and those of the network bursts; never closer than 2 ms."""
    low, high = BURST_SPIKES
    per_event = 1 + BURST_SHARE * ((low + high) / 2 - 1) if bursts else 1.0
    starts = rng.uniform(0, recipe.seconds, rng.poisson(rate * recipe.seconds / per_event))
    times = [starts]
    if bursts:
        sizes = np.where(rng.random(len(starts)) < BURST_SHARE, rng.integers(low, high + 1, len(starts)), 1)
        intervals = rng.uniform(*BURST_INTERVAL_MS, (len(starts), high - 1)) / 1e3
        later = starts[:, None] + np.cumsum(intervals, axis=1)
        times.append(later[np.arange(1, high) < sizes[:, None]])
    joined = network[rng.random(len(network)) < NETWORK_SHARE]
    centres = np.repeat(joined, rng.integers(NETWORK_SPIKES[0], NETWORK_SPIKES[1] + 1, len(joined)))
    times.append(rng.normal(centres, NETWORK_WIDTH_MS / 1e3))
    return _refractory(np.sort(np.concatenate(times)), recipe.seconds)


def _refractory(times: NDArray[np.float64], seconds: float) -> NDArray[np.float64]:
    kept: list[float] = []
    for time in times:
        if 0.01 < time < seconds - 0.01 and (not kept or time - kept[-1] >= REFRACTORY_MS / 1e3):
            kept.append(time)
    return np.array(kept)


def _amplitudes(times: NDArray[np.float64], bursts: bool, rng: np.random.Generator) -> NDArray[np.float64]:
    """Relative amplitudes: they vary a little, and those of bursting units fall during a burst."""
    decay = rng.uniform(*BURST_DECAY) if bursts else 1.0
    amplitudes = np.ones(len(times))
    for i in np.flatnonzero(np.diff(times) < RECOVERY_MS / 1e3) + 1:
        amplitudes[i] = max(BURST_FLOOR, amplitudes[i - 1] * decay)
    return amplitudes * rng.normal(1, AMPLITUDE_JITTER, len(times))


@dataclass(frozen=True)
class Shapes:
    """Waveforms (drift steps, phases, samples, channels) on those of `n_channels` where there is anything to see."""

    waveforms: NDArray[np.float32]
    channels: NDArray[np.int64]
    n_channels: int


def _shapes(footprint: Footprint, contacts: NDArray[np.float64], drift: Drift, times_ms: NDArray[np.float64]) -> Shapes:
    """The unit at every step of the drift; phase p is a spike (p + 0.5) / PHASES - 0.5 samples after its frame."""
    later = ((np.arange(PHASES) + 0.5) / PHASES - 0.5) * (times_ms[1] - times_ms[0])
    fine = (times_ms - later[:, None]).ravel()
    order = np.argsort(fine)
    waveforms = np.empty((len(drift.offsets), len(fine), len(contacts)), dtype=np.float32)
    for step, offset in enumerate(drift.offsets):
        waveforms[step, order] = footprint(contacts - offset, fine[order])
    channels = np.flatnonzero(np.abs(waveforms).max(axis=(0, 1)) > NEGLIGIBLE_UV)
    shape = (len(drift.offsets), PHASES, len(times_ms), len(channels))
    return Shapes(waveforms[..., channels].reshape(shape), channels, len(contacts))


def _add(
    traces: NDArray[np.float32],
    shapes: Shapes,
    places: NDArray[np.float64],
    amplitudes: NDArray[np.float64],
    steps: NDArray[np.int64],
    n_before: int,
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Add the spikes at `places` (in frames, not whole) to `traces`; return whole frames and the mean waveform."""
    frames = np.rint(places).astype(np.int64)
    phases = np.clip(np.floor((places - frames + 0.5) * PHASES), 0, PHASES - 1).astype(np.int64)
    n_samples = shapes.waveforms.shape[2]
    mean = np.zeros((n_samples, shapes.n_channels), dtype=np.float32)
    for frame, phase, amplitude, step in zip(frames, phases, amplitudes.astype(np.float32), steps, strict=True):
        waveform = amplitude * shapes.waveforms[step, phase]
        traces[frame - n_before : frame - n_before + n_samples, shapes.channels] += waveform
        mean[:, shapes.channels] += waveform / len(frames)
    return frames, mean


def _noise(recipe: Recipe, rng: np.random.Generator) -> NDArray[np.float32]:
    """White, independent or common to all, and coloured, shared by near contacts; ``noise_uv`` after the filter."""
    shape = (recipe.frames, len(recipe.contacts))
    traces = rng.standard_normal(shape, dtype=np.float32)
    pulse = np.zeros(2 * NOISE_TAPS * 8)
    pulse[len(pulse) // 2] = 1
    pass_white = np.linalg.norm(band_pass(pulse, recipe.fs))
    traces *= np.float32(recipe.noise_uv * np.sqrt(1 - recipe.coloured) / pass_white)
    if recipe.coloured:
        taps = _fractional_taps()
        pass_coloured = np.linalg.norm(band_pass(np.convolve(pulse, taps, "same"), recipe.fs))
        taps = (taps * recipe.noise_uv * np.sqrt(recipe.coloured) / pass_coloured).astype(np.float32)
        _add_coloured(traces, recipe, taps, rng)
    if recipe.common:
        traces *= np.float32(np.sqrt(1 - recipe.common))
        level = recipe.noise_uv * np.sqrt(recipe.common) / pass_white
        traces += np.float32(level) * rng.standard_normal((recipe.frames, 1), dtype=np.float32)
    return traces


def _fractional_taps() -> NDArray[np.float64]:
    """Filter whose gain falls as 1/f^0.5: the binomial series of (1 - z)^(-1/2), with a soft end."""
    k = np.arange(1, NOISE_TAPS)
    soft = np.cos(np.arange(NOISE_TAPS) * np.pi / 2 / NOISE_TAPS) ** 2
    taps: NDArray[np.float64] = np.concatenate([[1.0], np.cumprod((k - 0.5) / k)]) * soft
    return taps


def _add_coloured(
    traces: NDArray[np.float32], recipe: Recipe, taps: NDArray[np.float32], rng: np.random.Generator
) -> None:
    distance = np.linalg.norm(recipe.contacts[:, None] - recipe.contacts, axis=2)
    mix = np.linalg.cholesky(np.exp(-distance / NOISE_LENGTH_UM)).T.astype(np.float32)
    block = round(NOISE_BLOCK_S * recipe.fs)
    past = rng.standard_normal((len(taps) - 1, len(mix)), dtype=np.float32)
    for start in range(0, len(traces), block):
        count = min(block, len(traces) - start)
        source = np.concatenate([past, rng.standard_normal((count, len(mix)), dtype=np.float32)])
        traces[start : start + count] += oaconvolve(source, taps[:, None], mode="valid", axes=0) @ mix
        past = source[-len(past) :]
