"""Which pairs of units are one neuron: pairs of every kind that sorters make, with the trains that they have."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from spikelab import SpikeData
from spikelab.spikedata._alike import best_lag
from spikelab.spikedata._merge import merge_duplicates
from spikelab.spikedata._one_neuron import lags_between

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Times = NDArray[np.float64]

FS = 20_000.0
LENGTH = 120_000.0
FOUND = {"fs_Hz": FS}


def template(shift: int = 0, scale: float = 1.0, width: float = 3.0) -> NDArray[np.float32]:
    values = np.zeros((81, 3), dtype=np.float32)
    at = (np.arange(81) - 40 - shift) / width
    values[:, 0] = -50 * scale * np.exp(-0.5 * at**2)
    values[:, 1] = -20 * scale * np.exp(-0.5 * at**2)
    return values


def neuron(rate_hz: float, seed: int, length: float = LENGTH) -> Times:
    """Fire at random, 3 ms after the last spike at the earliest, in whole samples."""
    rng = np.random.default_rng(seed)
    times = np.cumsum(3.0 + rng.exponential(1000 / rate_hz - 3.0, int(2 * rate_hz * length / 1000) + 20))
    return np.rint(times[times < length - 10] * FS / 1000) * 1000 / FS


def judged(
    first: Times,
    second: Times,
    wave: NDArray[np.float32] | None = None,
    own: NDArray[np.float32] | None = None,
    more: tuple[dict[str, Any], dict[str, Any]] = ({}, {}),
    **parameters: Any,
) -> dict[str, Any]:
    """Judge two units, of which the second has the template `wave` and the first one `own`, by their merge."""
    waves = [template() if given is None else given for given in (own, wave)]
    attributes = [
        {"unit_id": unit, "x": 0.0, "y": 0.0, "snr": 9.0 - unit, "template": waves[unit],
         "spike_train_samples": times * 20, **more[unit]}
        for unit, times in enumerate((first, second))
    ]  # fmt: skip
    sd = SpikeData([first, second], length=LENGTH, neuron_attributes=attributes, metadata=FOUND)
    merged, _, evidence = merge_duplicates(sd, **parameters)
    assert (merged.N == 1) == any(pair["merged"] for pair in evidence)
    return {**(evidence[0] if evidence else {"verdict": "not tried", "merged": False}), "units": merged}


def ghost() -> tuple[Times, Times]:
    """Nine tenths of a small unit are spikes of a large one, a sample off at most."""
    rng = np.random.default_rng(0)
    parent = neuron(6, 1)
    stolen = np.sort(rng.choice(parent, 200, replace=False)) + rng.integers(-1, 2, 200) * 1000 / FS
    return parent, np.sort(np.append(stolen, neuron(0.2, 2)))


def sizes() -> tuple[Times, Times]:
    """The small spikes of a bursting neuron follow its large ones by 4 to 12 ms."""
    rng = np.random.default_rng(0)
    large = neuron(5, 1)
    small = large[rng.random(len(large)) < 0.4]
    return large, np.sort(np.rint((small + rng.uniform(4, 12, len(small))) * 20) / 20)


def in_time() -> tuple[Times, Times]:
    """A neuron drifts: its spikes are shared out by half-time, with five seconds in which either unit may get them."""
    rng = np.random.default_rng(0)
    times = neuron(2, 1)
    late = times + rng.normal(0, 1500, len(times)) > 60_000
    return times[~late], times[late]


def by_phase() -> tuple[Times, Times]:
    """The spikes of a busy neuron are shared out by where between two samples they fall: at random."""
    rng = np.random.default_rng(0)
    times = neuron(16, 1)
    which = rng.random(len(times)) < 0.6
    return times[which], times[~which]


@pytest.mark.parametrize(
    ("make", "wave", "verdict"),
    [
        (ghost, template(width=5.0, scale=0.4), "coincident"),
        (sizes, template(scale=0.5), "refractory"),
        (by_phase, template(), "refractory"),
        (in_time, template(width=3.6), "successive"),
    ],
)
def test_pieces_of_one_neuron_become_one(
    make: Callable[[], tuple[Times, Times]], wave: NDArray[np.float32], verdict: str
) -> None:
    first, second = make()
    found = judged(first, second, wave)
    assert (found["verdict"], found["merged"]) == (verdict, True)
    assert len(found["units"].train[0]) == len(first) + len(second) - found["n_coincident"]
    assert judged(second, first, own=wave)["verdict"] == verdict  # whichever is the better one


def mean_of(*parts: tuple[NDArray[np.float32], int]) -> NDArray[np.float32]:
    """Average waveforms, each of so many spikes."""
    total = sum(n for _, n in parts)
    return np.asarray(sum(wave * (n / total) for wave, n in parts), dtype=np.float32)


def elsewhere(scale: float) -> NDArray[np.float32]:
    """A neuron whose spikes are largest on another electrode."""
    return np.ascontiguousarray(template(scale=scale, width=5.0)[:, [2, 1, 0]])


@pytest.mark.parametrize("better", [False, True], ids=["second is better", "first is better"])
@pytest.mark.parametrize(
    ("own", "of_others", "snrs"),
    [
        (template(scale=2.6), template(scale=0.3), (13.0, 4.8)),  # one shape, and the others are next to nothing
        (template(scale=2.6), template(scale=0.3), (np.nan, np.nan)),
        (template(), elsewhere(1.2), (np.nan, np.nan)),  # as large, of another neuron
        (template(), template(), (13.0, 4.8)),  # the SNR of another clock than the templates: it counts as well
    ],
)
def test_a_neuron_whose_spikes_another_unit_has_too_is_not_lost(
    own: NDArray[np.float32], of_others: NDArray[np.float32], snrs: tuple[float, float], better: bool
) -> None:
    """40 spikes of one neuron, all of them in a unit of 127, whose other spikes are another neuron's."""
    inside, others = neuron(0.6, 1)[:40], neuron(1.2, 2)[:87] + 2.0
    both = np.sort(np.append(inside + 1000 / FS, others))
    mixed = mean_of((own, 40), (of_others, 87))
    more: Any = ({"snr": snrs[0]}, {"snr": snrs[1]})
    found = (
        judged(inside, both, mixed, own=own, more=more, cosine_threshold=0.0)
        if better
        else judged(both, inside, own, own=mixed, more=more[::-1], cosine_threshold=0.0)
    )
    assert (found["verdict"], found["merged"], found["n_taken"]) == ("contained", False, 40)
    larger = 1 if better else 0
    assert found["taken_from"] == larger
    units = found["units"]
    np.testing.assert_array_equal(units.train[1 - larger], inside)
    np.testing.assert_array_equal(units.train[larger], others)
    np.testing.assert_allclose(units.neuron_attributes[larger]["spike_train_samples"], others * 20)
    assert "merged_from" not in units.neuron_attributes[larger]


def test_spikes_of_a_neuron_that_were_found_twice_are_merged_though_few_of_the_larger_unit() -> None:
    """40 spikes of 127 again, of which a mean has its own noise; and the smaller spikes of a burst."""
    rng = np.random.default_rng(0)
    inside, others = neuron(0.6, 1)[:40], neuron(1.2, 2)[:87] + 2.0
    both = np.sort(np.append(inside + 1000 / FS, others))
    for scale in (1.0, 0.6):
        own = template(scale=scale) + rng.normal(0, 8 / np.sqrt(40), (81, 3)).astype(np.float32)
        noisy = template() + rng.normal(0, 8 / np.sqrt(87), (81, 3)).astype(np.float32)
        found = judged(inside, both, mean_of((own, 40), (noisy, 87)), own=own)
        assert (found["verdict"], found["merged"]) == ("coincident", True)
        assert len(found["units"].train[0]) == 127


def test_what_is_left_of_the_larger_unit_is_judged_by_its_own_waveform() -> None:
    """A unit holds the spikes of two neurons, each of which is a unit too, and some of its own."""
    waves = [template(scale=2.6), elsewhere(2.2), template(scale=0.3)]
    parts = [neuron(1.0, seed)[:n] + 0.5 * seed for seed, n in ((1, 40), (2, 30), (3, 70))]
    trains = [*parts[:2], np.sort(np.concatenate(parts))]
    shapes = [*waves[:2], mean_of(*((wave, len(part)) for wave, part in zip(waves, parts, strict=True)))]
    attributes = [{"unit_id": k, "x": 0.0, "y": 0.0, "template": shapes[k]} for k in range(3)]
    sd = SpikeData(trains, length=LENGTH, neuron_attributes=attributes, metadata=FOUND)
    merged, result, evidence = merge_duplicates(sd, cosine_threshold=0.1)
    assert [pair["verdict"] for pair in evidence if pair.get("n_taken")] == ["contained"] * 2
    assert [len(train) for train in merged.train] == [40, 30, 70]
    assert result["passed"].all()


def follows() -> tuple[Times, Times]:
    """One unit vanishes at 50 s, the other starts at 52 s."""
    times = neuron(2, 1)
    return times[times < 50_000], neuron(2, 2)[neuron(2, 2) > 52_000]


@pytest.mark.parametrize(
    ("width", "more", "merged"),
    [
        (5.5, ({}, {}), False),  # cosine of 0.92: neighbours have that too
        (5.5, ({"moved_um": 0.0, "size_ratio": 1.0}, {"moved_um": np.nan}), False),
        (5.5, ({"moved_um": 12.0}, {"moved_um": 0.0}), True),
        (5.5, ({}, {"size_ratio": 1.4}), True),
        (9.0, ({"moved_um": 12.0}, {}), False),  # cosine of 0.77
        (3.9, ({}, {}), True),  # 0.98
    ],
)
def test_units_that_follow_each_other_are_one_if_they_look_the_same_or_are_seen_to_change(
    width: float, more: tuple[dict[str, Any], dict[str, Any]], merged: bool
) -> None:
    found = judged(*follows(), template(width=width), more=more)
    assert (found["verdict"], found["merged"]) == ("successive" if merged else "different", merged)


def few() -> tuple[Times, Times]:
    """Two neighbours of 60 spikes each, which have no violation together either."""
    return neuron(0.5, 1), neuron(0.5, 2)


def busy() -> tuple[Times, Times]:
    return neuron(12, 1), neuron(12, 2)


def synchronous() -> tuple[Times, Times]:
    """Network bursts: 30 of 50 ms, in which either fires at 60 Hz, and next to nothing between them."""
    rng = np.random.default_rng(0)
    starts = np.arange(2_000.0, 116_000.0, 3_800.0)
    trains = []
    for seed in (1, 2):
        bursts = [start + neuron(60, 100 * seed + k, 60.0) for k, start in enumerate(starts)]
        trains.append(np.sort(np.concatenate([*bursts, rng.uniform(0, LENGTH, 30)])))
    return trains[0], trains[1]


def driven() -> tuple[Times, Times]:
    """The one fires 1 to 3 ms after the other, as a neuron that is driven by it."""
    rng = np.random.default_rng(0)
    first = neuron(4, 1)
    return first, np.sort(np.rint((first + rng.uniform(1, 3, len(first))) * 20) / 20)


def one_after_the_other() -> tuple[Times, Times]:
    """One neuron dies long before the other wakes up."""
    times = neuron(3, 1)
    return times[times < 40_000], neuron(3, 2)[neuron(3, 2) > 80_000]


def overlapping_in_time() -> tuple[Times, Times]:
    first, second = neuron(1, 1), neuron(1, 2)
    return first[first < 80_000], second[second > 40_000]


@pytest.mark.parametrize("make", [few, busy, synchronous, driven, one_after_the_other, overlapping_in_time])
def test_two_neurons_stay_two_however_alike_they_look(make: Callable[[], tuple[Times, Times]]) -> None:
    first, second = make()
    for a, b in ((first, second), (second, first)):
        found = judged(a, b)
        assert (found["verdict"], found["merged"]) == ("different", False)
        loose = judged(a, b, max_violation_rate=1, max_isi_increase=1)
        assert not loose["merged"]


def test_what_shares_spikes_needs_to_look_alike_to_be_pieces() -> None:
    assert judged(*by_phase(), template(width=12.0), cosine_threshold=0.5)["verdict"] == "different"
    assert judged(*by_phase(), template(width=12.0), cosine_threshold=0.95)["verdict"] == "not tried"


@pytest.mark.parametrize("twice", [False, True], ids=["shared out", "found twice"])
def test_an_axonal_neuron_aligned_in_two_ways_becomes_one_on_one_clock(twice: bool) -> None:
    """At its soma, and where the spike arrives 19 samples later: the same waveform comes earlier in that template."""
    lag = 19 * 1000 / FS
    times = neuron(16, 1)
    which = np.random.default_rng(0).random(len(times)) < 0.6
    first, second = (times, times) if twice else (times[which], times[~which])
    found = judged(first, second + lag, template(shift=-19), max_lag=40)
    assert (found["verdict"], found["merged"]) == ("coincident" if twice else "refractory", True)
    assert found["lag_ms"] == pytest.approx(lag)
    np.testing.assert_allclose(found["units"].train[0], times)
    np.testing.assert_allclose(found["units"].neuron_attributes[0]["spike_train_samples"], times * 20)
    assert not judged(first, second + lag, template(shift=-19))["merged"]  # the default lags do not reach
    if twice:  # spikes and templates say different lags
        assert not judged(first, second + lag, template(), max_lag=40)["merged"]


def test_units_that_were_moved_are_moved_with_their_group() -> None:
    """Three pieces, 12 samples apart each: the last one is like the middle one, which has been moved before."""
    times = neuron(16, 1)
    parts = [times[k::3] for k in range(3)]
    attributes = [
        {"x": 0.0, "y": 10.0 * k, "snr": 9.0 - k, "template": template(shift=-12 * k, width=3.0 + 0.2 * k)}
        for k in range(3)
    ]
    trains = [part + 12 * k * 1000 / FS for k, part in enumerate(parts)]
    sd = SpikeData(trains, length=LENGTH, neuron_attributes=attributes, metadata=FOUND)
    merged, _, evidence = merge_duplicates(sd, dist_um=11.0, max_lag=15)
    assert [pair["merged"] for pair in evidence] == [True, True]
    np.testing.assert_allclose(merged.train[0], times, atol=1e-6)


def test_lags_are_those_of_all_pairs() -> None:
    rng = np.random.default_rng(0)
    first, second = np.sort(rng.uniform(0, 300, 80)), np.sort(rng.uniform(0, 300, 90))
    every = (second[None] - first[:, None]).ravel()
    np.testing.assert_allclose(lags_between(first, second, 7.0, None), np.sort(every[np.abs(every) <= 7.0]))
    starts = np.array([100.0, 200.0])
    same = (second[None] // 100 == first[:, None] // 100).ravel()
    np.testing.assert_allclose(
        lags_between(first, second, 7.0, starts), np.sort(every[same & (np.abs(every) <= 7.0)]), atol=1e-9
    )


def test_the_lag_says_in_which_template_the_waveform_comes_later() -> None:
    cosine, lag = best_lag(template(shift=7), template(), 10)
    assert (round(cosine, 6), lag) == (1.0, 7)
    assert best_lag(template(), template(shift=7), 10)[1] == -7
