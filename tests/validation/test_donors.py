"""Donors: what is lent is the unit's own, and not the noise that it was seen in."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.validation.conftest import World
from tests.validation.known import FS, NOISE, footprint, grid, measured, trains_of, write

from spikelab.spike_sorting.data import Geometry
from spikelab.spike_sorting.validation import donors
from spikelab.spike_sorting.validation.donors import SIZES, measure_donors, usable_units


def test_a_footprint_comes_back_within_noise(world: World) -> None:
    for donor in measure_donors(world.binary, world.waveforms, np.arange(6)):
        truth = world.shapes[donor.row]
        at = world.waveforms.n_before - 20  # the true shape begins 20 samples before its trough
        lent = donor.mean[at : at + len(truth)]
        error = NOISE / np.sqrt(len(donor.frames))  # of a mean of so many spikes; some have one of another unit on them
        assert np.abs(lent - truth[:, donor.channels]).max() < 6 * error + 0.05 * donor.amplitude
        seen = np.abs(truth).max(axis=0) > 0.15 * np.abs(truth).max()
        assert set(np.flatnonzero(seen)) <= set(donor.channels.tolist())
        assert donor.amplitude == pytest.approx(np.abs(truth).max(), rel=0.05)
        assert not donor.mean[0].any() or np.abs(donor.mean[[0, -1]]).max() < 0.5


def test_chunks_change_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = np.array([1, 4])
    whole = measure_donors(world.binary, world.waveforms, rows)
    monkeypatch.setattr(donors, "CHUNK_VALUES", 1)  # chunks of four windows: every spike near a border
    for one, other in zip(whole, measure_donors(world.binary, world.waveforms, rows), strict=True):
        np.testing.assert_array_equal(one.shapes, other.shapes)
        np.testing.assert_array_equal(one.sizes, other.sizes)
        np.testing.assert_array_equal(one.frames, other.frames)


@pytest.fixture(scope="module")
def drifting(tmp_path_factory: pytest.TempPathFactory) -> World:
    """A unit that halves, one that moves from one electrode to the next, one whose spikes differ, one that stays."""
    locations, seconds = grid(7), 30.0  # so far apart that none sees another
    trains = trains_of(4, 20.0, seconds, seed=3)
    n = len(trains[0])
    halving = footprint(locations, 0, 120.0)
    moving = [footprint(locations, main, 120.0, 1.2) for main in (47, 48)]
    scatter = np.exp(np.random.default_rng(2).normal(0, 0.2, n))
    shapes = [
        lambda k: halving * (1 - 0.5 * k / n),
        lambda k: moving[0] * (1 - k / n) + moving[1] * k / n,
        lambda k: footprint(locations, 6, 150.0) * scatter[k],
        footprint(locations, 42, 150.0),
    ]
    binary = write(tmp_path_factory.mktemp("drift") / "traces.dat", locations, shapes, trains, seconds)
    return World(binary, measured(binary, trains), [], trains)


def test_drift_is_kept_and_what_stays_does_not_change(drifting: World) -> None:
    halving, moving, _, still = measure_donors(drifting.binary, drifting.waveforms, np.arange(4))
    (main,) = np.flatnonzero(halving.channels == 0)
    heights = -halving.shapes[:, :, main].min(axis=1)
    expected = 120 * (1 - 0.5 * halving.middles / drifting.binary.n_samples)
    np.testing.assert_allclose(heights, expected, rtol=0.08)

    at = [int(np.flatnonzero(moving.channels == channel)[0]) for channel in (47, 48)]
    ratio = moving.shapes[:, :, at[1]].min(axis=1) / moving.shapes[:, :, at[0]].min(axis=1)
    assert ratio[0] < 0.6
    assert ratio[-1] > 1.6
    assert (np.diff(ratio) > 0).all()

    assert len(still.shapes) > 5
    alone = NOISE / np.sqrt(len(still.frames) / len(still.shapes))  # by which noise alone makes means of 60 differ
    assert np.sqrt(np.mean((still.shapes - still.mean) ** 2)) < 0.3 * alone


def test_sizes_scatter_as_the_spikes_do_and_not_as_noise(drifting: World) -> None:
    _, _, scattered, still = measure_donors(drifting.binary, drifting.waveforms, np.arange(4))
    assert np.std(scattered.sizes) == pytest.approx(0.2, rel=0.2)
    assert np.std(still.sizes) < 0.03
    for donor in (scattered, still):
        assert np.median(donor.sizes) == pytest.approx(1.0, abs=0.05)
        assert SIZES[0] <= donor.sizes.min() <= donor.sizes.max() <= SIZES[1]


def test_spikes_at_the_edges_are_left_out(world: World) -> None:
    n = world.binary.n_samples
    frames = np.sort(np.concatenate([[0, 3], world.waveforms.spikes[0], [n - 2, n - 1]]))
    at_edges = replace(world.waveforms, spikes=(frames, *world.waveforms.spikes[1:]))
    (donor,) = measure_donors(world.binary, at_edges, np.array([0]))
    (without,) = measure_donors(world.binary, world.waveforms, np.array([0]))
    np.testing.assert_array_equal(donor.frames, without.frames)
    np.testing.assert_array_equal(donor.shapes, without.shapes)
    nobody = replace(world.waveforms, spikes=(np.array([0, n - 1]), *world.waveforms.spikes[1:]))
    (donor,) = measure_donors(world.binary, nobody, np.array([0]))
    assert len(donor.frames) == len(donor.sizes) == 0
    assert not donor.shapes.any()


def test_a_footprint_ends_where_its_group_does(world: World) -> None:
    """What channels of another group see of a unit, as after a common reference, is no part of what is moved."""
    binary = replace(world.binary, geometry=Geometry.of(world.binary.locations, np.arange(25) // 5))
    for donor in measure_donors(binary, world.waveforms, np.arange(6)):
        assert set(binary.groups[donor.channels]) == {binary.groups[donor.main]}


def test_only_large_refractory_units_with_spikes_lend(world: World) -> None:
    found = world.waveforms
    assert usable_units(found, FS).tolist() == list(range(6))
    few = found.spikes[0][:29]
    doubled = np.sort(np.concatenate([found.spikes[1], found.spikes[1] + 20]))  # again after 1 ms
    snr = found.snr.copy()
    snr[2] = 2.9
    changed = replace(found, spikes=(few, doubled, *found.spikes[2:5], np.empty(0, np.int64)), snr=snr)
    assert usable_units(changed, FS).tolist() == [3, 4]


def test_a_donor_without_noise_in_a_constant_recording(tmp_path: Path, world: World) -> None:
    """Nothing in the traces is nothing to lend, and no number is other than finite."""
    path = tmp_path / "silent.dat"
    np.zeros((world.binary.n_samples, 25), dtype=np.int16).tofile(path)
    for donor in measure_donors(replace(world.binary, path=path), world.waveforms, np.arange(2)):
        assert not donor.shapes.any()
        assert np.isfinite(donor.sizes).all()
