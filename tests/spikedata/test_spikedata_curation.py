"""Criteria on spike trains, their combination and its record."""

from __future__ import annotations

import itertools
import json
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spikelab import SpikeData
from spikelab.spike_sorting._exceptions import EmptyWaveformMetricsError
from spikelab.spikedata import curation


def units(*trains, length=1000.0, **columns):
    attributes = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)] or None
    return SpikeData(trains, length=length, neuron_attributes=attributes)


def test_min_spikes():
    sd = units([1, 2, 3], [1, 2], [], unit_id=[5, 6, 7])
    kept, result = sd.curate_by_min_spikes(2)
    assert kept.unit_ids == [5, 6]
    np.testing.assert_array_equal(result["metric"], [3, 2, 0])
    np.testing.assert_array_equal(result["passed"], [True, True, False])
    assert sd.curate_by_min_spikes()[0].N == 0  # 30 by default


def test_firing_rate():
    sd = units([1, 2, 3], [5], length=20_000)
    kept, result = sd.curate_by_firing_rate(0.05)
    np.testing.assert_allclose(result["metric"], [0.15, 0.05])
    assert kept.N == 2
    assert sd.curate_by_firing_rate(0.1)[0].N == 1
    assert sd.curate_by_firing_rate()[0].N == 2


def test_firing_rate_without_length_is_zero():
    kept, result = SpikeData([[0], [0]]).curate_by_firing_rate(0.05)
    assert kept.N == 0
    assert result["metric"].tolist() == [0.0, 0.0]


def test_the_history_can_be_built_from_the_class():
    sd = SpikeData([[1], [2]], length=10)
    kept, result = sd.curate_by_min_spikes(1)
    assert SpikeData.build_curation_history(sd, kept, {"spikes": result})["curated_final"] == [0, 1]


def test_a_metric_without_a_source_names_what_measures_it():
    with pytest.raises(EmptyWaveformMetricsError, match="compute_waveform_metrics"):
        SpikeData([[1]], length=10).curate_by_snr(5)


def brute_violations(train, threshold, min_isi, chunks, length):
    count = 0
    for i, (start, end) in enumerate(chunks):
        last = i == len(chunks) - 1
        inside = sorted(t for t in train if start <= t and (t < end or (last and t <= length)))
        count += sum(min_isi <= b - a < threshold for a, b in itertools.pairwise(inside))
    return count


@settings(deadline=None)
@given(
    st.lists(st.lists(st.integers(0, 64 * 100), max_size=80), max_size=4),
    st.sets(st.integers(1, 64 * 100 - 1), max_size=5),
    st.integers(1, 64 * 4),
    st.integers(0, 32),
)
def test_isi_violations_match_brute_force(ticks, cuts, threshold, min_isi):
    bounds = [0, *sorted(cuts), 64 * 100]
    chunks = [(a / 64, b / 64) for a, b in itertools.pairwise(bounds)]
    trains = [[tick / 64 for tick in train] for train in ticks]
    sd = SpikeData(trains, length=100, metadata={"rec_chunks_ms": chunks})
    counts = [brute_violations(train, threshold / 64, min_isi / 64, chunks, 100) for train in trains]
    percent = [count / len(train) if len(train) > 1 else 0 for count, train in zip(counts, trains, strict=True)]
    hill = [
        count / (2 * len(train) * (threshold / 64 / 1000)) / (len(train) / 0.1) if len(train) > 1 else 0
        for count, train in zip(counts, trains, strict=True)
    ]
    for method, expected in (("percent", percent), ("hill", hill)):
        kept, result = sd.curate_by_isi_violations(0.1, threshold / 64, min_isi / 64, method)
        np.testing.assert_allclose(result["metric"], expected)
        np.testing.assert_array_equal(result["passed"], result["metric"] <= 0.1)
        assert result["passed"].sum() == kept.N


def test_isi_violation_details():
    sd = units([10, 11, 20, 21.5, 30, 30], [4], [])
    np.testing.assert_allclose(curation.isi_violations(sd), [2 / 6, 0, 0])  # 1.5 is none, 0 is one
    np.testing.assert_allclose(curation.isi_violations(sd, min_isi_ms=0.5), [1 / 6, 0, 0])
    np.testing.assert_allclose(curation.isi_violations(sd, method="hill"), [2 / (2 * 6 * 0.0015) / 6, 0, 0])
    with pytest.raises(ValueError, match=r"method must be one of \{'percent', 'hill', 'certain'\}, got 'x'"):
        sd.curate_by_isi_violations(method="x")
    with pytest.raises(ValueError, match="'threshold_ms' must be a positive"):
        sd.curate_by_isi_violations(threshold_ms=0)


def test_the_limit_itself_passes():
    sd = units(np.r_[0, 1, np.arange(10, 990, 10)], snr=[5.0], std_norm=[1.0])
    assert sd.curate_by_isi_violations(0.01)[1]["metric"] == [0.01]
    assert sd.curate(min_spikes=100, min_rate_hz=100, isi_max=0.01, min_snr=5, max_std_norm=1)[0].N == 1


def test_an_interval_across_files_is_no_violation():
    # Frame times rounded differently from the epoch's start must still fall into their epoch.
    fs = 19_753.77
    start = 30_001 / fs * 1000
    train = [30_000 * 1000 / fs, np.nextafter(start, 0)]
    whole = SpikeData([train], length=5000)
    assert curation.isi_violations(whole)[0] == 0.5
    cut = whole.replace(metadata={"rec_chunks_ms": [(0, start), (start, 5000)]})
    assert curation.isi_violations(cut)[0] == 0


def test_isi_of_many_spikes_is_fast():
    rng = np.random.default_rng(0)
    sd = SpikeData([np.sort(rng.uniform(0, 1e6, 10_000)) for _ in range(100)], length=1e6)
    sd.metadata["rec_chunks_ms"] = [(k * 1e5, (k + 1) * 1e5) for k in range(10)]
    start = time.process_time()
    curation.isi_violations(sd)
    assert time.process_time() - start < 0.5  # a million spikes; a loop over spikes takes longer


def test_waveform_attributes():
    sd = units([1], [2], [3], snr=[6.0, np.nan, 5.0], std_norm=[0.5, 1.0, None])
    kept, result = sd.curate_by_snr()
    np.testing.assert_array_equal(result["passed"], [True, False, True])
    np.testing.assert_array_equal(result["metric"], [6, np.nan, 5])
    assert kept.N == 2
    kept, result = sd.curate_by_std_norm()
    np.testing.assert_array_equal(result["passed"], [True, True, False])


@pytest.mark.parametrize(("name", "method"), [("snr", "curate_by_snr"), ("std_norm", "curate_by_std_norm")])
def test_no_waveforms_at_all(name, method):
    sd = SpikeData([[1], [2]], neuron_attributes=[{name: 3.0}, {}])
    with pytest.raises(EmptyWaveformMetricsError, match=name) as error:
        getattr(sd, method)(1.0)
    assert error.value.metric_name == name
    kept, result = getattr(sd, method)(None)
    assert kept.N == 2
    assert np.isnan(result["metric"]).all()
    kept, result = getattr(SpikeData([]), method)(1.0)  # nobody is missing a metric
    assert kept.N == 0
    assert result["metric"].shape == (0,)


def test_none_disables():
    sd = SpikeData([[0, 0], []])
    for name in ("curate_by_min_spikes", "curate_by_firing_rate", "curate_by_isi_violations"):
        kept, result = getattr(sd, name)(None)
        assert kept == sd
        assert result["passed"].all()
        assert result["passed"].shape == result["metric"].shape == (2,)
    assert sd.curate() == (sd, {})


def test_curate_narrows_step_by_step():
    sd = units(
        np.arange(0, 900, 10),
        np.arange(0, 90, 1),
        [1, 500],
        np.arange(0, 900, 10),
        np.arange(0, 900, 20),
        unit_id=[10, 11, 12, 13, 14],
        snr=[8, 8, 8, 3, 8],
        std_norm=[0.5, 0.5, 0.5, 0.5, 2.0],
    )
    kept, results = sd.curate(min_spikes=30, min_rate_hz=40, isi_max=0.01, min_snr=5, max_std_norm=1)
    assert kept.unit_ids == [10]
    assert list(results) == ["spike_count", "firing_rate", "isi_violation", "snr", "std_norm"]
    assert [len(result["metric"]) for result in results.values()] == [5, 4, 4, 3, 2]
    assert sd.curate(isi_max=0.01)[0].unit_ids == [10, 12, 13, 14]
    assert sd.curate(isi_max=0.01, isi_threshold_ms=20.5)[0].unit_ids == [12]
    assert sd.curate(isi_max=0.01, isi_min_ms=1.2)[0].N == 5
    assert sd.curate(isi_max=1.0, isi_method="hill")[0].unit_ids == [10, 12, 13, 14]


def test_history_of_a_chain_can_be_written_as_json():
    sd = units([1, 2, 3], [1], [1, 2, 3], [1, 2], unit_id=np.array([4, 8, 9, 2]), snr=[6.0, 7.0, np.nan, 8.0])
    kept, results = sd.curate(min_spikes=2, min_snr=5)
    history = build = curation.build_curation_history(
        sd, kept, results, {"min_spikes": np.int64(2), "snr": (5.0, np.inf)}
    )
    assert json.loads(json.dumps(history, allow_nan=False)) == build
    assert history == {
        "curation_parameters": {"min_spikes": 2, "snr": [5.0, "inf"]},
        "initial": [4, 8, 9, 2],
        "curations": ["spike_count", "snr"],
        "curated": {"spike_count": [4, 9, 2], "snr": [4, 2]},
        "failed": {"spike_count": [8], "snr": [9]},
        "metrics": {"spike_count": {"4": 3, "8": 1, "9": 3, "2": 2}, "snr": {"4": 6.0, "9": None, "2": 8.0}},
        "curated_final": [4, 2],
    }


def test_history_without_ids_and_of_independent_criteria():
    sd = SpikeData([[1, 2, 3], [1], [1, 2, 3]], length=10)
    kept, many = sd.curate_by_min_spikes(2)
    _, frequent = sd.curate_by_firing_rate(0)
    history = curation.build_curation_history(sd, kept, {"spike_count": many, "firing_rate": frequent})
    assert history["curated"] == {"spike_count": [0, 2], "firing_rate": [0, 1, 2]}
    assert history["curated_final"] == [0, 2]
    assert history["curation_parameters"] == {}
    with pytest.raises(ValueError, match=r"result of 'x' covers 5 units; expected 3 \(those that reached it\) or 3"):
        curation.build_curation_history(sd, kept, {"x": {"metric": np.ones(5), "passed": np.ones(5, bool)}})
