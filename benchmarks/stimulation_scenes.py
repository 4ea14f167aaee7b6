"""Stimulated cultures with known spikes, pulses and artefacts, in memory; the same without pulses is the ceiling.

A biphasic pulse puts the contacts near the stimulated one on the rail, and leaves a slow decay on all of them that
differs from contact to contact and shrinks along a train. Neurons answer to a part of the pulses 3 to 15 ms later.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from scipy.signal import butter, sosfilt

from benchmarks.rt_sort_activity import firing_rates, spike_amplitudes, spike_times
from benchmarks.rt_sort_footprints import load_bank
from benchmarks.rt_sort_movement import Drift
from benchmarks.rt_sort_noise import add_noise, band_pass, band_pass_templates
from benchmarks.rt_sort_recipes import Recipe
from benchmarks.rt_sort_scenes import Adder, _footprints

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray
    from spikeinterface import BaseRecording

PULSE_UV, PULSE_UM = 60_000.0, 15.0  # of the pulse itself at the contact, and where it is half of that
DECAY_UV, DECAY_UM = 8_000.0, 60.0  # of the decay
DECAY_MS = (5.0, 20.0)  # its time constant, of each contact
FAST_MS, FAST_SHARE = 1.0, 0.3  # of what goes away sooner
ADAPTATION, ADAPTATION_PULSES = 0.3, 4.0  # how much more the first pulses of a train leave behind
JITTER = 0.02
ANSWER_SHARE, ANSWER_MS, ANSWER_JITTER_MS = 0.4, (3.5, 15.0), 0.5
REFRACTORY_S = 0.002
MARGIN_S = 1.0


@dataclass(frozen=True)
class Stimulus:
    """How a culture is stimulated.

    Attributes
    ----------
    rate_hz : float
        Pulses per second within a train.
    train, pause_s : int, float
        Pulses of a train, and the time from its last pulse to the next train.
    sites : int
        Contacts that are stimulated, a train each in turn.
    phase_us : float
        Length of each of the two phases.
    late_ms : float
        The times that are given are off by up to this, each by its own.
    amplifier_hz : (float, float) or None
        Band of a filter of first order between the amplifier, which saturates, and the converter.
    """

    rate_hz: float = 2.0
    train: int = 10
    pause_s: float = 1.0
    sites: int = 1
    phase_us: float = 200.0
    late_ms: float = 2.0
    amplifier_hz: tuple[float, float] | None = None


STIMULI = {
    "slow": Stimulus(rate_hz=0.5, train=1000),
    "pairs": Stimulus(rate_hz=20.0, train=2, pause_s=1.5, sites=2),
    "trains": Stimulus(rate_hz=20.0, train=20, pause_s=3.0, sites=3),
    "fast": Stimulus(rate_hz=50.0, train=50, pause_s=2.0),
    "filtered": Stimulus(rate_hz=10.0, train=20, pause_s=2.0, sites=2, amplifier_hz=(1.0, 7500.0)),
}
CULTURE = Recipe("stimulated", 8, 8, units=20, seconds=60.0, snr=(5.0, 27.0), rates_hz=(2.0, 10.0))


@dataclass(frozen=True)
class Stimulated:
    """A recording with pulses, and all that is known of it.

    Attributes
    ----------
    recording, ceiling : BaseRecording
        With and without pulses: counts of int16, not filtered.
    trains : list of numpy.ndarray
        Frames of the spikes of each unit.
    snr : numpy.ndarray, shape (units,)
    pulses, sites : numpy.ndarray of int
        First frame of each pulse, and which contact is stimulated.
    given_s : numpy.ndarray
        Times of the pulses as somebody noted them.
    """

    recording: BaseRecording
    ceiling: BaseRecording
    trains: list[NDArray[np.int64]]
    snr: NDArray[np.float64]
    pulses: NDArray[np.int64]
    sites: NDArray[np.int64]
    given_s: NDArray[np.float64]


def stimulated(stimulus: Stimulus, seed: int, recipe: Recipe = CULTURE, templates: Path | None = None) -> Stimulated:
    """Make a culture and stimulate it."""
    rng = np.random.default_rng([seed, 5])
    times, sites = pulse_times(stimulus, recipe, rng)
    traces, trains, snr = _culture(recipe, seed, times, templates)
    artefact = artefacts(stimulus, recipe, times, sites, rng)
    both = traces + artefact
    if stimulus.amplifier_hz is not None:
        band = butter(1, stimulus.amplifier_hz, "bandpass", fs=recipe.fs, output="sos")
        both, traces = (sosfilt(band, x.clip(*recipe.amplifier.rails_uv), axis=0) for x in (both, traces))
    late = rng.uniform(-stimulus.late_ms, stimulus.late_ms, len(times)) / 1e3
    return Stimulated(
        recording=_counts(both, recipe),
        ceiling=_counts(traces, recipe),
        trains=trains,
        snr=snr,
        pulses=np.ceil(times * recipe.fs).astype(np.int64),
        sites=sites,
        given_s=times + late,
    )


def pulse_times(
    stimulus: Stimulus, recipe: Recipe, rng: np.random.Generator
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Times of the pulses in s, and the contact of each."""
    contacts = rng.permutation(recipe.columns * recipe.rows)[: stimulus.sites]
    times: list[float] = []
    sites: list[int] = []
    start, train = MARGIN_S, 0
    while start < recipe.seconds - MARGIN_S:
        own = start + np.arange(stimulus.train) / stimulus.rate_hz
        own = own[own < recipe.seconds - MARGIN_S]
        times.extend(own)
        sites.extend([int(contacts[train % stimulus.sites])] * len(own))
        start, train = float(own[-1]) + stimulus.pause_s + rng.uniform(0, 0.01), train + 1
    return np.array(times), np.array(sites, dtype=np.int64)


def artefacts(
    stimulus: Stimulus,
    recipe: Recipe,
    times: NDArray[np.float64],
    sites: NDArray[np.int64],
    rng: np.random.Generator,
) -> NDArray[np.float32]:
    """What the pulses add to the traces, in microvolts."""
    added = np.zeros((recipe.frames, len(recipe.contacts)), dtype=np.float32)
    slow_s = rng.uniform(*DECAY_MS, len(recipe.contacts)) / 1e3
    spread = {site: rng.lognormal(0, 0.3, len(recipe.contacts)) for site in np.unique(sites).tolist()}
    n_frames = round(8 * slow_s.max() * recipe.fs)
    phase_s, n_before = stimulus.phase_us / 1e6, 0
    for index, (time, site) in enumerate(zip(times, sites.tolist(), strict=True)):
        n_before = 0 if index and times[index - 1] < time - 1.5 / stimulus.rate_hz else n_before + 1
        far = np.linalg.norm(recipe.contacts - recipe.contacts[site], axis=1)
        decay = spread[site] * DECAY_UV / (1 + far / DECAY_UM)
        decay *= (1 + ADAPTATION * np.exp(-n_before / ADAPTATION_PULSES)) * rng.normal(1, JITTER)
        first = int(np.ceil(time * recipe.fs))
        last = min(first + n_frames, recipe.frames)
        after = (np.arange(first, last) / recipe.fs - time)[:, None]
        ended = after >= 2 * phase_s
        since = np.where(ended, after - 2 * phase_s, 0)
        shape = (1 - FAST_SHARE) * np.exp(-since / slow_s) + FAST_SHARE * np.exp(-since / (FAST_MS / 1e3))
        pulse = np.where(after < phase_s, -1.0, 1.0) * PULSE_UV / (1 + far / PULSE_UM)
        added[first:last] += np.where(ended, decay * shape, pulse).astype(np.float32)
    return added


def _culture(
    recipe: Recipe, seed: int, pulses: NDArray[np.float64], templates: Path | None
) -> tuple[NDArray[np.float32], list[NDArray[np.int64]], NDArray[np.float64]]:
    """Traces without pulses, the spikes, and how large they are."""
    bank, _ = load_bank(templates)
    place = np.random.default_rng([seed, 0])
    spikes, noise, answers = (np.random.default_rng([seed, part]) for part in (1, 2, 6))
    footprints = _footprints(recipe, bank, place)
    traces = np.zeros((recipe.frames, len(recipe.contacts)), dtype=np.float32)
    add_noise(traces, recipe, noise)
    network = spikes.uniform(0, recipe.seconds, spikes.poisson(recipe.network_hz * recipe.seconds))
    adder, trains, snr = Adder(traces, recipe, Drift(recipe, place)), [], []
    for footprint, rate in zip(footprints, firing_rates(recipe, spikes), strict=True):
        times = spike_times(recipe, rate, False, network, spikes)
        times = _with_answers(times, pulses, answers)
        frames, template = adder.add(footprint, times, spike_amplitudes(times, False, spikes))
        trains.append(frames)
        snr.append(float(np.abs(band_pass_templates(template[None], recipe.fs)).max() / recipe.noise_uv))
    return traces, trains, np.array(snr)


def _with_answers(
    times: NDArray[np.float64], pulses: NDArray[np.float64], rng: np.random.Generator
) -> NDArray[np.float64]:
    """Add the spikes with which a unit answers to pulses, and drop those that are too close to another."""
    latency = rng.uniform(*ANSWER_MS)
    answered = pulses[rng.random(len(pulses)) < ANSWER_SHARE]
    all_times = np.sort(np.concatenate([times, answered + rng.normal(latency, ANSWER_JITTER_MS, len(answered)) / 1e3]))
    kept: list[float] = []
    for time in all_times.tolist():
        if not kept or time - kept[-1] >= REFRACTORY_S:
            kept.append(time)
    return np.array(kept)


def _counts(traces: NDArray[np.float32], recipe: Recipe) -> BaseRecording:
    from spikeinterface.core import NumpyRecording

    amplifier = recipe.amplifier
    counts = (np.rint(traces / amplifier.gain_uv) + amplifier.middle).clip(amplifier.low, amplifier.high)
    recording = NumpyRecording([counts.astype(amplifier.dtype)], recipe.fs)
    recording.set_channel_gains(amplifier.gain_uv)
    recording.set_channel_offsets(-amplifier.middle * amplifier.gain_uv)
    recording.set_dummy_probe_from_locations(recipe.contacts)
    return recording


def short(recipe: Recipe = CULTURE, seconds: float = 20.0) -> Recipe:
    """Give a shorter recording of the same kind."""
    return replace(recipe, name=f"{recipe.name}_short", seconds=seconds)


__all__ = [
    "CULTURE",
    "STIMULI",
    "Stimulated",
    "Stimulus",
    "artefacts",
    "band_pass",
    "pulse_times",
    "short",
    "stimulated",
]
