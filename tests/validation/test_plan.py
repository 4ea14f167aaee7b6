"""The plan: neurons that could be the recording's own, and that nobody can take for one of its units."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.validation.conftest import World
from tests.validation.known import FS, described, donor_of, grid

from spikelab.spike_sorting.data import Epoch
from spikelab.spike_sorting.data.dead_time import in_dead_time
from spikelab.spike_sorting.validation import CannotValidateError, injections_for, plan
from spikelab.spike_sorting.validation.donors import Donor, measure_donors
from spikelab.spike_sorting.validation.plan import FEWEST, REFRACTORY_MS, Injection, plan_injections


@pytest.fixture(scope="module")
def donors(world: World) -> list[Donor]:
    return measure_donors(world.binary, world.waveforms, np.arange(6))


def planned(world: World, donors: list[Donor], seed: int = 0, number: int | None = 8, **more: Any) -> list[Injection]:
    binary = replace(world.binary, **more)
    return plan_injections(binary, world.waveforms, donors, np.random.default_rng(seed), number)


def same(one: Injection, other: Injection) -> bool:
    return all(np.array_equal(getattr(one, field.name), getattr(other, field.name)) for field in fields(Injection))


def test_the_same_seed_makes_the_same_plan(world: World, donors: list[Donor]) -> None:
    first, second = planned(world, donors), planned(world, donors)
    assert len(first) == 8
    assert all(same(one, other) for one, other in zip(first, second, strict=True))
    assert not any(same(one, other) for one, other in zip(first, planned(world, donors, seed=1), strict=True))


def test_neurons_have_the_size_and_place_that_they_are_said_to_have(world: World, donors: list[Donor]) -> None:
    for injection in planned(world, donors):
        mean = injection.shapes.mean(axis=0)
        (main,) = np.flatnonzero(injection.channels == injection.main)
        height = np.abs(mean[:, main]).max()
        assert height / world.waveforms.noise[injection.main] == pytest.approx(injection.snr, rel=1e-4)
        assert np.abs(mean).max() == pytest.approx(height, rel=0.02)
        assert np.abs(mean[:, main]).argmax() == pytest.approx(injection.n_before, abs=2)
        assert len(set(injection.channels)) == len(injection.channels)
        assert injection.channels.min() >= 0


def test_no_two_neurons_share_a_main_channel(world: World, donors: list[Donor]) -> None:
    mains = [injection.main for injection in planned(world, donors, number=20)]
    assert len(set(mains)) == len(mains) > 8


def test_no_neuron_is_put_where_a_unit_is_alike(world: World, donors: list[Donor]) -> None:
    flat = world.waveforms.templates.reshape(6, -1)
    for injection in planned(world, donors, number=20):
        shape = np.zeros(world.waveforms.templates.shape[1:])
        shape[:, injection.channels] = injection.shapes.mean(axis=0)
        cosines = flat @ shape.ravel() / np.linalg.norm(flat, axis=1) / np.linalg.norm(shape)
        assert cosines.max() < plan.LIKENESS_RANGE[1]
    templates = np.ones_like(world.waveforms.templates)
    occupied = replace(world.waveforms, templates=np.concatenate([templates, -templates]))
    everywhere = [replace(donor, shapes=np.ones_like(donor.shapes)) for donor in donors]
    room = plan_injections(world.binary, occupied, everywhere, np.random.default_rng(0), 4)
    assert all(len(injection.channels) < 25 * plan.LIKENESS_RANGE[1] ** 2 for injection in room)


def test_units_that_have_nothing_in_common_leave_room(world: World, donors: list[Donor]) -> None:
    """Units far apart are like none another; a neuron near one of them is no such a unit, and is put in."""
    distinct = np.zeros_like(world.waveforms.templates)
    for row, main in enumerate(world.waveforms.main_channels):
        distinct[row, :, main] = world.waveforms.templates[row, :, main]
    apart = replace(world.waveforms, templates=distinct)
    found = plan_injections(world.binary, apart, donors, np.random.default_rng(0), 8)
    assert len(found) >= FEWEST


@given(seed=st.integers(0, 2**32 - 1), rate=st.sampled_from([1.0, 20.0, 200.0]))
@settings(max_examples=25)
def test_trains_stay_refractory_in_one_epoch_and_seen(seed: int, rate: float) -> None:
    rng = np.random.default_rng(seed)
    n = 60_000
    epochs = (Epoch(0, 15_000), Epoch(15_000, 15_050), Epoch(15_050, n))
    dead = np.array([[20_000, 24_000], [40_000, 40_100]])
    binary = described(None, grid(), n, epochs=epochs, dead_time=dead)  # type: ignore[arg-type]
    frames = np.unique(rng.integers(0, n, round(rate * n / FS)))
    donor = donor_of(grid(), 12, frames, sizes=rng.uniform(0.5, 1.5, len(frames)).astype(np.float32))
    part = (2_000, n - 1_000)
    train = plan._train(binary, donor, part, rng)
    if train is None:
        assert len(frames) < 30
        return
    moved, sizes = train
    assert len(moved) == len(sizes) <= len(frames)
    assert (np.diff(moved) > REFRACTORY_MS * FS / 1000).all()
    assert not in_dead_time(moved, dead).any()
    assert part[0] <= moved[0] <= moved[-1] <= part[1]
    length = donor.shapes.shape[1]
    for frame in moved:
        window = [frame - donor.n_before, frame - donor.n_before + length]
        assert any(epoch.start_frame <= window[0] and window[1] <= epoch.end_frame for epoch in epochs)


def test_bursts_move_as_they_are_and_sizes_go_with_their_spikes() -> None:
    bursts = (np.arange(10)[:, None] * 40_000 + 10_000 + np.array([0, 100, 300])).ravel()
    sizes = np.tile(np.array([1.0, 0.8, 0.6], dtype=np.float32), 10)
    binary = described(None, grid(), 500_000)  # type: ignore[arg-type]
    donor = donor_of(grid(), 12, bursts, sizes=sizes)
    moved, moved_sizes = plan._train(binary, donor, (0, 500_000), np.random.default_rng(0)) or ()
    np.testing.assert_array_equal(np.diff(moved.reshape(10, 3)), np.tile([100, 200], (10, 1)))
    np.testing.assert_array_equal(moved_sizes, sizes)
    shifts = np.abs(moved - bursts).reshape(10, 3)[:, 0] / FS * 1000
    assert shifts.min() >= plan.SHIFT_MS[0] - 0.05
    assert shifts.max() <= plan.SHIFT_MS[1] + 0.05


def test_injected_spikes_keep_to_their_budget(world: World, donors: list[Donor]) -> None:
    n_spikes = sum(map(len, world.waveforms.spikes))
    within = planned(world, donors, number=None)
    assert len(within) >= FEWEST
    beyond_the_first = sum(len(injection.frames) for injection in within[FEWEST:])
    first = sum(len(injection.frames) for injection in within[:FEWEST])
    assert beyond_the_first == 0 or first + beyond_the_first <= plan.MOST_SPIKES * n_spikes
    assert len(planned(world, donors, number=8)) == 8  # a number that was given is kept to


def test_a_plan_without_donors_is_empty(world: World) -> None:
    assert planned(world, []) == []


def test_too_few_donors_are_told(world: World) -> None:
    rng = np.random.default_rng(0)
    small = replace(world.waveforms, snr=np.array([9, 1, 1, 1, 1, 1], dtype=np.float32))
    with pytest.raises(CannotValidateError, match="at least 2 units that can lend .* and 1 of 6 are such"):
        injections_for(world.binary, small, rng)
    with pytest.raises(CannotValidateError, match="room for at least 4 further neurons, and 3 were placed"):
        injections_for(world.binary, world.waveforms, rng, 3)
