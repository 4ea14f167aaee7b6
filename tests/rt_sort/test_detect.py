"""What leads from peaks to sequences, step by step, on a few events."""

from __future__ import annotations

import tracemalloc
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from small import peaks_of, row_of_electrodes, traces_of
from spikelab.spike_sorting._exceptions import InsufficientActivityError
from spikelab.spike_sorting.rt_sort import detect
from spikelab.spike_sorting.rt_sort.detect import Learner, detect_all
from spikelab.spike_sorting.rt_sort.detection.peaks import PEAK
from spikelab.spike_sorting.rt_sort.matching.moving import Versions
from spikelab.spike_sorting.rt_sort.matching.peeling import SPIKE
from spikelab.spike_sorting.rt_sort.parameters import resolve
from spikelab.spike_sorting.rt_sort.whitening import Noise

RATE = 20_000.0
EASY = {"min_activity_hz": 0.0, "min_coc_n": 2, "outer_radius": 40.0}


def learner(n_frames: int = 1000, n_channels: int = 4, values: np.ndarray | None = None, **parameters: Any) -> Learner:
    noise = Noise(
        np.ones(n_channels, dtype=np.float32), np.eye(n_channels, dtype=np.float32), np.ones(1, dtype=np.float32)
    )
    traces = traces_of(np.zeros((n_frames, n_channels)) if values is None else values, RATE)
    return Learner(traces, noise, resolve("mea", EASY | parameters), seed=0)


def test_windows_of_a_learner_are_in_frames() -> None:
    made = learner(ms_after=0.4)
    assert (made.before, made.after, made.origin, made.reach) == (20, 30, 6, 8)
    assert learner(ms_after=0.0).reach == 1


def frames_of(events: np.ndarray) -> list[int]:
    return [int(frame) for frame in events["frame"]]


def test_events_whose_window_leaves_the_recording_are_left_out() -> None:
    peaks = peaks_of([(19, 0, 3, -9), (20, 3, 3, -9), (500, 0, 3, -9), (969, 0, 3, -9), (970, 3, 3, -9)])
    assert frames_of(learner().events(peaks)) == [20, 500, 969]
    assert len(learner(max_events=2).events(peaks)) == 2


def test_electrodes_that_are_alone_are_told_of(caplog: pytest.LogCaptureFixture) -> None:
    peaks = peaks_of([(500, 0, 3, -9)])
    learner(inner_radius=20.0).events(peaks)
    assert "no two of" not in caplog.text
    learner(inner_radius=19.0).events(peaks)
    assert "no two of 4 electrodes are within 19 um" in caplog.text


def test_without_events_it_is_said_what_there_was() -> None:
    with pytest.raises(InsufficientActivityError, match="the network sees no spike on any electrode"):
        learner().events(peaks_of([]))
    with pytest.raises(InsufficientActivityError, match="of 1 spikes .* none is seen by 2 electrodes within 50 um"):
        learner(min_activity_root_cocs=2).events(peaks_of([(500, 0, 3, -9)]))
    with pytest.raises(InsufficientActivityError, match="0.1 s of 4 channels"):
        learner(n_frames=1960).events(peaks_of([]))


def spiky(places: list[tuple[int, int]]) -> tuple[np.ndarray, np.ndarray]:
    """Traces with one shape at each (frame, channel), and its peaks."""
    values = np.random.default_rng(0).normal(0, 0.1, (2000, 4))
    for frame, channel in places:
        values[frame - 5 : frame + 6, channel] -= 20 * np.hanning(11)
    return values, peaks_of([(frame, channel, 3, -20) for frame, channel in places])


PLACES = [(100 + 60 * k, 0 if k % 3 else 3) for k in range(30)]


def test_events_are_labelled_by_root_and_described_by_components() -> None:
    values, peaks = spiky(PLACES)
    made = learner(values=values)
    labels = made.label(peaks, peaks)
    assert labels.tolist() == [0 if k % 3 else 1 for k in range(30)]
    assert made.components.shape == (5, 35)
    with pytest.raises(InsufficientActivityError, match="of 30 spikes that several electrodes see no 25 look alike"):
        learner(values=values, min_coc_n=25).label(peaks, peaks)


def test_groups_at_far_places_stay_apart_and_near_ones_of_one_shape_are_joined(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    values, peaks = spiky(PLACES)
    made = learner(values=values)
    labels = made.label(peaks, peaks)
    asked = {}

    def joined(means: np.ndarray, counts: np.ndarray, positions: np.ndarray, *rest: Any) -> tuple[Any, ...]:
        asked.update(positions=positions.tolist(), lag=rest[-1], origin=rest[-2], counts=counts.tolist())
        return means, counts

    monkeypatch.setattr(detect, "join_means", joined)
    means, _ = made.group(peaks, labels)
    assert asked == {"positions": [[0, 0], [60, 0]], "lag": 6, "origin": 6, "counts": [20, 10]}
    assert means.shape == (2, 51, 4)
    assert np.unravel_index(np.abs(means[1]).argmax(), (51, 4)) == (20, 3)
    labels[0] = -1  # belongs to none
    made.group(peaks, labels)
    assert asked["positions"] == [[0, 0], [60, 0]]
    assert asked["counts"] == [20, 9]


class Told:
    """A model that wants microvolts, or not."""

    def __init__(self, normalises_by_sigma: bool) -> None:
        self.normalises_by_sigma = normalises_by_sigma


@pytest.mark.parametrize(("normalises", "scaling"), [(True, 1.0), (False, 12.6 / 4)])
def test_detection_is_told_all_and_reads_the_recording_once(
    normalises: bool, scaling: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first 50 ms have an interquartile range of 4, the rest of 400."""
    values = np.tile([-4.0, -2, 0, 2, 4], 600)[:, None] * np.ones((1, 3))
    values[1000:] *= 100
    given: dict[str, Any] = {}
    fed: list[int] = []

    class Stream:
        def __init__(self, detector: Any, n_channels: int) -> None:
            assert n_channels == 3

        def feed(self, chunk: np.ndarray) -> np.ndarray:
            fed.append(len(chunk))
            return peaks_of([(sum(fed), 0)])

    monkeypatch.setattr(detect, "PeakDetector", lambda model, rate, **kwargs: given.update(kwargs, rate=rate))
    monkeypatch.setattr(detect, "PeakStream", Stream)
    chosen = resolve("mea", {"min_loose_elec_prob": 0.04, "pre_median_ms": 25.0})
    traces = traces_of(values, RATE, row_of_electrodes(3))
    found = detect_all(traces, Told(normalises), chosen, n_jobs=3, chunk_values=1500)  # type: ignore[arg-type]
    assert given == {
        "device": "cpu", "inference_scaling": pytest.approx(scaling), "min_probability": 0.04, "chunk_values": 1500,
        "n_jobs": 3, "block_ms": 25.0, "rate": RATE,
    }  # fmt: skip
    assert fed == [1000, 1000, 1000]
    assert found.dtype == PEAK
    assert frames_of(found) == [1000, 2000, 3000]


def test_peaks_of_a_long_recording_are_in_memory_once(monkeypatch: pytest.MonkeyPatch) -> None:
    class Stream:
        def __init__(self, detector: Any, n_channels: int) -> None: ...

        def feed(self, chunk: np.ndarray) -> np.ndarray:
            return np.ones(20_000, dtype=PEAK)

    monkeypatch.setattr(detect, "PeakDetector", lambda *_, **__: None)
    monkeypatch.setattr(detect, "PeakStream", Stream)
    traces = traces_of(np.zeros((3000, 3), dtype=np.float32), RATE, row_of_electrodes(3))
    tracemalloc.start()
    try:
        found = detect_all(traces, Told(normalises_by_sigma=True), resolve("mea", {}), chunk_values=150)  # type: ignore[arg-type]
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(found) == 30 * 20_000
    assert peak < 1.4 * found.nbytes


@dataclass
class Found:
    """Sequences of a round, by the largest value of their means; the network does not see those of 7."""

    values: list[float]
    significance: Any = None

    @property
    def n_sequences(self) -> int:
        return len(self.values)

    def seen_by_network(self, locations: np.ndarray, parameters: Any) -> np.ndarray:
        return np.array([value != 7 for value in self.values], dtype=bool)

    def subset(self, chosen: np.ndarray) -> Found:
        return Found([value for value, one in zip(self.values, chosen, strict=True) if one], self.significance[chosen])


def refined(
    monkeypatch: pytest.MonkeyPatch, values: list[float], missed: tuple[list[float], ...] = (),
    divided: tuple[int, ...] = (), **parameters: Any,
) -> tuple[Found, list[Any]]:  # fmt: skip
    """Sequences from groups of some values, and what each round was given and described: no two are one neuron.

    Each round learns a mean that is larger by one. After it, groups of the values `missed` are found, and in the rounds
    `divided` the last unit becomes two.
    """
    rounds: list[Any] = []
    made, left = learner(**parameters), list(missed)

    def learnt(bank: Any, spikes: Any, peaks: np.ndarray) -> SimpleNamespace:
        assert spikes == "spikes"
        n = len(bank.means)
        rounds.append((bank.means.max(axis=(1, 2)).tolist(), bank.counts.tolist()))
        return SimpleNamespace(
            means=[mean + 1 for mean in bank.means], counts=[10 * count for count in bank.counts],
            scales=[np.array([count]) for count in bank.counts],
            frames=[np.array([int(count)]) for count in bank.counts],
            examples=list(bank.means.max(axis=(1, 2))), channels=[None] * n,
        )  # fmt: skip

    def divide(units: Any, merged: np.ndarray, least: int, seed: int, join: Any) -> np.ndarray:
        assert (least, seed) == (10, 0)
        assert (join.func, join.keywords["jumps"], join.keywords["places"]) == (
            detect.join_pieces,
            made.jumps,
            made.traces.locations,
        )
        tables = (units.means, units.counts, units.scales, units.frames, units.examples, units.channels)
        if sum(isinstance(entry, tuple) for entry in rounds) in divided:
            for table in tables:
                table.append(table[-1])
            return np.append(merged, len(units.means) - 1)
        return merged

    def described(clean: list[Any], counts: np.ndarray, trains: list[Any], peaks: Any, *_: Any) -> Found:
        assert len(peaks) == 1
        assert counts.tolist() == [count for count, _ in clean]
        rounds.append([(int(scale[0]), int(frame[0])) for frame, scale in trains])
        return Found([mean.max() for _, mean in clean])

    def more(bank: Any, spikes: Any, parts: Any, peaks: Any) -> tuple[Any, Any, np.ndarray, np.ndarray]:
        assert parts is made.parts
        new = left.pop(0) if left else []
        return None, None, groups(new), np.ones(len(new))

    def bank_of(clean: list[Any], *_: Any) -> SimpleNamespace:
        return SimpleNamespace(means=np.array([mean for _, mean in clean]), counts=np.array([n for n, _ in clean]))

    def groups(values: list[float]) -> np.ndarray:
        return np.array(values, dtype=float)[:, None, None] * np.ones((1, 3, 4))

    monkeypatch.setattr(made, "_units", learnt)
    monkeypatch.setattr(detect, "describe", described)
    monkeypatch.setattr(made, "_missing", more)
    monkeypatch.setattr(made, "_movement", lambda found, means, counts, versions: versions.n_templates)
    monkeypatch.setattr(
        detect, "find_paths", lambda units, left, *_: Versions.of([(units.counts[u], units.means[u]) for u in left])
    )
    monkeypatch.setattr(detect, "denoise", lambda mean, count, _: (count, mean))
    monkeypatch.setattr(detect, "energies_of", lambda clean, _: np.array([mean.max() ** 2 for _, mean in clean]))
    monkeypatch.setattr(detect, "match", lambda *args, **kwargs: "spikes")
    monkeypatch.setattr(detect, "find_jumps", lambda units, _: [])
    monkeypatch.setattr(
        detect, "merge_all", lambda units, jumps, _: np.arange(1, len(units.means))
    )  # the first is merged
    monkeypatch.setattr(detect, "divide", divide)
    monkeypatch.setattr(detect, "significance", lambda examples, *_: 2.9 if examples == 9 else 3.0)
    monkeypatch.setattr(detect, "bank_from_waveforms", bank_of)
    counts = np.arange(1.0, len(values) + 1)
    found, n_paths = made.refine(made.clean(groups(values), counts), peaks_of([(500, 0, 3, -9)]))
    assert n_paths == found.n_sequences
    return found, rounds


def test_groups_are_matched_and_merged_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those below 5 are too weak, those that were 9 are noise, 7 the network does not see."""
    found, rounds = refined(monkeypatch, [20, 30, 3, 9, 4, 6, 40, 50], min_discriminability=5.0)
    assert rounds == [
        ([20, 30, 3, 9, 4, 6, 40, 50], [1, 2, 3, 4, 5, 6, 7, 8]),
        [(2, 2), (5, 5), (6, 6), (7, 7), (8, 8)],  # 3 + 1 is too weak
        ([31, 5, 41, 51], [20, 50, 70, 80]),
        [(50, 50), (70, 70), (80, 80)],
    ]
    assert found.values == [6, 42, 52]
    assert found.significance.tolist() == [3, 3, 3]


def test_rounds_go_on_while_groups_are_missed_but_not_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    assert refined(monkeypatch, [1, 20], ([30],))[0].values == [31]
    assert refined(monkeypatch, [1, 20, 20], ([30], [40]))[0].values == [32, 41]
    assert refined(monkeypatch, [1, 20, 20, 20], ([], [40]))[0].values == [23, 41]
    assert refined(monkeypatch, [1, 20, 20, 20, 20], ([], [40], [50], [60]))[0].values == [24, 42, 51]


def test_what_is_divided_is_matched_and_learnt_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first unit of each round is merged; in the last round none is divided."""
    assert refined(monkeypatch, [1, 20, 30], divided=(1,))[0].values == [32, 32]
    assert refined(monkeypatch, [20, 20, 20, 30], divided=(2,))[0].values == [33, 33]
    assert refined(monkeypatch, [20, 20, 20, 20, 30], divided=(3,))[0].values == [22, 22, 32]
    assert refined(monkeypatch, [1, 20, 30], divided=(1, 2, 3, 4))[0].values == [34, 34]


def test_where_nothing_is_left_of_the_groups_there_is_no_sequence(monkeypatch: pytest.MonkeyPatch) -> None:
    for values in ([20.0], [20.0, 3.0], [20.0, 9.0], [20.0, 6.0]):  # merged, too weak, noise, not seen
        with pytest.raises(InsufficientActivityError, match="no group of events stands out from the noise") as raised:
            refined(monkeypatch, values, min_discriminability=5.0)
        assert (raised.value.sorter, raised.value.units_at_failure) == ("rt_sort", 0)


def test_units_of_too_few_spikes_take_no_part(monkeypatch: pytest.MonkeyPatch) -> None:
    made = learner(min_seq_spikes_n=7)
    monkeypatch.setattr(detect, "learn", lambda *args: args)
    monkeypatch.setattr(
        detect, "Units", lambda *args: SimpleNamespace(alive=np.ones(3, dtype=bool), counts=[6, 7, 8], given=args)
    )
    units = made._units("bank", "spikes", peaks_of([]))  # type: ignore[arg-type]
    assert units.alive.tolist() == [False, True, True]
    learnt, noise, _, *numbers, parameters, _ = units.given  # type: ignore[attr-defined]
    assert learnt == (made.traces, "bank", "spikes", made.parts, 0)
    assert (noise, numbers) == (made.noise, [6, RATE])
    assert parameters is made.parameters


def test_sequences_below_a_least_rate_over_the_whole_recording_are_left_out() -> None:
    """In 50 ms, 160 Hz are 8 spikes."""

    @dataclass(frozen=True)
    class Sorted:
        sequences: Any
        n_sequences: int = 3

        def subset(self, kept: np.ndarray) -> Sorted:
            return Sorted(kept.tolist())

    sequences = None
    templates = np.repeat([0, 1, 2], [8, 7, 9])
    made = learner(min_seq_spikes_hz=160.0)
    assert made.frequent(Sorted(sequences), templates).sequences == [True, False, True]  # type: ignore[arg-type]
    with pytest.raises(InsufficientActivityError, match="no sequence fires at 200 Hz"):
        learner(min_seq_spikes_hz=200.0).frequent(Sorted(sequences), templates)  # type: ignore[arg-type]


def test_rare_neurons_that_a_sample_has_not_shown_are_looked_for_everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """From then on is learnt around the spikes of all units, and around the events of the new one."""
    made = learner(20_000, learning_s=0.1, max_events=2)
    peaks = peaks_of([(frame, 0, 3, -9) for frame in (1000, 3000, 5000, 7000)])
    assert len(made.events(peaks)) == 2
    assert made.is_sample
    seen: list[Any] = []

    def match(traces: Any, bank: Any, parts: Any, n_jobs: int) -> np.ndarray:
        seen.append(parts)
        spikes = np.zeros(2, dtype=SPIKE)
        spikes["frame"], spikes["template"] = (1000, 5000), (0, 1)
        return spikes

    def missing(
        bank: Any, spikes: Any, parts: Any, peaks: Any
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        seen.append(parts)
        return np.array([7000]), np.array([0]), np.zeros((1, 51, 4)), np.ones(1)

    monkeypatch.setattr(detect, "match", match)
    monkeypatch.setattr(made, "_missing", missing)
    _, counts = made._overlooked(SimpleNamespace(n_templates=2), peaks)  # type: ignore[arg-type]
    assert counts.tolist() == [1]
    assert seen == [[(0, 20_000, 0, 20_000)]] * 2
    assert [(part.first, part.last) for part in made.parts] == [(800, 1201), (4800, 5201), (6800, 7201)]
    monkeypatch.setattr(made, "_missing", lambda *_: (np.array([]), np.array([]), np.zeros((0, 51, 4)), np.ones(0)))
    before = made.parts
    made._overlooked(SimpleNamespace(n_templates=2), peaks)  # type: ignore[arg-type]
    assert made.parts is before
