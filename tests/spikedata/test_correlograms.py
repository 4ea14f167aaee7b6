"""Correlograms: those of SpikeInterface and of phylib on the same trains."""

from __future__ import annotations

import numpy as np
import pytest

from spikelab.spikedata import _correlograms
from spikelab.spikedata._correlograms import correlogram

FS = 20_000.0


def trains(n_frames: int = 200_000) -> list[np.ndarray]:
    """Three trains without a frame in common: phylib's count of those depends on their order."""
    frames = np.random.default_rng(3).permutation(n_frames)[:2500]
    return [np.sort(frames[:1800]), np.sort(frames[1800:2400]), np.sort(frames[2400:])]


def test_they_are_those_of_spikeinterface() -> None:
    from spikeinterface.core import NumpySorting
    from spikeinterface.postprocessing import compute_correlograms

    own = trains()
    own[1][:50] = own[0][:50]  # some spikes at one frame
    own[1].sort()
    sorting = NumpySorting.from_unit_dict(dict(enumerate(own)), FS)
    expected, _ = compute_correlograms(sorting, window_ms=50.0, bin_ms=0.5, method="numpy")
    for a in range(3):
        for b in range(3):
            found = correlogram(own[b], own[a], 10, 50, same=a == b)
            np.testing.assert_array_equal(found, expected[a, b])


def test_they_are_those_of_phylib() -> None:
    ccg = pytest.importorskip("phylib.stats.ccg")
    own = trains()
    times, clusters = np.concatenate(own), np.repeat(np.arange(3), list(map(len, own)))
    order = np.argsort(times)
    expected = ccg.correlograms(
        (times[order] + 0.5) / FS, clusters[order], np.arange(3), sample_rate=FS, bin_size=0.0005, window_size=0.05
    )
    for a in range(3):
        for b in range(3):
            # phylib counts every lag by its size, and has one bin for those around zero on either side.
            after = correlogram(own[a], own[b], 10, 51, same=a == b)[51:]
            before = correlogram(own[b], own[a], 10, 51, same=a == b)[51:]
            found = np.concatenate([before[:0:-1], [max(before[0], after[0])], after[1:]])
            np.testing.assert_array_equal(found, expected[a, b])


def test_no_pair_lies_across_a_boundary(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = np.array([100, 190, 210, 300]), np.array([195, 205, 400])
    assert correlogram(first, second, 10, 2).tolist() == [1, 1, 1, 1]
    assert correlogram(first, second, 10, 2, np.array([200])).tolist() == [0, 1, 1, 0]
    whole = correlogram(*trains()[:2], 10, 50)
    monkeypatch.setattr(_correlograms, "PAIRS_AT_A_TIME", 7)
    np.testing.assert_array_equal(correlogram(*trains()[:2], 10, 50), whole)
    assert correlogram(first[:0], second, 10, 2).tolist() == [0, 0, 0, 0]
