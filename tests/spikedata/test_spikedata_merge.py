"""Merging duplicates."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spikelab import SpikeData
from spikelab.spike_sorting._exceptions import EmptyWaveformMetricsError
from spikelab.spikedata._alike import cosine_over_lags
from spikelab.spikedata._merge import coincident

TIMES = np.arange(100.0, 9000, 20)


def template(shift=0, channel=0):
    values = np.zeros((60, 3), dtype=np.float32)
    values[:, channel] = -50 * np.exp(-0.5 * ((np.arange(60) - 25 - shift) / 3) ** 2)
    return values


def unit(unit_id, x=0.0, y=0.0, snr=5.0, wave=None, train=None):
    values = {"unit_id": unit_id, "x": x, "y": y, "snr": snr, "template": template() if wave is None else wave}
    if train is not None:
        values["spike_train_samples"] = np.rint(np.asarray(train) * 20).astype(np.int64)
    return values


def pair(other_train, **changes):
    first, second = TIMES, np.asarray(other_train)
    attributes = [unit(7, train=first), unit(8, train=second, **{"snr": 4.0, **changes})]
    return SpikeData([first, second], length=10_000, neuron_attributes=attributes)


@pytest.mark.parametrize(("groups", "n_units"), [(("a", "a"), 1), (("a", "b"), 2)])
def test_units_of_different_groups_are_never_merged(groups, n_units):
    sd = pair(TIMES)
    attributes = [{**values, "group": group} for values, group in zip(sd.neuron_attributes, groups, strict=True)]
    merged, result = sd.replace(neuron_attributes=attributes).curate_by_merge_duplicates(dist_um=1e6)
    assert len(merged.train) == n_units
    np.testing.assert_allclose(result["metric"], [0, 2 - n_units])


def test_duplicates_become_one_unit():
    sd = pair(np.concatenate([TIMES[:300] + 0.2, TIMES[300:] + 9]))
    merged, result = sd.curate_by_merge_duplicates()
    expected = np.sort(np.concatenate([TIMES, TIMES[300:] + 9]))
    np.testing.assert_array_equal(merged.train[0], expected)
    (values,) = merged.neuron_attributes
    assert values["unit_id"] == 7
    assert values["merged_from"] == [8]
    np.testing.assert_array_equal(values["spike_train_samples"], np.rint(expected * 20))
    np.testing.assert_allclose(result["metric"], [0, 1])  # of the unit that was taken in
    np.testing.assert_array_equal(result["passed"], [True, False])
    assert sd.N == 2
    assert "merged_from" not in sd.neuron_attributes[0]


def test_the_better_unit_keeps_its_place():
    assert pair(TIMES + 9, snr=6.0).curate_by_merge_duplicates()[0].unit_ids == [8]
    assert pair(TIMES[:90] + 9, snr=np.nan).curate_by_merge_duplicates()[0].unit_ids == [7]
    longer = np.append(TIMES + 9, [9500, 9600])
    assert pair(longer, snr=np.nan).curate_by_merge_duplicates()[0].unit_ids == [8]


@pytest.mark.parametrize(
    ("arguments", "n_units"),
    [
        ({}, 1),
        ({"dist_um": 9.9}, 2),
        ({"max_lag": 3}, 1),
        ({"max_lag": 3, "cosine_threshold": 0.995}, 2),
        ({"max_lag": 1}, 2),  # not alike enough for pieces of one neuron
        ({"cosine_threshold": 0.95}, 1),
    ],
)
def test_distance_and_likeness(arguments, n_units):
    sd = pair(TIMES + 9, x=6.0, y=8.0, wave=template(shift=4))
    merged, result = sd.curate_by_merge_duplicates(**arguments)
    assert n_units == merged.N
    assert result["metric"][0] == 0
    assert (result["metric"][1] > 0) == (n_units == 1)


def test_two_neurons_that_fire_closely_stay_apart():
    sd = pair(TIMES + 1.0)  # every merged pair of spikes violates the refractory period
    merged, result = sd.curate_by_merge_duplicates()
    assert merged == sd
    assert result["passed"].all()
    assert sd.curate_by_merge_duplicates(max_violation_rate=1, max_isi_increase=1)[0].N == 2
    assert sd.curate_by_merge_duplicates(delta_ms=1.0)[0].N == 1


def test_few_violations_are_necessary():
    # Two thirds are the other's, a third comes within its refractory period.
    sd = pair(np.concatenate([TIMES[:300], TIMES[300:] + 1.0]))
    assert sd.curate_by_merge_duplicates()[0].N == 2
    assert sd.curate_by_merge_duplicates(isi_threshold_ms=0.9)[0].N == 1
    assert sd.curate_by_merge_duplicates(max_violation_rate=0.25, max_isi_increase=0.25)[0].N == 1
    assert sd.curate_by_merge_duplicates(max_violation_rate=0.25, max_isi_increase=0.24)[0].N == 2
    assert sd.curate_by_merge_duplicates(max_violation_rate=0.24, max_isi_increase=0.25)[0].N == 2


def test_epoch_boundaries_part_spikes():
    sd = pair(TIMES + 0.1)
    assert len(sd.curate_by_merge_duplicates()[0].train[0]) == len(TIMES)
    chunks = np.sort(np.concatenate([[0, 10_000], TIMES + 0.05]))
    sd.metadata["rec_chunks_ms"] = list(itertools.pairwise(chunks))
    assert len(sd.curate_by_merge_duplicates()[0].train[0]) == 2 * len(TIMES)  # no spike was found twice


def test_groups_grow():
    trains = [TIMES + 5.0 * k for k in range(4)]
    attributes = [unit(k, snr=snr, x=10 * k) for k, snr in enumerate([3.0, 9.0, 4.0, 5.0])]
    attributes[3] |= {"x": 500.0}
    merged, result = SpikeData(trains, length=10_000, neuron_attributes=attributes).curate_by_merge_duplicates()
    assert merged.unit_ids == [1, 3]
    assert sorted(merged.neuron_attributes[0]["merged_from"]) == [0, 2]
    np.testing.assert_array_equal(merged.train[0], np.sort(np.concatenate(trains[:3])))
    np.testing.assert_array_equal(result["passed"], [False, True, False, True])
    np.testing.assert_allclose(result["metric"], [1, 0, 1, 0])
    again, _ = merged.replace(
        neuron_attributes=[values | {"x": 0.0} for values in merged.neuron_attributes]
    ).curate_by_merge_duplicates()
    assert sorted(again.neuron_attributes[0]["merged_from"]) == [0, 2, 3]


def test_members_follow_when_groups_are_taken_in():
    trains = [TIMES + 5.0 * k for k in range(4)]
    attributes = [unit(k, snr=1.0 + k) for k in range(4)]  # each merge finds a better unit
    merged, _ = SpikeData(trains, length=10_000, neuron_attributes=attributes).curate_by_merge_duplicates()
    assert merged.unit_ids == [3]
    assert sorted(merged.neuron_attributes[0]["merged_from"]) == [0, 1, 2]
    np.testing.assert_array_equal(merged.train[0], np.sort(np.concatenate(trains)))


def test_the_most_similar_pair_goes_first():
    # 0 is like 1 and more like 2; 1 and 2 fire too close together to be one neuron with 0 taken in by either.
    waves = [template(), template(shift=4), template(shift=1)]
    trains = [TIMES, TIMES + 10, TIMES + 11]
    attributes = [unit(k, snr=5.0 - k, wave=wave) for k, wave in enumerate(waves)]
    merged, _ = SpikeData(trains, length=10_000, neuron_attributes=attributes).curate_by_merge_duplicates(max_lag=0)
    assert merged.unit_ids == [0, 1]
    assert merged.neuron_attributes[0]["merged_from"] == [2]


def test_positions_from_channels_and_templates_from_raw_data():
    rng = np.random.default_rng(0)
    raw = rng.normal(0, 1, (3, 200_000)).astype(np.float32)
    other = TIMES + 9
    for t in [*TIMES, *other]:
        frame = int(t * 20)
        raw[:, frame - 25 : frame + 35] += template().T
    metadata = {"channel_locations": np.array([[0, 0], [100, 0], [200, 0]])}
    trains = [TIMES, other, []]
    sd = SpikeData(
        trains, length=10_000, metadata=metadata, neuron_attributes=[{"channel": 0}] * 3, raw_data=raw, raw_time=20.0
    )
    merged, result = sd.curate_by_merge_duplicates()
    assert [len(train) for train in merged.train] == [2 * len(TIMES), 0]
    assert result["metric"][2] == 0
    assert all("template" not in values for values in sd.neuron_attributes)  # measured for the search alone


def test_what_is_missing_is_said():
    with pytest.raises(
        ValueError, match=r"1 of 2 units have no position; expected .* 'x' and 'y'.*unit_locations is None"
    ):
        SpikeData([[1], [2]], neuron_attributes=[unit(1), {}]).curate_by_merge_duplicates()
    no_template = [{"x": 0.0, "y": 0.0}] * 2
    with pytest.raises(EmptyWaveformMetricsError, match="'template'") as error:
        SpikeData([[1], [2]], neuron_attributes=no_template).curate_by_merge_duplicates()
    assert error.value.metric_name == "template"
    with pytest.raises(ValueError, match=r"templates must have one shape"):
        pair(TIMES + 9, wave=np.ones((5, 3))).curate_by_merge_duplicates()


@pytest.mark.parametrize("n", [0, 1])
def test_nothing_to_compare(n):
    sd = SpikeData([[1.0]] * n, neuron_attributes=[{}] * n)
    merged, result = sd.curate_by_merge_duplicates()
    assert merged == sd
    assert result["metric"].shape == (n,)
    assert result["passed"].all()


def test_frames_that_do_not_fit_are_dropped():
    sd = pair(TIMES + 9)
    sd.neuron_attributes[1]["spike_train_samples"] = np.array([1, 2])
    (values,) = sd.curate_by_merge_duplicates()[0].neuron_attributes
    assert "spike_train_samples" not in values


def test_cosine():
    rng = np.random.default_rng(0)
    a = rng.normal(size=(20, 3))
    shifted = np.vstack([np.zeros((4, 3)), a[:-4]])
    assert cosine_over_lags(a, a, 0) == pytest.approx(1)
    assert cosine_over_lags(a, -a, 0) == pytest.approx(-1)
    expected = np.linalg.norm(a[:-4]) / np.linalg.norm(a)
    assert cosine_over_lags(a, shifted, 4) == pytest.approx(expected)
    assert cosine_over_lags(shifted, a, 100) == pytest.approx(expected)
    assert cosine_over_lags(a, shifted, 3) < 0.5
    assert np.isnan(cosine_over_lags(a, np.zeros((20, 3)), 3))
    assert np.isnan(cosine_over_lags(a, np.full((20, 3), np.nan), 3))


@settings(deadline=None)
@given(st.lists(st.integers(0, 500)), st.lists(st.integers(0, 500)), st.integers(0, 20))
def test_coincidences_match_brute_force(times, reference, delta):
    times, reference = np.sort(np.array(times, float)), np.sort(np.array(reference, float))
    expected = [any(abs(t - r) <= delta for r in reference) for t in times]
    np.testing.assert_array_equal(coincident(times, reference, delta), expected)


@settings(deadline=None)
@given(st.lists(st.integers(0, 500)), st.lists(st.integers(0, 500)), st.integers(0, 20), st.sets(st.integers(1, 499)))
def test_spikes_on_either_side_of_a_gap_do_not_coincide(times, reference, delta, starts):
    times, reference = np.sort(np.array(times, float)), np.sort(np.array(reference, float))
    starts = np.array(sorted(starts), float)
    pairs = [(t, r) for t in times for r in reference if np.sum(starts <= t) == np.sum(starts <= r)]
    expected = [any(t == a and abs(a - r) <= delta for a, r in pairs) for t in times]
    np.testing.assert_array_equal(coincident(times, reference, delta, starts), expected)
