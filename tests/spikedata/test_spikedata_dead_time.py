"""Dead time of spike data: rates, intervals, cuts and joints."""

from __future__ import annotations

import numpy as np
import pytest

from spikelab import SpikeData
from spikelab.spikedata import curation


def _data(dead=((0.2, 0.3), (0.6, 0.9)), **metadata):
    """One second; spikes on either side of the dead time, at 1 ms within the refractory period."""
    times = [100, 199.5, 300.5, 301.2, 599.6, 900, 950]
    return SpikeData(
        [times], length=1000, metadata={"dead_time_s": [list(p) for p in dead], "fs_Hz": 1000.0, **metadata}
    )


def test_rates_count_the_time_that_is_left():
    assert _data().rates("Hz") == pytest.approx([7 / 0.6])
    assert _data(dead=()).rates("Hz") == pytest.approx([7])
    assert _data(dead=((-1, 3),)).rates("Hz") == [0]
    kept, result = curation.curate_by_firing_rate(_data(), 10)
    assert kept.N == 1
    assert result["metric"] == pytest.approx([7 / 0.6])


def test_no_interval_crosses_dead_time():
    (gaps,) = _data().interspike_intervals()
    assert gaps == pytest.approx([99.5, 0.7, 298.4, 50])
    short = SpikeData([[100, 100.5, 101.2]], length=200, metadata={"dead_time_s": [[0.1002, 0.1004]]})
    assert curation.isi_violations(short).tolist() == pytest.approx([1 / 3])


def test_the_estimate_of_contamination_takes_live_time():
    whole = curation.isi_violations(_data(dead=()), method="hill")
    live = curation.isi_violations(_data(dead=((0.0, 0.05), (0.4, 0.5))), method="hill")
    assert live == pytest.approx(0.85 * whole)


def test_intervals_end_at_epochs_and_at_dead_time():
    (gaps,) = _data(rec_chunks_ms=[[0, 940], [940, 1000]]).interspike_intervals()
    assert gaps == pytest.approx([99.5, 0.7, 298.4])


def test_cuts_take_their_dead_time_along():
    part = _data().subtime(250, 700)
    assert np.ravel(part.metadata["dead_time_s"]) == pytest.approx([0, 0.05, 0.35, 0.45])
    assert np.ravel(_data().subtime(250, 700, shift_to=600).metadata["dead_time_s"]) == pytest.approx(
        [-0.35, -0.3, 0, 0.1]
    )
    assert "dead_time_s" not in _data().subtime(300, 600).metadata
    first, second = _data(rec_chunks_ms=[[0, 500], [500, 1000]]).split_epochs()
    assert np.ravel(first.metadata["dead_time_s"]) == pytest.approx([0.2, 0.3])
    assert np.ravel(second.metadata["dead_time_s"]) == pytest.approx([0.1, 0.4])


def test_joints_keep_the_dead_time_of_both():
    both = _data(dead=((0.9, 1.0),)).append(_data(dead=((0.0, 0.1), (0.5, 0.6))))
    assert np.ravel(both.metadata["dead_time_s"]) == pytest.approx([0.9, 1.1, 1.5, 1.6])
    assert "dead_time_s" not in SpikeData([[1]], length=10).append(SpikeData([[1]], length=10)).metadata


def test_a_period_that_ends_before_it_starts_is_an_error():
    with pytest.raises(ValueError, match="start < end in seconds"):
        _data(dead=((0.5, 0.4),)).rates()


def test_pynapple_supports_the_time_that_is_left():
    pytest.importorskip("pynapple")
    support = _data().to_pynapple().time_support
    assert np.ravel(support.values) == pytest.approx([0, 0.2, 0.3, 0.6, 0.9, 1.0])
    clock = [{"ms": 0.0, "clock_s": 100.0, "zero": "", "scale": 1.0}]
    on_file = _data(clock=clock).to_pynapple(clock="file").time_support
    assert np.ravel(on_file.values) == pytest.approx([100, 100.2, 100.3, 100.6, 100.9, 101.0])


@pytest.mark.parametrize("suffix", [".npz", ".h5"])
def test_files_hold_it(tmp_path, suffix):
    path = tmp_path / f"data{suffix}"
    _data().save(path)
    assert SpikeData.load(path).metadata["dead_time_s"] == [[0.2, 0.3], [0.6, 0.9]]


def test_what_is_left_out_between_two_recordings_is_no_live_time():
    piece = SpikeData([[100, 900], []], length=1000, metadata={"dead_time_s": [[0.5, 0.6]]})
    joined = piece.append(piece, offset=8000)
    assert joined.metadata["dead_time_s"] == [[0.5, 0.6], [1.0, 9.0], [9.5, 9.6]]
    np.testing.assert_allclose(joined.rates("Hz"), [4 / 1.8, 0])
    assert [part.metadata["dead_time_s"] for part in joined.split_epochs()] == [[[0.5, 0.6]], [[0.5, 0.6]]]
    alone = SpikeData([[100, 900]], length=1000)
    np.testing.assert_allclose(alone.append(alone, offset=8000).rates("Hz"), [2.0])
    assert "dead_time_s" not in alone.append(alone).metadata
