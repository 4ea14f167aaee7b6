"""The plan: which neurons are put into a recording, where, how large, and when they fire."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from spikelab.spike_sorting.data.dead_time import in_dead_time
from spikelab.spike_sorting.validation.features import likeness
from spikelab.spike_sorting.validation.places import Place, places_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from spikelab.spike_sorting.data import BinaryRecording, FloatArray, IntArray, Waveforms
    from spikelab.spike_sorting.validation.donors import Donor

SHARE, LEAST = 0.2, 6  # injected neurons per unit of the sort, and the fewest
MOST_SPIKES = 0.2  # injected spikes per spike of the sort
ALIKE_SHARE = 0.6  # of the injected units are as large as the recording's, the others of any size
SMALLEST_SNR = 2.5
SCATTER = 0.15  # of the logarithm of sizes
# Quantile over the units, and least and most: no neuron is put where one unit is more like it than that. Units far
# apart are like no other, and a neuron is hardly ever like none at all.
LIKENESS, LIKENESS_RANGE = 0.9, (0.5, 0.95)
TRIES = 40
FEWEST = 4  # injected neurons: fewer tell nothing
BURST_MS = 100.0  # spikes that are closer move together
SHIFT_MS = (5.0, 45.0)  # of a burst: beyond what a sorter looks at, within a burst of the network
REFRACTORY_MS = 1.5
PHASES = 8  # places between two frames


@dataclass(frozen=True)
class Injection:
    """A neuron that is put into the recording.

    Attributes
    ----------
    donor : int
        Row of the unit that lent it.
    main : int
        Main channel.
    snr : float
        Amplitude over the noise of the main channel.
    channels : numpy.ndarray of int64, shape (channels,)
        Channels that see it.
    shapes : numpy.ndarray of float32, shape (stretches, samples, channels)
        Mean spike in each stretch of time, in uV.
    middles : numpy.ndarray of float64, shape (stretches,)
        Middle frame of each stretch.
    n_before : int
        Samples before the peak.
    frames, phases, sizes : numpy.ndarray, shape (spikes,)
        Frame of each peak, in eighths of a frame after it, and the spike's size over the mean.
    """

    donor: int
    main: int
    snr: float
    channels: IntArray
    shapes: FloatArray
    middles: NDArray[np.float64]
    n_before: int
    frames: IntArray
    phases: IntArray
    sizes: FloatArray


def plan_injections(
    binary: BinaryRecording,
    waveforms: Waveforms,
    donors: Sequence[Donor],
    rng: np.random.Generator,
    number: int | None = None,
) -> list[Injection]:
    """Choose neurons and places for one sort; fewer than asked for, or none, where there is no room.

    Parameters
    ----------
    binary : BinaryRecording
    waveforms : Waveforms
        Of the units of the sort.
    donors : sequence of Donor
    rng : numpy.random.Generator
    number : int, optional
        Of neurons; by default 0.2 of the units of the sort, at least 6. Beyond the first 4 they add at most 0.2 spikes
        for each of the sort, so that its own units are hardly disturbed.
    """
    wanted, room = wanted_number(waveforms, number), _Room(binary, waveforms)
    quantiles = rng.permutation(wanted) / max(1.0, ALIKE_SHARE * wanted)
    budget = MOST_SPIKES * sum(map(len, waveforms.spikes)) if number is None else np.inf
    chosen: list[Injection] = []
    order: list[int] = []
    failed = 0
    while donors and len(chosen) < wanted and failed < 3 * wanted:
        if not order:
            order = rng.permutation(len(donors)).tolist()
        donor, left = donors[order.pop()], np.inf if len(chosen) < FEWEST else budget
        neuron = room.neuron(donor, _size(waveforms, quantiles[len(chosen)], rng), chosen, left, rng)
        if neuron is None:
            failed += 1
            continue
        budget -= len(neuron.frames)
        chosen.append(neuron)
    return chosen


def wanted_number(waveforms: Waveforms, number: int | None) -> int:
    """Return how many neurons to put in."""
    return max(LEAST, round(SHARE * waveforms.n_units)) if number is None else number


def _size(waveforms: Waveforms, quantile: float, rng: np.random.Generator) -> float:
    """Draw an SNR: near a quantile of those of the units, or, from 1 on, anything up to the largest."""
    sizes = np.maximum(waveforms.snr.astype(np.float64), SMALLEST_SNR)
    if quantile < 1.0:
        return float(np.quantile(sizes, quantile) * np.exp(rng.normal(0.0, SCATTER)))
    return float(np.exp(rng.uniform(np.log(SMALLEST_SNR), np.log(max(sizes.max(), 2 * SMALLEST_SNR)))))


@dataclass(frozen=True)
class _Room:
    """A recording and its units, among which neurons are put."""

    binary: BinaryRecording
    waveforms: Waveforms

    @cached_property
    def limit(self) -> float:
        """Largest likeness to a unit that a neuron may have."""
        return float(np.clip(np.quantile(likeness(self.waveforms.templates), LIKENESS), *LIKENESS_RANGE))

    @cached_property
    def norms(self) -> FloatArray:
        """Norm of each template."""
        templates = self.waveforms.templates
        return np.asarray(np.sqrt(np.einsum("usc,usc->u", templates, templates)), dtype=np.float32)

    @cached_property
    def sorted_part(self) -> tuple[int, int]:
        """First frame and last in which units fire: a sorter may have been given a part to sort."""
        every = [train for train in self.waveforms.spikes if len(train)]
        return min(int(train[0]) for train in every), max(int(train[-1]) for train in every)

    def neuron(
        self, donor: Donor, snr: float, chosen: Sequence[Injection], most_spikes: float, rng: np.random.Generator
    ) -> Injection | None:
        """Make a neuron of a donor; None where there is no place for it, or it has too few spikes, or too many."""
        place = self._free_place(donor, chosen, rng)
        train = None if place is None else _train(self.binary, donor, self.sorted_part, rng)
        if place is None or train is None or len(train[0]) > most_spikes:
            return None
        return _injection(self.waveforms, donor, place, snr, train, rng)

    def _free_place(self, donor: Donor, chosen: Sequence[Injection], rng: np.random.Generator) -> Place | None:
        """Find a place where no unit looks like the moved one."""
        mean, waveforms = donor.mean, self.waveforms
        taken = {injection.main for injection in chosen}
        places = places_of(donor, self.binary.locations, self.binary.groups, waveforms.noise > 0, rng)
        for place in places[:TRIES]:
            if place.main in taken:
                continue
            kept = place.channels >= 0
            if _likeness(mean[:, kept], place.channels[kept], waveforms.templates, self.norms) < self.limit:
                return place
        return None


def _likeness(shape: FloatArray, channels: IntArray, templates: FloatArray, norms: FloatArray) -> float:
    """Return the largest cosine between a shape and the templates of units, whose norms are given."""
    products = np.tensordot(templates[:, :, channels], shape, 2)
    return float((products / np.maximum(norms * np.sqrt(np.sum(shape**2)), 1e-9)).max(initial=0.0))


def _train(
    binary: BinaryRecording, donor: Donor, sorted_part: tuple[int, int], rng: np.random.Generator
) -> tuple[IntArray, FloatArray] | None:
    """Move the donor's bursts, each by its own few milliseconds, and keep what is in one epoch and seen."""
    per_ms = binary.sampling_frequency / 1000.0
    if not len(donor.frames):
        return None
    burst = np.cumsum(np.diff(donor.frames, prepend=donor.frames[0]) > BURST_MS * per_ms)
    n_bursts = int(burst[-1]) + 1
    shifts = rng.uniform(*SHIFT_MS, n_bursts) * rng.choice([-1.0, 1.0], n_bursts) * per_ms
    frames = donor.frames + np.rint(shifts).astype(np.int64)[burst]
    order = np.argsort(frames, kind="stable")
    frames, sizes = frames[order], donor.sizes[order]
    starts = np.array([epoch.start_frame for epoch in binary.epochs])
    ends = np.array([epoch.end_frame for epoch in binary.epochs])
    at = np.clip(np.searchsorted(starts, frames, side="right") - 1, 0, len(starts) - 1)
    n_samples = donor.shapes.shape[1]
    fits = (frames - donor.n_before - 1 >= starts[at]) & (frames + n_samples - donor.n_before + 1 < ends[at])
    fits &= (frames >= sorted_part[0]) & (frames <= sorted_part[1])
    if len(binary.dead_time):
        fits &= ~in_dead_time(frames, binary.dead_time)
    frames, sizes = frames[fits], sizes[fits]
    apart = np.append(True, np.diff(frames) > REFRACTORY_MS * per_ms)[: len(frames)]
    return (frames[apart], sizes[apart]) if apart.sum() >= 2 else None


def _injection(
    waveforms: Waveforms,
    donor: Donor,
    place: Place,
    snr: float,
    train: tuple[IntArray, FloatArray],
    rng: np.random.Generator,
) -> Injection:
    frames, sizes = train
    kept = place.channels >= 0
    scale = snr * float(waveforms.noise[place.main]) / donor.amplitude
    return Injection(
        donor=donor.row,
        main=place.main,
        snr=snr,
        channels=place.channels[kept],
        shapes=donor.shapes[:, :, kept] * np.float32(scale),
        middles=donor.middles,
        n_before=donor.n_before,
        frames=frames,
        phases=rng.integers(0, PHASES, len(frames)),
        sizes=sizes,
    )
