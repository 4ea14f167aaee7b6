"""Rounds: what comes out of one is read again as it was, and what all of them tell holds together."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.validation.conftest import World
from tests.validation.known import measured

from spikelab.spike_sorting.data import Validation
from spikelab.spike_sorting.data.validation import ABOUT, INJECTED
from spikelab.spike_sorting.validation import Round, conclude, injections_for, round_of, summary_of, write_injected
from spikelab.spike_sorting.validation.features import NAMES


@pytest.fixture(scope="module")
def rounds(world: World, tmp_path_factory: pytest.TempPathFactory) -> list[Round]:
    """Two sorts that find all that was there; the second misses half of what was put in."""
    made = []
    for number in range(2):
        injections = injections_for(world.binary, world.waveforms, np.random.default_rng(number), 6)
        trains = [injection.frames for injection in injections[number * 3 :]]
        mixed = write_injected(world.binary, injections, tmp_path_factory.mktemp("mixed") / "traces.dat")
        found = measured(mixed, [*world.trains, *trains])
        made.append(round_of(number, injections, world.binary, world.waveforms, found))
    return made


def test_a_round_holds_what_was_put_in_and_found(rounds: list[Round], world: World) -> None:
    first, second = rounds
    assert first.scores[:, 0].min() > 0.8  # some are aligned to a larger spike beside
    assert (second.scores[:3] == 0).all()
    assert second.scores[3:, 0].min() > 0.8
    assert (len(first.piece_scores), len(second.piece_scores)) == (6, 3)
    assert first.piece_features.shape == (6, len(NAMES))
    assert first.stability.tolist() == [1] * 6
    assert first.n_new == 0
    assert set(first.donor) <= set(world.waveforms.unit_ids)
    np.testing.assert_allclose(first.rate * world.binary.duration_s, first.n_spikes)


def test_rates_of_what_was_put_in_are_per_live_time(world: World) -> None:
    half = np.array([[0, world.binary.n_samples // 2]])
    injections = injections_for(world.binary, world.waveforms, np.random.default_rng(0), 6)
    made = round_of(0, injections, replace(world.binary, dead_time=half), world.waveforms, world.waveforms)
    np.testing.assert_allclose(made.rate * world.binary.duration_s / 2, made.n_spikes)


def test_a_round_is_read_as_it_was_written(rounds: list[Round], tmp_path: Path) -> None:
    odd = replace(rounds[1], piece_features=rounds[1].piece_features * np.nan, n_new=3)
    empty = replace(odd, piece_scores=np.empty((0, 3)), piece_features=np.empty((0, len(NAMES))))
    for each in (*rounds, odd, empty):
        each.save(tmp_path)
        loaded = Round.load(tmp_path)
        for field in fields(Round):
            np.testing.assert_array_equal(getattr(loaded, field.name), getattr(each, field.name))
        assert (type(loaded.number), type(loaded.n_new)) == (int, int)


def test_all_rounds_together(rounds: list[Round], world: World, tmp_path: Path) -> None:
    told = conclude(rounds, world.binary, world.waveforms)
    assert list(told.units) == world.waveforms.unit_ids.tolist()
    assert all({*ABOUT, "alike"} == set(values) for values in told.units.values())
    assert [row["round"] for row in told.injected] == [0] * 6 + [1] * 6
    for row in told.injected:
        assert tuple(row) == INJECTED
        place = world.binary.locations[world.binary.channel_ids.index(row["channel"])]
        assert [row["x"], row["y"]] == place.tolist()
    summary = told.summary
    assert (summary["rounds"], summary["n_injected"], summary["n_found"]) == (2, 12, 9)
    assert summary["stability"] == 1
    assert summary["n_new"] == 0
    known = [values["expected_accuracy"] for values in told.units.values() if values["alike"]]
    assert summary["n_known"] == len(known)
    assert summary["expected_accuracy"] == pytest.approx(np.mean(known))
    told.save(tmp_path)
    np.testing.assert_equal(vars(Validation.load(tmp_path)), vars(told))


def test_nothing_found_is_nothing_known(rounds: list[Round], world: World, tmp_path: Path) -> None:
    nothing = replace(
        rounds[0], scores=np.zeros((6, 3)), piece_scores=np.empty((0, 3)), piece_features=np.empty((0, len(NAMES)))
    )
    told = conclude([nothing], world.binary, world.waveforms)
    assert all(np.isnan(values["expected_accuracy"]) and not values["alike"] for values in told.units.values())
    summary = told.summary
    assert (summary["n_found"], summary["n_known"]) == (0, 0)
    assert summary["expected_accuracy"] is summary["smallest_snr"] is None
    told.save(tmp_path)
    np.testing.assert_equal(vars(Validation.load(tmp_path)), vars(told))
    assert summary_of([nothing], told.units) == summary


@pytest.mark.parametrize("channel", ["ch3", "3", "nan", "Infinity", "1e5"])
def test_a_validation_is_read_as_it_was_written(tmp_path: Path, channel: str) -> None:
    numbers: dict[str, Any] = dict.fromkeys(INJECTED[5:], np.nan)
    row = {"round": 0, "donor": 3, "channel": channel, "x": 0.5, "y": np.inf, **numbers}
    told = Validation([row], {7: {"stability": 1.0, "expected_accuracy": np.nan}}, {"smallest_snr": None})
    told.save(tmp_path)
    loaded = Validation.load(tmp_path)
    np.testing.assert_equal(vars(loaded), vars(told))
    assert type(loaded.injected[0]["channel"]) is str
    np.testing.assert_equal(loaded.metric("expected_accuracy"), {7: np.nan})
    assert loaded.metric("nothing") == {}
