"""SpikeData as pynapple sees it."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from spikelab import SpikeData

pytest.importorskip("pynapple")


def sd(metadata: dict | None = None) -> SpikeData:
    return SpikeData(
        [[10.0, 500.0, 1500.0], [999.95, 1000.0, 1999.95]],
        length=2000.0,
        neuron_attributes=[
            {"unit_id": 4, "snr": 5.5, "channel_id": "a", "template": np.zeros((3, 2))},
            {"unit_id": 9, "snr": 7.0, "channel_id": "b", "template": np.ones((3, 2)), "extra": 1},
        ],
        metadata={"fs_Hz": 20_000.0, **(metadata or {})},
    )


def test_times_names_and_metadata() -> None:
    group = sd().to_pynapple()
    assert list(group.keys()) == [4, 9]
    np.testing.assert_allclose(group[4].t, [0.01, 0.5, 1.5])
    assert group["snr"].tolist() == [5.5, 7.0]
    assert group["channel_id"].tolist() == ["a", "b"]
    assert "template" not in group.metadata_columns
    assert "extra" not in group.metadata_columns  # not of every unit
    np.testing.assert_allclose(group.time_support.values, [[0, 2]])
    np.testing.assert_allclose(group.rates, [1.5, 1.5])


def test_epochs_are_the_time_support_and_no_spike_is_lost() -> None:
    group = sd({"rec_chunks_ms": [[0, 1000], [1000, 2000]]}).to_pynapple()
    assert len(group.time_support) == 2
    np.testing.assert_allclose(group.time_support.start, [0, 1])
    # The last sample of the first epoch is at 999.95 ms, the first of the second at 1000.
    np.testing.assert_allclose(group[9].t, [0.99995, 1.0, 1.99995])


def test_ids_that_are_no_distinct_integers_become_positions() -> None:
    named = SpikeData([[1.0], [2.0]], length=10.0, neuron_attributes=[{"unit_id": "a"}, {"unit_id": "b"}])
    assert list(named.to_pynapple().keys()) == [0, 1]
    assert len(SpikeData([], length=10.0).to_pynapple()) == 0
    assert len(SpikeData([[]], length=10.0).to_pynapple()[0]) == 0


def test_without_pynapple_the_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynapple", None)
    with pytest.raises(ImportError, match='pip install "pynapple>='):
        sd().to_pynapple()
