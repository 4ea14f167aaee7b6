"""The published split: by latencies, electrode by electrode, then by size."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from small import peaks_of, row_of_electrodes
from spikelab.spike_sorting.rt_sort.learning import branches as branching
from spikelab.spike_sorting.rt_sort.learning.branches import (
    branches_of,
    latencies_of,
    split_branches,
)
from spikelab.spike_sorting.rt_sort.parameters import resolve

DISTANCES = np.array([20.0, 20.0, 28.0, 40.0])
ON = {"max_n_components_latency": 4}
SIZES = {"split_coc_clusters_amps": True}
# Parameter -> value that shows, and what else is set.
BRANCH_PARAMETERS: dict[str, tuple[Any, dict[str, Any]]] = {
    "max_n_components_latency": (4, {}),
    "min_coc_p": (45.0, ON),
    "min_extend_comp_p": (100.0, ON),
    "elec_patience": (1, ON),
    "split_coc_clusters_amps": (True, {}),
    "min_amp_dist_p": (0.0, SIZES),
    "max_n_components_amp": (1, SIZES),
}


def two_neurons(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Neurons 0 (60 %) and 1 differ by 8 frames on the last electrode, and in size."""
    neuron = (np.arange(200) >= 120).astype(int)
    latencies = np.rint(rng.normal([2.0, 3.0, 5.0, 6.0], 0.4, (200, 4))).astype(np.float32)
    latencies[:, 3] -= 8 * neuron
    latencies[rng.random((200, 4)) < 0.1] = np.nan
    return latencies, (rng.normal(20, 1, 200) - 10 * neuron).astype(np.float32), neuron


def test_neurons_with_other_latencies_are_told_apart() -> None:
    latencies, sizes, neuron = two_neurons(np.random.default_rng(0))
    labels = split_branches(latencies, DISTANCES, sizes, resolve("mea", ON))
    seen = np.isfinite(latencies[:, 3])
    shares = [np.bincount(labels[seen & (neuron == k) & (labels >= 0)]).max() for k in (0, 1)]
    assert shares == [np.sum(seen & (neuron == k)) for k in (0, 1)]
    assert len({int(np.bincount(labels[seen & (neuron == k)]).argmax()) for k in (0, 1)}) == 2


def test_one_neuron_stays_whole() -> None:
    rng = np.random.default_rng(1)
    latencies = np.rint(rng.normal([2.0, 3.0, 5.0, 6.0], 0.4, (200, 4))).astype(np.float32)
    labels = split_branches(latencies, DISTANCES, rng.normal(20, 1, 200).astype(np.float32), resolve("mea", ON | SIZES))
    assert labels.tolist() == [0] * 200


@pytest.mark.parametrize("name", BRANCH_PARAMETERS)
def test_every_parameter_has_an_effect(name: str) -> None:
    value, others = BRANCH_PARAMETERS[name]
    latencies, sizes, _ = two_neurons(np.random.default_rng(0))
    before = split_branches(latencies, DISTANCES, sizes, resolve("mea", others))
    after = split_branches(latencies, DISTANCES, sizes, resolve("mea", {**others, name: value}))
    assert before.tolist() != after.tolist()


def test_latencies_are_those_of_the_surest_peak() -> None:
    frames = np.array([95, 100, 103, 104, 130], dtype=np.int64)
    channels = np.array([2, 0, 1, 1, 1], dtype=np.int32)
    logits = np.array([1.0, 3.0, 0.5, 2.0, 9.0], dtype=np.float32)
    found = latencies_of(frames, channels, logits, np.array([100]), np.array([1, 2, 3]), 10, 10, 4)
    np.testing.assert_array_equal(found, [[4, -5, np.nan]])


# Small arrays


def latencies(peaks: list[tuple[int, int, float]], electrodes: list[int], before: int = 5, after: int = 3) -> list:
    """Of one event at frame 100, from peaks of (frame, channel, logit); None where there is none."""
    frames, channels, logits = (np.array(column) for column in zip(*peaks, strict=True))
    found = latencies_of(
        frames, channels.astype(np.int32), logits.astype(np.float32), np.array([100]), np.array(electrodes), before,
        after, 4,
    )  # fmt: skip
    return [None if np.isnan(value) else int(value) for value in found[0]]


def test_latencies_reach_from_before_to_after() -> None:
    peaks = [(94, 0, 9.0), (95, 1, 1.0), (103, 2, 1.0), (104, 3, 9.0)]
    assert latencies(peaks, [0, 1, 2, 3]) == [None, -5, 3, None]
    assert latencies(peaks, [0, 1, 2, 3], before=6, after=4) == [-6, -5, 3, 4]


def test_of_equally_sure_peaks_the_earlier_counts_and_padding_is_no_electrode() -> None:
    assert latencies([(99, 1, 2.0), (101, 1, 2.0), (102, 3, 1.0)], [1, -1, 2]) == [-1, None, None]


def test_each_event_has_latencies_of_its_own() -> None:
    frames, logits = np.array([10, 21, 30]), np.array([5.0, 1.0, 1.0], dtype=np.float32)
    found = latencies_of(frames, np.zeros(3, dtype=np.int32), logits, np.array([12, 20]), np.array([0]), 3, 3, 1)
    assert found.tolist() == [[-2], [1]]


EVEN = {
    "max_n_components_latency": 2, "min_coc_n": 4, "min_coc_p": 0.0, "min_extend_comp_p": 50.0, "elec_patience": 6,
}  # fmt: skip


def columns(*latencies_of_electrodes: list[float]) -> np.ndarray:
    return np.array(latencies_of_electrodes, dtype=np.float32).T


def split_of(
    values: np.ndarray, distances: list[float], sizes: np.ndarray | None = None, **parameters: Any
) -> list[int]:
    given = np.ones(len(values), dtype=np.float32) if sizes is None else sizes.astype(np.float32)
    return split_branches(values, np.array(distances), given, resolve("mea", EVEN | parameters)).tolist()


NAN = float("nan")
TWO = [-5.0] * 6 + [5.0] * 6
FLAT = [1.0] * 12


def parts(labels: list[int]) -> set[tuple[int, ...]]:
    """Rows of each branch."""
    return {tuple(np.flatnonzero(np.array(labels) == label)) for label in set(labels) if label >= 0}


HALVES = {(0, 1, 2, 3, 4, 5), (6, 7, 8, 9, 10, 11)}


def test_events_are_split_where_latencies_have_two_modes() -> None:
    assert split_of(columns(FLAT), [20]) == [0] * 12
    assert parts(split_of(columns(TWO), [20])) == HALVES
    assert parts(split_of(columns(FLAT, TWO), [20, 40])) == HALVES
    assert split_of(columns(TWO), [20], max_n_components_latency=1) == [0] * 12


def test_a_branch_is_split_again_by_the_electrodes_that_are_left() -> None:
    quarters = [-5.0] * 3 + [5.0] * 3 + [-5.0] * 3 + [5.0] * 3
    found = parts(split_of(columns(TWO, quarters), [20, 40], min_coc_n=3))
    assert found == {(0, 1, 2), (3, 4, 5), (6, 7, 8), (9, 10, 11)}


def test_events_that_an_electrode_does_not_see_are_a_part_of_their_own() -> None:
    values = columns([-5.0] * 5 + [5.0] * 5 + [NAN] * 4)
    assert parts(split_of(values, [20])) == {tuple(range(5)), tuple(range(5, 10)), tuple(range(10, 14))}


def test_an_electrode_that_sees_too_few_splits_nothing() -> None:
    values = columns([-5.0] * 4 + [5.0] * 4 + [NAN] * 8)
    assert len(parts(split_of(values, [20], min_extend_comp_p=50.0))) == 3  # half of them is enough
    assert parts(split_of(values, [20], min_extend_comp_p=51.0)) == {tuple(range(16))}
    alone = columns([3.0] + [NAN] * 5)
    assert split_of(alone, [20], min_extend_comp_p=0.0) == [0] * 6


def test_branches_that_are_too_small_are_none() -> None:
    values = columns([-5.0] * 8 + [5.0] * 4)
    assert split_of(values, [20], min_coc_n=4).count(-1) == 0
    assert split_of(values, [20], min_coc_n=5) == [0] * 8 + [-1] * 4
    assert split_of(values, [20], min_coc_n=0, min_coc_p=33.4).count(-1) == 0  # four of twelve
    assert split_of(values, [20], min_coc_n=0, min_coc_p=40.0) == [0] * 8 + [-1] * 4
    assert split_of(columns(FLAT)[:1], [20], min_coc_n=0) == [-1]
    assert split_of(columns(FLAT)[:2], [20], min_coc_n=0) == [0, 0]


def test_patience_counts_distances_without_a_split() -> None:
    """Electrodes at one distance count once; the last one of all counts too."""
    values = columns(FLAT, FLAT, FLAT, TWO)
    assert parts(split_of(values, [20, 20, 40, 60], elec_patience=3)) == HALVES
    assert split_of(values, [20, 20, 40, 60], elec_patience=2) == [0] * 12
    assert split_of(values, [20, 30, 40, 60], elec_patience=3) == [0] * 12
    assert split_of(values, [20, 30, 40, 60], elec_patience=0) == [0] * 12
    # A split begins the count anew.
    quarters = [-5.0] * 3 + [5.0] * 3 + [-5.0] * 3 + [5.0] * 3
    twice = columns(FLAT, TWO, FLAT, quarters)
    assert len(parts(split_of(twice, [20, 40, 60, 80], elec_patience=2, min_coc_n=3))) == 4
    assert len(parts(split_of(twice, [20, 40, 60, 80], elec_patience=1, min_coc_n=3))) == 1


def test_sizes_of_two_modes_are_two_branches() -> None:
    rng = np.random.default_rng(0)
    sizes = np.concatenate([rng.normal(10, 0.5, 30), rng.normal(30, 0.5, 30)])
    flat = np.ones((60, 1), dtype=np.float32)
    on = {"split_coc_clusters_amps": True, "max_n_components_latency": 1}
    halves = {tuple(range(30)), tuple(range(30, 60))}
    assert parts(split_of(flat, [20], sizes, **on)) == halves
    assert split_of(flat, [20], sizes, max_n_components_latency=1) == [0] * 60
    assert split_of(flat, [20], rng.normal(10, 1, 60), **on) == [0] * 60
    assert split_of(flat, [20], sizes, **on, max_n_components_amp=1) == [0] * 60
    assert split_of(flat, [20], sizes, **on, min_coc_n=31) == [0] * 60  # not enough for two
    assert parts(split_of(flat, [20], sizes, **on, min_coc_n=30)) == halves


def branches(peaks: list[tuple[float, ...]], events: list[int], **parameters: Any) -> list[int]:
    """Branches of the events at some rows of peaks (frame, channel, logit, amplitude), at 10 kHz, 20 um apart."""
    chosen = resolve("mea", EVEN | {"loose_thresh": 0.1, "stringent_thresh": 0.5} | parameters)
    every = peaks_of(peaks)
    return branches_of(every[events], every, row_of_electrodes(4), 10_000.0, chosen).tolist()


def test_branches_are_found_for_each_root() -> None:
    """Electrode 1 sees root 0 three frames later, or three before; root 3 has but one latency, on electrode 2."""
    peaks, events = [], []
    for k in range(12):
        frame = 100 * k + 50
        rows = [(frame, 0, 1.0, -5.0), (frame + (3 if k < 6 else -3), 1, 1.0, -3.0)]
        rows += [(frame + 20, 3, 1.0, -5.0), (frame + 22, 2, 1.0, -3.0)]
        rows.sort()
        events += [len(peaks) + i for i, row in enumerate(rows) if row[1] in (0, 3)]
        peaks += rows
    found = np.array(branches(peaks, events))
    assert parts(found[::2].tolist()) == HALVES
    assert found[1::2].tolist() == [0] * 12
    assert branches(peaks, events, max_n_components_latency=1) == [0] * 24
    assert branches(peaks, events, ms_before=0.2, ms_after=0.2) == [0] * 24  # two frames
    assert branches(peaks, events, outer_radius=19.0) == [0] * 24


def test_peaks_below_the_loose_probability_are_not_seen() -> None:
    """A probability of 0.5 is a logit of 0."""

    def rows(logit: float) -> list[tuple[float, ...]]:
        pairs = [
            sorted([(100 * k + 50, 0, 1.0, -5.0), (100 * k + (53 if k < 6 else 47), 1, logit, -3.0)]) for k in range(12)
        ]
        return [row for pair in pairs for row in pair]

    events = [2 * k + (0 if k < 6 else 1) for k in range(12)]
    assert parts(branches(rows(0.0), events, loose_thresh=0.5)) == HALVES
    assert branches(rows(-0.1), events, loose_thresh=0.5) == [0] * 12


def test_three_latencies_are_three_branches() -> None:
    values = columns([-9.0] * 5 + [0.0] * 5 + [9.0] * 5)
    thirds = {tuple(range(5)), tuple(range(5, 10)), tuple(range(10, 15))}
    assert parts(split_of(values, [20], max_n_components_latency=3)) == thirds


def test_latencies_vary_by_a_third_of_a_frame_at_least(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, float]] = []

    def mixture(values: np.ndarray, most: int, least_variance: float) -> np.ndarray:
        asked.append((most, least_variance))
        return np.zeros(len(values), dtype=np.int64)

    monkeypatch.setattr(branching, "mixture_1d", mixture)
    split_of(columns(TWO), [20])
    assert asked == [(2, 0.3)]


def test_a_crest_is_as_large_as_a_trough() -> None:
    rows = [(100 * k + 50, 0, 1.0, 20.0 + 0.1 * (k % 7) if k % 2 else -20.0 - 0.1 * (k % 7)) for k in range(40)]
    on = {"split_coc_clusters_amps": True, "max_n_components_latency": 1, "max_n_components_amp": 2}
    assert branches(rows, list(range(40)), **on) == [0] * 40
    rows = [(100 * k + 50, 0, 1.0, -20.0 - 0.1 * (k % 7) - 30 * (k % 2)) for k in range(40)]
    assert parts(branches(rows, list(range(40)), **on)) == {tuple(range(0, 40, 2)), tuple(range(1, 40, 2))}
