"""The matching: known spikes in small traces, and every kernel beside a slow version in plain numpy."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from spikelab.spike_sorting.rt_sort.matching._peeling_kernels import (
    best_peak,
    doubled,
    explained,
    filter_tiles,
    peel,
    subtract,
    within_tolerances,
)
from spikelab.spike_sorting.rt_sort.matching.peeling import SPIKE, Matcher, later
from spikelab.spike_sorting.rt_sort.matching.templates import (
    CrossTalk,
    Filters,
    Limits,
    TemplateBank,
    bank_from_waveforms,
)
from spikelab.spike_sorting.rt_sort.parameters import SequenceParameters
from spikelab.spike_sorting.rt_sort.sequences import Tolerances
from spikelab.spike_sorting.rt_sort.whitening import Noise

FS = 4000.0  # 4 frames before the peak, 6 after; blocks of 10
N_BEFORE, N_AFTER, N_FRAMES, BLOCK, REACH = 4, 6, 11, 10, 2
N_CHANNELS = 4
# Sizes of three templates on the channels: the first two share two of them, the last shares one with the second.
SIZES = np.array([[-30, -18, 9, 0], [12, -26, 16, 0], [0, 0, -14, -28]], dtype=np.float32)


def white() -> Noise:
    return Noise(
        np.array([1, 1, 2, 2], dtype=np.float32),
        np.eye(N_CHANNELS, dtype=np.float32),
        np.array([1, 0], dtype=np.float32),
    )


# A spike travels: frames by which it is later on each channel.
DELAYS = np.array([0, 1, -1, 2])


def courses(delay: int = 0) -> np.ndarray:
    """Three time courses with their trough at frame 4 and so many later, zero at both ends, of size 1."""
    t = np.arange(N_FRAMES) - N_BEFORE - delay
    shapes = [np.exp(-((t / width) ** 2)) - a * np.exp(-(((t - 2.5) / 1.3) ** 2)) for width, a in
              ((1.1, 0.3), (1.4, 0.1), (1.0, 0.5))]  # fmt: skip
    shapes = np.array(shapes) * (1 - (t / 8) ** 2)
    shapes[:, [0, -1]] = 0
    return (shapes / np.abs(shapes).max(axis=1, keepdims=True)).astype(np.float32)


def bank_of(which: list[int] | None = None, tolerances: Tolerances | None = None, **parameters: float) -> TemplateBank:
    """A bank of some of the three templates; spikes of one may be two frames apart and more."""
    parameters = {"repeated_detection_overlap_time": 0.25} | parameters
    clean = []
    for u in [0, 1, 2] if which is None else which:
        order = np.argsort(-np.abs(SIZES[u]) / white().sigma, kind="stable")
        order = order[SIZES[u][order] != 0]
        clean.append((order, np.stack([SIZES[u, c] * courses(DELAYS[c])[u] for c in order])))
    return bank_from_waveforms(clean, white(), FS, replace(SequenceParameters(), **parameters), tolerances)


def limited(bank: TemplateBank, **limits: Any) -> TemplateBank:
    return replace(bank, limits=bank.limits._replace(**limits))


def rendered(bank: TemplateBank, n_frames: int, *spikes: tuple[float, ...]) -> np.ndarray:
    """Traces of spikes (frame, template, scale, shift), the last two 1 and 0 where they are left out."""
    traces = np.zeros((n_frames + 100, bank.n_channels))
    dense = bank.dense().astype(float)
    for frame, u, *rest in spikes:
        scale, shift = [*rest, *[1.0, 0.0][len(rest) :]]
        whole, part = 50 + int(frame) - bank.n_before, abs(shift)
        for step, weight in ((0, 1 - part), (1 if shift >= 0 else -1, part)):
            traces[whole + step : whole + step + bank.n_frames] += scale * weight * dense[int(u)]
    return traces[50:-50].astype(np.float32)


def sort(bank: TemplateBank, traces: np.ndarray, size: int | None = None, n_jobs: int = 1) -> np.ndarray:
    """All spikes in the order of frames; the traces are pushed in pieces of `size`."""
    matcher = Matcher(bank, n_jobs)
    size = size or max(1, len(traces))
    parts = [matcher.push(traces[start : start + size]) for start in range(0, len(traces), size)]
    spikes = np.concatenate([*parts, matcher.finish()])
    return spikes[np.lexsort((spikes["template"], spikes["frame"]))]


def places(spikes: np.ndarray) -> list[tuple[int, int]]:
    return [(int(spike["frame"]), int(spike["template"])) for spike in spikes]


def a_scene(bank: TemplateBank, seed: int, n_frames: int = 240, n_spikes: int = 40) -> np.ndarray:
    """Many overlapping spikes of any size and shift in noise."""
    rng = np.random.default_rng(seed)
    spikes = zip(
        rng.integers(0, n_frames, n_spikes), rng.integers(0, bank.n_templates, n_spikes),
        rng.uniform(0.6, 1.5, n_spikes), rng.uniform(-0.5, 0.5, n_spikes), strict=True,
    )  # fmt: skip
    noise = rng.normal(size=(n_frames, bank.n_channels)) * white().sigma
    return rendered(bank, n_frames, *spikes) + noise.astype(np.float32)


def dense_filters(bank: TemplateBank) -> np.ndarray:
    """Filters on all channels, shape (templates, frames, channels)."""
    dense = np.zeros((bank.n_templates, bank.n_frames, bank.n_channels))
    for u in range(bank.n_templates):
        for k in range(bank.filters.n_channels[u]):
            pattern = bank.filters.spatial[u, k].astype(float)
            dense[u][:, bank.filters.channels[u, k]] = pattern @ bank.filters.temporal[u]
    return dense


class Pursuit:
    """Matching pursuit on the traces themselves, by the definition: no table of cross-talk, no column, no tile."""

    MARGIN = 60

    def __init__(self, bank: TemplateBank) -> None:
        self.bank, self.filters, self.templates = bank, dense_filters(bank), bank.dense().astype(float)

    def spikes(self, traces: np.ndarray) -> list[tuple[float, ...]]:
        bank, found = self.bank, []
        left = np.pad(traces.astype(float), ((self.MARGIN, self.MARGIN), (0, 0)))
        for start in range(-bank.n_frames - BLOCK, len(traces), BLOCK):
            here = self.explain(left.copy(), start, start + BLOCK + bank.n_frames - 1)
            for frame, u, scale, shift, energy in here:
                if frame >= start + BLOCK:
                    continue
                self.take(left, frame, u, scale, shift)
                near = [f for f, v, *_ in [*found, *self.before(here, frame, u)] if v == u]
                if all(abs(f - frame) > bank.limits.repeat_frames for f in near) and 0 <= frame < len(traces):
                    found.append((frame, u, scale, shift, energy))
        return sorted(found)

    @staticmethod
    def before(here: list[tuple[float, ...]], frame: int, u: int) -> list[tuple[float, ...]]:
        """Spikes that were taken before this one, from where it is at or beyond."""
        index = next(i for i, spike in enumerate(here) if spike[:2] == (frame, u))
        return here[:index]

    def explain(self, left: np.ndarray, first: int, last: int) -> list[tuple[float, ...]]:
        """Spikes from `first` to before `last`, the one that explains most first."""
        bank, found = self.bank, []
        while True:
            best = None
            for u in range(bank.n_templates):
                output = {t: self.output(left, u, t) for t in range(first - 1, last + 1)}
                for t in range(first, last):
                    peak = output[t] >= max(output[t - 1], output[t + 1])
                    if not peak or output[t] < bank.limits.min_scale[u] * bank.limits.norms[u]:
                        continue
                    energy, _ = self.energy(u, output[t])
                    if energy > bank.limits.threshold and (best is None or energy > best[0]):
                        best = energy, t, u, output[t - 1], output[t], output[t + 1]
            if best is None:
                return found
            _, t, u, before, value, after = best
            bend = before + after - 2 * value
            shift = float(np.clip((before - after) / (2 * bend), -0.5, 0.5)) if bend < 0 else 0.0
            energy, scale = self.energy(u, value - (before - after) * shift / 4)
            found.append((t, u, scale, shift, energy))
            self.take(left, t, u, scale, shift)

    def output(self, left: np.ndarray, u: int, frame: int) -> float:
        row = frame + self.MARGIN - self.bank.n_before
        return float(np.sum(self.filters[u] * left[row : row + self.bank.n_frames]))

    def energy(self, u: int, output: float) -> tuple[float, float]:
        limits = self.bank.limits
        norm, precision = float(limits.norms[u]), float(limits.scale_precision[u])
        best = (output + precision) / (norm + precision)
        scale = float(np.clip(best, limits.min_scale[u], limits.max_scale[u]))
        return 2 * scale * output - scale**2 * norm - (scale - 1) ** 2 * precision, scale

    def take(self, left: np.ndarray, frame: int, u: int, scale: float, shift: float) -> None:
        row = frame + self.MARGIN - self.bank.n_before
        for step, weight in ((0, 1 - abs(shift)), (1 if shift >= 0 else -1, abs(shift))):
            left[row + step : row + step + self.bank.n_frames] -= scale * weight * self.templates[u]


class TestMatcher:
    def test_blocks_and_reach_are_in_frames(self) -> None:
        matcher = Matcher(bank_of())
        assert (matcher.block, matcher.look_ahead, matcher.reach) == (BLOCK, N_FRAMES - 1, REACH)

    @pytest.mark.parametrize("template", [0, 1, 2])
    def test_a_spike_is_found_as_it_is(self, template: int) -> None:
        bank = bank_of()
        (spike,) = sort(bank, rendered(bank, 60, (30, template)))
        assert (spike["frame"], spike["template"]) == (30, template)
        assert spike["scale"] == pytest.approx(1, abs=0.02)
        # All its energy is explained; the vertex of the parabola lies a little beside the frame.
        assert spike["energy"] == pytest.approx(bank.limits.norms[template], rel=0.03)
        assert abs(spike["shift"]) < 0.15

    @pytest.mark.parametrize("frame", range(24))
    def test_a_spike_is_found_once_wherever_it_falls_in_a_block(self, frame: int) -> None:
        bank = bank_of([0])
        assert places(sort(bank, rendered(bank, 40, (frame, 0)))) == [(frame, 0)]

    @pytest.mark.parametrize("template", [0, 1, 2])
    def test_a_spike_on_the_first_frame_is_as_a_whole_pursuit_has_it(self, template: int) -> None:
        # Half of its window is missing. What the filter says before the first frame counts all the same.
        bank = bank_of()
        traces = rendered(bank, 40, (0, template))
        (slow,), (spike,) = Pursuit(bank).spikes(traces), sort(bank, traces)
        assert spike.tolist() == (0, template, *(pytest.approx(value, rel=1e-3) for value in slow[2:]))

    @pytest.mark.parametrize("n_frames", range(31, 42))
    def test_a_spike_is_found_at_the_end_wherever_the_recording_ends(self, n_frames: int) -> None:
        # All of its peak is there, not all of its window.
        bank = bank_of([0])
        assert places(sort(bank, rendered(bank, n_frames, (n_frames - 2, 0)))) == [(n_frames - 2, 0)]

    def test_no_spike_is_reported_after_the_last_frame(self) -> None:
        # A spike that is known by what comes before its peak, which is missing: it would be at frame 30 of 30.
        shape = np.array([[0, -30, 30, -30, 36, 0, 0, 0, 0, 0, 0]], dtype=np.float32)
        bank = bank_from_waveforms([(np.array([0]), shape)], white(), FS, SequenceParameters())
        assert places(sort(bank, rendered(bank, 31, (30, 0))[:30])) == []
        assert places(sort(bank, np.pad(rendered(bank, 30, (30, 0)), ((0, 1), (0, 0))))) == [(30, 0)]

    def test_before_the_first_frame_there_was_no_spike(self) -> None:
        bank = bank_of([0], repeated_detection_overlap_time=20.0)
        assert places(sort(bank, rendered(bank, 40, (3, 0)))) == [(3, 0)]

    @pytest.mark.parametrize("size", [0.6, 0.9, 1.0, 1.3])
    def test_the_scale_is_the_size_drawn_towards_1_by_its_precision(self, size: float) -> None:
        bank = limited(bank_of([0]), scale_precision=np.array([500], np.float32))
        (spike,) = sort(bank, rendered(bank, 60, (30, 0, size)))
        norm = float(bank.limits.norms[0])
        assert spike["scale"] == pytest.approx((size * norm + 500) / (norm + 500), rel=0.02)

    def test_a_spike_is_no_smaller_and_no_larger_than_allowed(self) -> None:
        bank = bank_of([0], min_scale=0.5, max_scale=1.6)
        assert len(sort(bank, rendered(bank, 60, (30, 0, 0.47)))) == 0
        assert places(sort(bank, rendered(bank, 60, (30, 0, 0.53)))) == [(30, 0)]
        (spike,) = sort(bank, rendered(bank, 60, (30, 0, 2.0)))  # what is left, 0.4, is too small for another
        assert spike["scale"] == pytest.approx(1.6)

    def test_a_spike_explains_at_least_the_threshold(self) -> None:
        bank = bank_of([0])
        traces = rendered(bank, 60, (30, 0))
        energy = float(sort(bank, traces)["energy"][0])
        assert len(sort(limited(bank, threshold=0.95 * energy), traces)) == 1
        assert len(sort(limited(bank, threshold=1.05 * energy), traces)) == 0

    @pytest.mark.parametrize("shift", [-0.45, -0.3, 0.0, 0.3, 0.45])
    def test_the_shift_tells_where_within_a_frame_a_spike_falls(self, shift: float) -> None:
        bank = bank_of([1])
        (spike,) = sort(bank, rendered(bank, 60, (30, 0, 1.0, shift)))
        nothing = sort(bank, rendered(bank, 60, (30, 0)))["shift"][0]
        assert spike["frame"] == 30
        assert spike["shift"] - nothing == pytest.approx(shift, abs=0.15)

    @pytest.mark.parametrize("lag", range(-9, 10))
    def test_two_units_at_once_are_two_spikes(self, lag: int) -> None:
        bank = bank_of()
        spikes = sort(bank, rendered(bank, 80, (30, 0), (30 + lag, 1)))
        assert sorted(places(spikes), key=lambda place: place[1]) == [(30, 0), (30 + lag, 1)]
        np.testing.assert_allclose(spikes["scale"], 1, atol=0.15)

    def test_three_units_at_once_are_three_spikes(self) -> None:
        bank = bank_of()
        assert places(sort(bank, rendered(bank, 80, (30, 0), (31, 2), (33, 1)))) == [(30, 0), (31, 2), (33, 1)]

    def test_a_unit_in_the_shadow_of_another_is_found_at_its_own_size(self) -> None:
        bank = bank_of()
        spikes = sort(bank, rendered(bank, 80, (30, 0, 1.4), (31, 1, 0.7)))
        assert places(spikes) == [(30, 0), (31, 1)]
        np.testing.assert_allclose(spikes["scale"], [1.4, 0.7], atol=0.05)

    @pytest.mark.parametrize("first", range(24, 36))  # wherever the border of a block falls
    @pytest.mark.parametrize(("apart", "n"), [(8, 1), (9, 2)])
    def test_of_spikes_of_a_unit_that_are_too_close_the_larger_counts(self, first: int, apart: int, n: int) -> None:
        bank = bank_of([0], repeated_detection_overlap_time=2.0)  # 8 frames
        for sizes, larger in (((1.0, 0.7), first), ((0.7, 1.0), first + apart)):
            found = sort(bank, rendered(bank, 80, (first, 0, sizes[0]), (first + apart, 0, sizes[1])))
            assert found["frame"].tolist() == ([larger] if n == 1 else [first, first + apart])

    def test_another_unit_may_be_as_close_as_it_likes(self) -> None:
        bank = bank_of(repeated_detection_overlap_time=2.0)
        assert places(sort(bank, rendered(bank, 80, (30, 0), (30, 2)))) == [(30, 0), (30, 2)]

    @pytest.mark.parametrize("seed", range(4))
    def test_many_spikes_in_noise_are_those_of_a_plain_matching_pursuit(self, seed: int) -> None:
        bank = bank_of()
        assert bank.crosstalk.n_filters.tolist() == [3, 3, 3]  # every template changes the output of every filter
        traces = a_scene(bank, seed)
        spikes, slow = sort(bank, traces), Pursuit(bank).spikes(traces)
        assert len(slow) > 20
        assert places(spikes) == [spike[:2] for spike in slow]
        for name, values in zip(("scale", "shift", "energy"), np.array(slow).T[2:], strict=True):
            np.testing.assert_allclose(spikes[name], values, rtol=1e-3, atol=2e-3)

    @pytest.mark.parametrize("size", [1, 7, 10, 33])
    def test_spikes_do_not_depend_on_the_pieces(self, size: int) -> None:
        bank = bank_of()
        traces = a_scene(bank, 5, 150, 25)
        assert sort(bank, traces, size).tolist() == sort(bank, traces).tolist()

    def test_spikes_do_not_depend_on_the_threads(self) -> None:
        bank = bank_of()
        traces = a_scene(bank, 6, 150, 25)
        assert sort(bank, traces, n_jobs=2).tolist() == sort(bank, traces).tolist()
        assert sort(bank, traces, n_jobs=5).tolist() == sort(bank, traces).tolist()

    def test_a_spike_is_reported_within_the_latency(self) -> None:
        bank = bank_of([0])
        matcher, delays = Matcher(bank), {}
        spikes = [(frame, 0) for frame in range(20, 320, 13)]
        for now, row in enumerate(rendered(bank, 400, *spikes)):
            delays |= {int(spike["frame"]): now - int(spike["frame"]) for spike in matcher.push(row[None])}
        assert sorted(delays) == [frame for frame, _ in spikes]
        assert max(delays.values()) == matcher.latency_frames
        assert min(delays.values()) == matcher.latency_frames - BLOCK + 1

    def test_after_the_end_or_a_reset_the_next_frame_is_frame_0(self) -> None:
        bank = bank_of(repeated_detection_overlap_time=2.0)
        traces = rendered(bank, 37, (3, 0), (20, 1), (35, 0))
        matcher = Matcher(bank)
        first = [matcher.push(traces), matcher.finish()]
        second = [matcher.push(traces), matcher.finish()]
        matcher.push(traces[:36])
        matcher.reset()
        third = [matcher.push(traces), matcher.finish()]
        assert places(np.concatenate(first)) == [(3, 0), (20, 1), (35, 0)]
        for again in (second, third):
            assert np.concatenate(again).tolist() == np.concatenate(first).tolist()

    def test_counts_are_as_good_as_microvolts(self) -> None:
        bank, scale = bank_of(), np.float32(0.5)
        counts = np.rint(2 * a_scene(bank, 3)).astype(np.int16)
        matcher = Matcher(bank)
        pieces = [matcher.push(counts[start : start + 33], scale) for start in range(0, len(counts), 33)]
        found = np.concatenate([*pieces, matcher.finish()])
        assert len(found)
        np.testing.assert_array_equal(np.sort(found, order=["frame", "template"]), sort(bank, counts * scale))

    def test_nothing_is_found_in_nothing(self) -> None:
        spikes = sort(bank_of(), np.zeros((0, N_CHANNELS), np.float32))
        assert spikes.dtype == SPIKE
        assert len(spikes) == 0

    def test_later_moves_frames_and_nothing_else(self) -> None:
        spikes = np.array([(3, 1, 0.9, 0.2, 40)], dtype=SPIKE)
        assert later(spikes, 100).tolist() == [(103, 1, pytest.approx(0.9), pytest.approx(0.2), 40)]


SEEN = 0.5  # as in the code, which a change would have to mean
LOOSE = {"latency": np.inf, "amplitude": np.inf, "root": np.inf, "share": 0.0}
STRICT = {"latency": 0.0, "amplitude": 0.01, "root": 0.01, "share": 1.0}


def tolerances_of(bank: TemplateBank, n: list[int] | None = None, **limits: float) -> Tolerances:
    """What the bank's templates look like on their first electrodes, and some limits."""
    limits = {**LOOSE, "clip_latency": 1e9, "clip_amplitude": 1e9} | limits
    templates = bank.templates
    latencies = np.argmax(np.abs(templates.waveforms), axis=2) - bank.n_before
    amplitudes = np.abs(templates.waveforms).max(axis=2) / bank.sigma[templates.channels]
    return Tolerances(
        templates.n_channels if n is None else np.array(n), latencies.astype(np.float32),
        np.maximum(amplitudes, 1e-3).astype(np.float32), np.full(bank.n_templates, 0.1, np.float32),
        **{name: value if name == "share" else np.float32(value) for name, value in limits.items()},
    )  # fmt: skip


def check(
    bank: TemplateBank, tolerances: Tolerances, traces: np.ndarray, spikes: np.ndarray, first: int = 0, start: int = 0
) -> list[bool]:
    blocks = (spikes["frame"] + N_FRAMES) // BLOCK
    good = within_tolerances(
        traces, later(spikes.copy(), -start), first, blocks, bank.templates, tolerances, bank.sigma, REACH
    )
    return [bool(value) for value in good]


def listed(*spikes: tuple[float, ...]) -> np.ndarray:
    """Spikes (frame, template, scale); the last is 1 where it is left out."""
    return np.array([(s[0], s[1], s[2] if len(s) > 2 else 1.0, 0, 0) for s in spikes], dtype=SPIKE)


def slow_check(
    bank: TemplateBank, limits: Tolerances, traces: np.ndarray, spikes: np.ndarray, first: int, start: int
) -> list[bool]:
    """The same by the definition, on the traces without all other spikes that are known by then."""
    margin, dense = 60, bank.dense().astype(float)
    blocks = (spikes["frame"] + N_FRAMES) // BLOCK
    result = []
    for i in range(first, len(spikes)):
        left = np.pad(traces.astype(float), ((margin, margin), (0, 0)))
        for j, other in enumerate(spikes):
            if j != i and blocks[j] <= blocks[i]:
                row = other["frame"] - start + margin - N_BEFORE
                left[row : row + N_FRAMES] -= other["scale"] * dense[other["template"]]
        u, scale = spikes[i]["template"], float(spikes[i]["scale"])
        n = limits.n_channels[u]
        late, off, sizes = np.zeros(n), np.zeros(n), np.zeros(n)
        amplitudes = limits.amplitudes[u, :n].astype(float)
        for k, channel in enumerate(bank.templates.channels[u, :n]):
            lag = int(limits.latencies[u, k])
            centre = spikes[i]["frame"] - start + margin + lag
            values = left[centre - REACH : centre + REACH + 1, channel]
            values = values * (1 if dense[u, N_BEFORE + lag, channel] >= 0 else -1)
            late[k] = abs(int(np.argmax(values)) - REACH)
            sizes[k] = values.max() / bank.sigma[channel] / scale
            off[k] = abs(sizes[k] - amplitudes[k]) / amplitudes[k]
        late = np.minimum(late, limits.clip_latency * limits.latency)
        off = np.minimum(off, limits.clip_amplitude * limits.amplitude)
        result.append(
            bool(
                np.average(late, weights=amplitudes) <= limits.latency
                and np.average(off, weights=amplitudes) <= limits.amplitude
                and abs(scale - 1) / max(limits.root_std[u], 0.02) <= limits.root
                and np.sum(sizes >= SEEN * amplitudes) >= limits.share * n
            )
        )
    return result


class TestTolerances:
    def test_a_spike_like_its_sequence_is_within_the_narrowest(self) -> None:
        bank = bank_of()
        for u in range(3):
            traces = rendered(bank, 60, (30, u))
            assert check(bank, tolerances_of(bank, **STRICT), traces, listed((30, u))) == [True]

    def test_other_spikes_are_taken_out_first(self) -> None:
        # One frame apart, on the same electrodes: neither looks like its sequence while the other is there.
        bank = bank_of()
        traces, tolerances = rendered(bank, 60, (30, 0), (31, 1)), tolerances_of(bank, **STRICT)
        assert check(bank, tolerances, traces, listed((30, 0), (31, 1))) == [True, True]
        assert check(bank, tolerances, traces, listed((30, 0))) == [False]
        assert check(bank, tolerances, traces, listed((31, 1))) == [False]

    def test_other_spikes_are_taken_out_at_their_size(self) -> None:
        bank = bank_of()
        traces, tolerances = rendered(bank, 60, (30, 0), (31, 1, 1.5)), tolerances_of(bank, **STRICT)
        assert check(bank, tolerances, traces, listed((30, 0), (31, 1, 1.5))) == [True, False]  # of another size
        assert check(bank, tolerances, traces, listed((30, 0), (31, 1))) == [False, False]

    def test_spikes_of_later_blocks_are_not_known_yet(self) -> None:
        bank = bank_of()
        tolerances = tolerances_of(bank, **STRICT)
        border = 3 * BLOCK - N_FRAMES  # first frame of a block
        for first, expected in ((border, [True, True]), (border - 1, [False, True])):
            spikes = listed((first, 0), (first + 1, 1))
            traces = rendered(bank, 60, (first, 0), (first + 1, 1))
            assert check(bank, tolerances, traces, spikes) == expected

    @pytest.mark.parametrize("limit", [2, 4])
    def test_latency_is_the_mean_of_frames_weighted_by_size(self, limit: int) -> None:
        bank = bank_of([0])
        traces = rendered(bank, 60, (30, 0))
        traces[:, 1] = np.roll(traces[:, 1], 2)  # 30, 18 and 4.5 sigma: the second is two frames late
        late = 2 * 18 / (30 + 18 + 4.5)
        for factor, expected in ((1.01, True), (0.99, False)):
            tolerances = tolerances_of(bank, latency=factor * late)
            assert check(bank, tolerances, traces, listed((30, 0))) == [expected]

    def test_of_a_limit_itself_a_spike_is_within(self) -> None:
        """A sequence whose sizes vary by a quarter: half as much again is two deviations, in any precision."""
        bank = bank_of([0])
        tolerances = tolerances_of(bank, root=2.0)._replace(root_std=np.full(1, 0.25, np.float32))
        for scale, within in ((1.5, True), (0.5, True), (1.515625, False)):
            assert check(bank, tolerances, rendered(bank, 60, (30, 0, scale)), listed((30, 0, scale))) == [within]

    @pytest.mark.parametrize("value", [0.0, -3.0])
    def test_of_equal_values_the_first_is_the_peak(self, value: float) -> None:
        """On a flat line it is half a millisecond early: as far as it is looked for."""
        bank = bank_of([0])
        flat = np.full((60, bank.n_channels), value, np.float32)
        for latency, within in ((REACH, True), (REACH - 0.5, False)):
            assert check(bank, tolerances_of(bank, n=[1], latency=latency), flat, listed((30, 0))) == [within]

    def test_two_threads_share_the_filters(self) -> None:
        assert Matcher(bank_of(), 1)._pool is None
        assert Matcher(bank_of(), 2)._pool is not None

    def test_one_electrode_is_late_by_no_more_than_the_clip(self) -> None:
        bank = bank_of([0])
        traces = rendered(bank, 60, (30, 0))
        traces[:, 1] = np.roll(traces[:, 1], 2)
        # Clipped at 2.5 times 0.5, its weight of 18 in 52.5 makes 0.43 of 2 frames' 0.69.
        assert check(bank, tolerances_of(bank, latency=0.5), traces, listed((30, 0))) == [False]
        clipped = tolerances_of(bank, latency=0.5, clip_latency=2.5)
        assert check(bank, clipped, traces, listed((30, 0))) == [True]

    def test_amplitudes_are_relative_and_weighted_by_size(self) -> None:
        bank = bank_of([0])
        traces = rendered(bank, 60, (30, 0)) * np.array([1, 0.5, 1, 1], np.float32)
        off = 0.5 * 18 / 52.5
        for factor, expected in ((1.01, True), (0.99, False)):
            assert check(bank, tolerances_of(bank, amplitude=factor * off), traces, listed((30, 0))) == [expected]
        clipped = tolerances_of(bank, amplitude=0.15, clip_amplitude=2.0)  # 0.3 instead of 0.5
        assert check(bank, clipped, traces, listed((30, 0))) == [True]

    def test_amplitudes_are_compared_after_the_scale_of_the_spike(self) -> None:
        bank = bank_of([0])
        traces = rendered(bank, 60, (30, 0, 1.4))
        tolerances = tolerances_of(bank, amplitude=0.01)
        assert check(bank, tolerances, traces, listed((30, 0, 1.4))) == [True]
        assert check(bank, tolerances, traces, listed((30, 0, 1.0))) == [False]

    @pytest.mark.parametrize(("scale", "good"), [(0.81, True), (0.79, False), (1.19, True), (1.21, False)])
    def test_size_is_in_deviations_of_the_sequence(self, scale: float, good: bool) -> None:
        bank = bank_of([0])
        tolerances = tolerances_of(bank, root=2.0)  # of 0.1
        assert check(bank, tolerances, rendered(bank, 60, (30, 0, scale)), listed((30, 0, scale))) == [good]

    @pytest.mark.parametrize(("scale", "good"), [(1.039, True), (1.041, False)])
    def test_a_sequence_of_one_size_is_given_a_fiftieth(self, scale: float, good: bool) -> None:
        bank = bank_of([0])
        tolerances = tolerances_of(bank, root=2.0)._replace(root_std=np.zeros(1, np.float32))
        assert check(bank, tolerances, rendered(bank, 60, (30, 0, scale)), listed((30, 0, scale))) == [good]

    @pytest.mark.parametrize(("sizes", "n_seen"), [((1, 1, 0.51, 1), 3), ((1, 0.49, 1, 1), 2), ((1, 0.1, 0.1, 1), 1)])
    def test_an_electrode_sees_a_spike_of_half_its_size(self, sizes: tuple[float, ...], n_seen: int) -> None:
        bank = bank_of([0])
        traces = rendered(bank, 60, (30, 0)) * np.array(sizes, np.float32)
        for n in (1, 2, 3):
            assert check(bank, tolerances_of(bank, share=n / 3), traces, listed((30, 0))) == [n <= n_seen]

    def test_only_listed_electrodes_count(self) -> None:
        bank = bank_of([0])
        traces = rendered(bank, 60, (30, 0)) * np.array([1, 1, 0, 1], np.float32)
        assert check(bank, tolerances_of(bank, [2], **STRICT), traces, listed((30, 0))) == [True]
        assert check(bank, tolerances_of(bank, [3], **STRICT), traces, listed((30, 0))) == [False]

    def test_earlier_spikes_are_taken_out_and_not_judged(self) -> None:
        bank = bank_of()
        traces, tolerances = rendered(bank, 60, (20, 0), (30, 0), (31, 1)), tolerances_of(bank, **STRICT)
        assert check(bank, tolerances, traces, listed((20, 0), (30, 0), (31, 1)), first=2) == [True]

    def test_traces_may_begin_late_and_end_early(self) -> None:
        bank = bank_of()
        tolerances = tolerances_of(bank, **STRICT)
        traces = rendered(bank, 60, (30, 0))
        assert check(bank, tolerances, traces[20:40], listed((30, 0)), start=20) == [True]
        assert check(bank, tolerances, traces[20:29], listed((30, 0)), start=20) == [False]  # nothing to see there

    def test_latencies_are_those_of_the_sequence(self) -> None:
        latencies = tolerances_of(bank_of()).latencies.tolist()
        assert [latencies[0], latencies[1], latencies[2][:2]] == [[0, 1, -1], [1, 0, -1], [2, -1]]

    def test_the_first_and_the_last_frame_count(self) -> None:
        bank = bank_of([0])
        tolerances = tolerances_of(bank, [1], **STRICT)  # the root, on which the peak is at the frame of the spike
        for frame in (0, 9):
            assert check(bank, tolerances, rendered(bank, 10, (frame, 0)), listed((frame, 0))) == [True]

    @pytest.mark.parametrize("seed", range(6))
    def test_within_tolerances_is_its_slow_version(self, seed: int) -> None:
        bank = bank_of()
        used = np.arange(3)[None, :, None] < bank.templates.n_channels[:, None, None]
        moved = bank.templates.waveforms - 3 * used.astype(np.float32)
        bank = replace(bank, templates=bank.templates._replace(waveforms=moved))
        rng = np.random.default_rng(seed)
        spikes = listed(*[(rng.integers(-2, 82), rng.integers(3), rng.uniform(0.7, 1.4)) for _ in range(24)])
        spikes = spikes[np.argsort(spikes["frame"] // BLOCK, kind="stable")]
        true = [(s["frame"], s["template"], s["scale"], rng.uniform(-0.5, 0.5)) for s in spikes]
        traces = rendered(bank, 90, *true)[5:78] + rng.normal(size=(73, 4)).astype(np.float32) * 1.5
        tolerances = tolerances_of(
            bank, [3, 2, 2], latency=0.5, amplitude=0.25, root=3.0, share=0.6, clip_latency=2.0, clip_amplitude=2.0
        )
        good = check(bank, tolerances, traces, spikes, first=3, start=5)
        assert 4 < sum(good) < 18
        assert good == slow_check(bank, tolerances, traces, spikes, 3, 5)

    @pytest.mark.parametrize("size", [1, 7, 10, 33, 150])
    def test_what_is_left_out_does_not_depend_on_the_pieces(self, size: int) -> None:
        bank = bank_of()
        bank = replace(bank, tolerances=tolerances_of(bank, latency=0.4, amplitude=0.25, share=0.6, root=3.0))
        traces = a_scene(bank, 8, 150, 25)
        found, all_found = sort(bank, traces, size), sort(replace(bank, tolerances=None), traces)
        good = slow_check(bank, bank.tolerances, traces, all_found, 0, 0)
        assert 5 < len(found) < len(all_found)
        assert found.tolist() == all_found[good].tolist()

    def test_a_second_recording_is_checked_against_its_own_traces(self) -> None:
        bank = bank_of()
        bank = replace(bank, tolerances=tolerances_of(bank, latency=0.2, amplitude=0.2, share=1.0, root=3.0))
        matcher = Matcher(bank)
        for frames in ((12, 33), (20, 35)):
            traces = rendered(bank, 40, (frames[0], 0), (frames[1], 1))
            assert places(np.concatenate([matcher.push(traces), matcher.finish()])) == [(frames[0], 0), (frames[1], 1)]


class TestKernels:
    @pytest.mark.parametrize("rank", [1, 2])
    def test_filter_outputs_are_correlations_whatever_the_tile(self, rank: int) -> None:
        rng = np.random.default_rng(rank)
        traces = rng.normal(size=(4, 40)).astype(np.float32)
        channels, n_support = np.array([[2, 0, 0], [3, 1, 2], [0, 0, 0]]), np.array([2, 3, 1])
        spatial, temporal = (rng.normal(size=s).astype(np.float32) for s in ((3, 3, 2), (3, 2, 5)))
        ranks, part = np.array([rank, 2, 1]), np.array([0, 1])
        expected = np.zeros((2, 36))
        for u in part:
            for k in range(n_support[u]):
                kernel = spatial[u, k, : ranks[u]].astype(float) @ temporal[u, : ranks[u]]
                expected[u] += np.correlate(traces[channels[u, k]].astype(float), kernel, "valid")
        results = []
        for tile in (1, 7, 36, 600):
            outputs = np.full((3, 36), 9, np.float32)
            filter_tiles(traces, Filters(channels, n_support, spatial, temporal, ranks), tile, part, outputs)
            np.testing.assert_allclose(outputs[:2], expected, atol=1e-5)
            assert np.all(outputs[2] == 9)  # not among those asked for
            results.append(outputs.tolist())
        assert results.count(results[0]) == 4

    @pytest.mark.parametrize("output", [5.0, 60.0, 100.0, 130.0, 300.0])
    @pytest.mark.parametrize("precision", [0.5, 25.0])
    def test_the_scale_is_the_one_that_explains_most(self, output: float, precision: float) -> None:
        norm, scales = 100.0, np.linspace(0.5, 1.6, 1101)
        energies = 2 * scales * output - scales**2 * norm - (scales - 1) ** 2 * precision
        energy, scale = explained(output, limits_of(norm, precision), 0)
        assert scale == pytest.approx(scales[energies.argmax()], abs=1e-3)
        assert energy == pytest.approx(energies.max(), rel=1e-4)

    def test_a_whole_spike_explains_its_norm(self) -> None:
        assert explained(100.0, limits_of(), 0) == (100.0, 1.0)

    @pytest.mark.parametrize("seed", range(5))
    def test_the_best_peak_is_the_one_that_explains_most(self, seed: int) -> None:
        output = np.random.default_rng(seed).normal(60, 40, 30).astype(np.float32)
        energies = {
            t: explained(output[t], limits_of(), 0)[0]
            for t in range(1, 25)
            if output[t] >= max(50, output[t - 1], output[t + 1])
        }
        most, where = best_peak(output[:26], limits_of(), 0)
        assert where == max(energies, key=energies.__getitem__)
        assert most == pytest.approx(energies[where], rel=1e-5)

    def test_without_a_peak_there_is_no_best_one(self) -> None:
        for output in (np.arange(100, 110), np.arange(110, 100, -1), np.full(10, 49.0)):
            most, _ = best_peak(output.astype(np.float32), limits_of(), 0)
            assert most == -1

    def test_a_plateau_is_a_peak(self) -> None:
        output = np.array([0, 90, 90, 0, 80, 0], np.float32)
        _, where = best_peak(output, limits_of(), 0)
        assert where in (1, 2)

    @pytest.mark.parametrize("shift", [0.0, 0.3, -0.4])
    @pytest.mark.parametrize("frame", [1, 4, 12, 19])
    def test_subtract_takes_the_cross_talk_out_of_the_outputs(self, shift: float, frame: int) -> None:
        rng = np.random.default_rng(0)
        n_frames, n = 6, 20
        replies = rng.normal(size=(3, 2 * n_frames + 1)).astype(np.float32)
        crosstalk = CrossTalk(replies, np.array([[0, 2], [1, 0]]), np.array([[1, 0], [2, 0]]), np.array([2, 1]))
        outputs, stale = np.zeros((3, n), np.float32), np.zeros(3, dtype=bool)
        (spike,) = np.array([(100 + frame, 0, 1.5, shift, 0)], dtype=SPIKE)
        subtract(outputs, 100, spike, crosstalk, stale)
        expected = np.zeros((3, n))
        for u, row in ((0, 1), (2, 0)):
            for lag in range(-n_frames + 1, n_frames):
                if 0 <= frame + lag < n:
                    beside = replies[row, lag + n_frames - (1 if shift >= 0 else -1)]
                    value = (1 - abs(shift)) * replies[row, lag + n_frames] + abs(shift) * beside
                    expected[u, frame + lag] -= 1.5 * value
        np.testing.assert_allclose(outputs, expected, atol=1e-5)
        assert stale.tolist() == [True, False, True]

    def test_doubled_keeps_what_there_is(self) -> None:
        spikes = listed((3, 7), (4, 8, 0.5))
        longer = doubled(spikes)
        assert len(longer) == 4
        assert longer[:2].tolist() == spikes.tolist()


def limits_of(norm: float = 100.0, precision: float = 25.0) -> Limits:
    """Of one template whose spikes are 0.5 to 1.6 times as large."""
    norms, precisions, low, high = (np.array([value], np.float32) for value in (norm, precision, 0.5, 1.6))
    return Limits(norms, precisions, low, high, 20.0, 0)


class Impulses:
    """One unit whose spikes reach its filter's output at their frame only: its output is the spikes."""

    NORM = 100.0

    @classmethod
    def peel(
        cls, output: np.ndarray, n_blocks: int, block: int, repeat: int = 0, latest: int = -1000
    ) -> tuple[list[int], np.ndarray, int]:
        """Columns of the spikes, their values, and the latest of them."""
        one, zero = np.ones(1, np.float32), np.zeros((1, 1), np.int64)
        limits = Limits(cls.NORM * one, one, np.float32(0.5) * one, 2 * one, 20.0, repeat)
        crosstalk = CrossTalk(np.float32([[0, 0, cls.NORM, 0, 0]]), zero, zero, np.ones(1, np.int64))
        outputs, state = output.astype(np.float32)[None].copy(), np.array([latest])
        spikes = peel(outputs, block, n_blocks, limits, crosstalk, state, np.empty(16, dtype=SPIKE))
        values = np.stack([spikes[name] for name in ("scale", "shift", "energy")], axis=1)
        assert np.all(spikes["template"] == 0)
        return spikes["frame"].tolist(), values, int(state[0])


class TestPeel:
    def test_more_spikes_than_there_is_room_for_at_first(self) -> None:
        n_blocks, block = 2500, 2
        output = np.zeros(n_blocks * block + 3)
        output[1 : n_blocks * block : 2] = Impulses.NORM * np.linspace(0.8, 1.2, n_blocks)
        frames, values, latest = Impulses.peel(output, n_blocks, block)
        assert frames == list(range(1, 5000, 2))
        np.testing.assert_allclose(values[:, 0], (100 * np.linspace(0.8, 1.2, n_blocks) + 1) / 101, rtol=1e-5)
        assert latest == 4999

    def test_a_block_is_its_first_frame_to_its_last(self) -> None:
        output = np.zeros(13)
        for column in range(13):
            output[:] = 0
            output[column] = 100
            frames, _, _ = Impulses.peel(output, 2, 5)  # columns 1 to 10
            assert frames == ([column] if 1 <= column <= 10 else [])

    @pytest.mark.parametrize(("latest", "found"), [(-1, [4]), (0, [4]), (1, []), (2, [])])
    def test_a_spike_of_an_earlier_call_repeats(self, latest: int, found: list[int]) -> None:
        output = np.zeros(13)
        output[4] = 100
        frames, _, kept = Impulses.peel(output, 2, 5, repeat=3, latest=latest)
        assert frames == found
        assert kept == (4 if found else latest)

    def test_a_spike_that_repeats_is_taken_out_all_the_same(self) -> None:
        # The two are 3 apart. The smaller one is none, and leaves nothing that a third could be found in.
        output = np.zeros(13)
        output[[4, 7]] = 100, 90
        assert Impulses.peel(output, 2, 5, repeat=3)[0] == [4]
        assert Impulses.peel(output, 2, 5, repeat=2)[0] == [4, 7]

    def test_the_shift_is_that_of_the_parabola_through_the_peak(self) -> None:
        output = np.zeros(13)
        output[3:6] = 40, 100, 70  # vertex: (40 - 70) / 2 / (40 - 200 + 70) = 1/6 later, 100 + 30 / 4 / 6 = 101.25
        _, values, _ = Impulses.peel(output, 2, 5)
        scale, shift, energy = values[0]
        assert shift == pytest.approx(1 / 6)
        assert scale == pytest.approx((101.25 + 1) / 101)
        assert energy == pytest.approx(2 * scale * 101.25 - scale**2 * 100 - (scale - 1) ** 2, rel=1e-5)

    def test_filters_that_answer_each_other_more_than_themselves_find_nothing_beside_it(self) -> None:
        """Noise that electrodes share makes such filters, and each spike that is taken out makes a larger one.

        Its block has no spikes; those of later blocks are as they would be without it.
        """
        ones, reach = np.ones(2, np.float32), 10
        own, other = np.zeros((2, 2 * reach + 1), np.float32)
        own[reach], other[1:-1:3] = 100, -130
        limits = Limits(100 * ones, ones, np.float32(0.5) * ones, 2 * ones, 20.0, 3)
        rows = np.array([[0, 1], [1, 0]])  # of the own and the other output, for filters 0 and 1
        crosstalk = CrossTalk(np.stack([own, other]), np.array([[0, 1], [0, 1]]), rows, np.array([2, 2]))
        outputs = np.zeros((2, 203), np.float32)
        outputs[:, 4], outputs[0, 152] = 900, 100
        outputs[1, 142:163] = other  # as a spike of template 0 makes it
        spikes = peel(outputs, 5, 40, limits, crosstalk, np.array([-1000, -1000]), np.empty(16, dtype=SPIKE))
        assert spikes["frame"].tolist() == [152]
        assert spikes["template"].tolist() == [0]

    @pytest.mark.parametrize("size", [3, 8, 30])
    def test_a_spike_far_too_large_leaves_its_neighbours(self, size: float) -> None:
        """What is left of it is taken out as repeats of its template, however many that takes."""
        output = np.zeros(203)
        output[[20, 75, 90, 130]] = 100, 100 * size, 100, 100
        frames, values, _ = Impulses.peel(output, 4, 50, repeat=4)
        assert frames == [20, 75, 90, 130]
        np.testing.assert_allclose(values[[0, 2, 3], 0], 1)
