"""What flows between stages: no unit loses its spikes on the way."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from spikeinterface.core import NumpySorting

from spikelab.spike_sorting.data import SpikeTrains, integer_ids, rows_of_each


@pytest.mark.parametrize(
    ("ids", "expected"),
    [
        ([3, 7], [3, 7]),
        (["3", "-7"], [3, -7]),
        ([4.0, np.int64(5)], [4, 5]),
        (["1", "01"], [0, 1]),
        (["0_1", "0_11", "1_1"], [0, 1, 2]),  # Python takes "0_11" for 11
        ([1.2, 1.7], [0, 1]),
        (["7", "+7", " 7"], [0, 1, 2]),
        ([2, 2**70], [0, 1]),
        ([1, float("nan"), float("inf")], [0, 1, 2]),
        (["unit"], [0]),
        ([], []),
    ],
)
def test_integers_stand_for_ids_one_for_one(ids: list[Any], expected: list[int]) -> None:
    assert integer_ids(ids) == expected


@given(st.lists(st.one_of(st.integers(), st.text("01_+- .", max_size=3), st.floats(allow_nan=False)), unique=True))
def test_no_two_ids_are_made_one(ids: list[Any]) -> None:
    assert len(set(integer_ids(ids))) == len(ids)


def test_ids_that_are_equal_as_numbers_keep_their_spikes() -> None:
    given_trains = {"0_1": np.array([10, 20]), "0_11": np.array([30, 40, 50]), "1_1": np.array([60])}
    found = SpikeTrains.from_spikeinterface(NumpySorting.from_unit_dict([given_trains], 20000.0))
    assert found.unit_ids.tolist() == [0, 1, 2]
    assert [train.tolist() for train in found.samples] == [[10, 20], [30, 40, 50], [60]]


@given(st.lists(st.sampled_from([-5, 0, 3, 70_000, 2**62]), max_size=30))
def test_rows_of_each_are_those_of_a_mask(labels: list[int]) -> None:
    array, values = np.array(labels, dtype=np.int64), [-5, 0, 1, 3, 70_000, 2**62]
    rows = rows_of_each(array, values)
    assert [row.tolist() for row in rows] == [np.flatnonzero(array == value).tolist() for value in values]


def test_spikes_come_back_as_they_were(tmp_path: Path) -> None:
    trains = SpikeTrains.from_dict({-2: [5, 1], 7: [], 70_000: [3, 3, 9]})
    trains.save(tmp_path / "spikes.npz")
    found = SpikeTrains.load(tmp_path / "spikes.npz")
    assert found.unit_ids.tolist() == [-2, 7, 70_000]
    assert [train.tolist() for train in found.samples] == [[1, 5], [], [3, 3, 9]]
