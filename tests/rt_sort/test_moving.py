"""Templates with versions: banks that are replaced in part, and spikes matched across the borders of stretches."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from spikelab.spike_sorting.rt_sort.matching.moving import (
    MovingBank,
    MovingMatcher,
    Versions,
    at_border,
    matcher_of,
    versions_of,
)
from spikelab.spike_sorting.rt_sort.matching.peeling import SPIKE, Matcher
from spikelab.spike_sorting.rt_sort.matching.templates import TemplateBank, bank_from_waveforms, replace_templates
from spikelab.spike_sorting.rt_sort.parameters import SequenceParameters
from spikelab.spike_sorting.rt_sort.whitening import Noise

FS = 4000.0  # 4 frames before the peak, 6 after; blocks of 10
N_BEFORE, N_FRAMES, N_CHANNELS = 4, 11, 5
NOISE = Noise(
    np.array([1, 1, 2, 2, 1], np.float32), np.eye(N_CHANNELS, dtype=np.float32), np.array([1, 0], dtype=np.float32)
)
PARAMETERS = replace(SequenceParameters(), repeated_detection_overlap_time=0.5)  # 2 frames


def waveform(*sizes: float, width: float = 1.2) -> tuple[np.ndarray, np.ndarray]:
    """A trough at frame 4 of some size on each channel; channels of size 0 are left out, the largest are first."""
    t = np.arange(N_FRAMES) - N_BEFORE
    course = -np.exp(-((t / width) ** 2)) * (1 - (t / 8) ** 2)
    course[[0, -1]] = 0
    channels = np.argsort(-np.abs(sizes) / NOISE.sigma[: len(sizes)], kind="stable")
    channels = channels[np.array(sizes)[channels] != 0]
    return channels, (np.array(sizes)[channels, None] * course).astype(np.float32)


FIRST, MOVED, GONE = waveform(30, 18), waveform(12, 30, 20), waveform(0, 12, 60, 20)
OTHER, WIDE = waveform(0, 0, 0, 40, 10, width=2.0), waveform(5, 0, 30, 0, 30)
VERSIONS = Versions(
    np.array([0, 0, 0, 1, 2, 2]), np.array([0, 300, 600, 0, 5, 600]), (FIRST, MOVED, GONE, OTHER, WIDE, FIRST)
)


def moving(versions: Versions = VERSIONS) -> MovingBank:
    return MovingBank(versions, NOISE, FS, PARAMETERS)


def rendered(n_frames: int, *spikes: tuple[int, int], versions: Versions = VERSIONS, clock: int = 0) -> np.ndarray:
    """Traces with spikes (frame, template) of the version of the time, in little noise."""
    traces = np.random.default_rng(0).normal(0, 0.3, (n_frames, N_CHANNELS)).astype(np.float32)
    for frame, u in spikes:
        channels, wave = versions.waveforms[int(versions.rows(np.array([u]), np.array([frame + clock]))[0])]
        low, high = max(0, frame - N_BEFORE), min(n_frames, frame - N_BEFORE + N_FRAMES)
        part = wave.T[low - frame + N_BEFORE : high - frame + N_BEFORE]
        traces[low:high, channels] += part
    return traces


def found(matcher: Matcher | MovingMatcher, traces: np.ndarray, size: int | None = None) -> np.ndarray:
    size = size or len(traces)
    parts = [matcher.push(traces[start : start + size]) for start in range(0, len(traces), size)]
    spikes = np.concatenate([*parts, matcher.finish()])
    return spikes[np.lexsort((spikes["template"], spikes["frame"]))]


def places(spikes: np.ndarray) -> list[tuple[int, int]]:
    return [(int(spike["frame"]), int(spike["template"])) for spike in spikes]


def test_each_frame_has_a_version_and_the_first_holds_before() -> None:
    assert VERSIONS.n_templates == 3
    assert VERSIONS.n_each.tolist() == [3, 1, 2]
    assert VERSIONS.changes.tolist() == [300, 600]
    rows = VERSIONS.rows(np.array([0, 0, 0, 0, 1, 2, 2, 2]), np.array([-5, 299, 300, 10_000, 0, 0, 599, 600]))
    assert rows.tolist() == [0, 0, 1, 2, 3, 4, 4, 5]
    assert VERSIONS.at(400).tolist() == [1, 3, 4]
    some = VERSIONS.subset(np.array([True, False, True]))
    assert (some.templates.tolist(), some.starts.tolist()) == ([0, 0, 0, 1, 1], [0, 300, 600, 5, 600])
    assert some.waveforms == (FIRST, MOVED, GONE, WIDE, FIRST)
    more = some.plus([OTHER, WIDE])
    assert (more.templates.tolist(), more.starts.tolist()) == ([0, 0, 0, 1, 1, 2, 3], [0, 300, 600, 5, 600, 0, 0])
    assert more.waveforms == (*some.waveforms, OTHER, WIDE)
    assert Versions.of([]).plus([OTHER]).templates.tolist() == [0]
    still = Versions.of([FIRST, OTHER])
    assert (still.changes.tolist(), still.n_templates, Versions.of([]).n_templates) == ([], 2, 0)


def assert_same_bank(one: TemplateBank, other: TemplateBank) -> None:
    np.testing.assert_array_equal(one.dense(), other.dense())
    np.testing.assert_array_equal(one.limits.norms, other.limits.norms)
    for name in ("n_channels", "channels", "spatial", "temporal", "ranks"):
        np.testing.assert_array_equal(getattr(one.filters, name), getattr(other.filters, name))
    for u in range(one.n_templates):
        n = one.crosstalk.n_filters[u]
        assert (
            one.crosstalk.filters[u, :n].tolist() == other.crosstalk.filters[u, : other.crosstalk.n_filters[u]].tolist()
        )
        np.testing.assert_array_equal(
            one.crosstalk.outputs[one.crosstalk.rows[u, :n]], other.crosstalk.outputs[other.crosstalk.rows[u, :n]]
        )


def test_a_bank_that_is_replaced_in_part_is_that_of_the_new_waveforms() -> None:
    bank = bank_from_waveforms([FIRST, OTHER, WIDE], NOISE, FS, PARAMETERS)
    before = bank.dense()
    for changed in ({0: MOVED}, {0: GONE, 2: MOVED}, {1: FIRST}, {0: FIRST, 1: OTHER, 2: WIDE}):
        clean = [changed.get(u, own) for u, own in enumerate([FIRST, OTHER, WIDE])]
        replaced = replace_templates(bank, changed, NOISE)
        assert_same_bank(replaced, bank_from_waveforms(clean, NOISE, FS, PARAMETERS))
        back = replace_templates(replaced, {0: FIRST, 1: OTHER, 2: WIDE}, NOISE)
        assert_same_bank(back, bank)
    np.testing.assert_array_equal(bank.dense(), before)


def test_a_stretch_has_the_same_bank_whatever_was_known() -> None:
    banks = moving()
    assert banks.borders.tolist() == [300, 600]
    assert [banks.stretch(frame) for frame in (0, 299, 300, 600, 10_000)] == [0, 0, 1, 2, 2]
    for stretch, waveforms in enumerate([[FIRST, OTHER, WIDE], [MOVED, OTHER, WIDE], [GONE, OTHER, FIRST]]):
        fresh = bank_from_waveforms(waveforms, NOISE, FS, PARAMETERS)
        assert_same_bank(banks.bank(stretch), fresh)
        for other in range(3):
            assert_same_bank(banks.bank(stretch, (other, banks.bank(other))), fresh)
    assert (banks.n_templates, banks.n_channels, banks.n_before, banks.n_after, banks.n_frames) == (3, 5, 4, 6, 11)
    assert banks.templates.n_channels.tolist() == [2, 3, 3, 2, 3, 2]
    assert versions_of(banks) is VERSIONS
    np.testing.assert_array_equal(banks.limits.norms, banks.bank(2).limits.norms)
    assert versions_of(banks.bank(0)).templates.tolist() == [0, 1, 2]


# Of each template some spikes in every stretch; at the borders one on each side and one on the border itself.
TRAIN = [(40, 0), (90, 1), (150, 2), (250, 0), (290, 1), (298, 0), (330, 1), (350, 0), (450, 2), (520, 0), (560, 2)]
TRAIN += [(599, 1), (601, 0), (650, 2), (700, 0), (797, 1)]


@pytest.mark.parametrize("size", [None, 1, 7, 100])
def test_spikes_are_found_by_the_templates_of_their_time(size: int | None) -> None:
    traces = rendered(800, *TRAIN)
    spikes = found(MovingMatcher(moving()), traces, size)
    assert places(spikes) == TRAIN
    at_border = np.abs(spikes["frame"] - 600) < 5  # two that overlap, each with a template that the other never has
    np.testing.assert_allclose(spikes["scale"][~at_border], 1, atol=0.03)
    np.testing.assert_array_equal(spikes, found(MovingMatcher(moving(), n_jobs=2), traces))


@pytest.mark.parametrize("frame", range(595, 606))
def test_a_spike_at_a_border_is_neither_doubled_nor_lost(frame: int) -> None:
    for u in (0, 1, 2):
        spikes = found(MovingMatcher(moving()), rendered(800, (frame, u)))
        assert len(spikes) == 1
        assert spikes["template"][0] == u


def test_what_both_sides_of_a_border_find_is_one_spike() -> None:
    def spikes(*rows: tuple[int, int]) -> np.ndarray:
        made = np.zeros(len(rows), dtype=SPIKE)
        for i, (frame, u) in enumerate(rows):
            made[i]["frame"], made[i]["template"] = frame, u
        return made

    def chosen(late: np.ndarray, early: np.ndarray) -> list[tuple[int, int]]:
        return sorted(places(at_border(late, early, 100, 2)))

    assert chosen(spikes((99, 0)), spikes((101, 0))) == [(99, 0)]  # each on its own side
    assert chosen(spikes((101, 0)), spikes((99, 0))) == [(101, 0)]  # each on the other's
    assert chosen(spikes((99, 0)), spikes((99, 0))) == [(99, 0)]
    assert chosen(spikes((100, 0)), spikes((100, 0))) == [(100, 0)]
    assert chosen(spikes((100, 0)), spikes((98, 1))) == []  # nothing on either's own side
    assert chosen(spikes((99, 0)), spikes((100, 1))) == [(99, 0), (100, 1)]
    assert chosen(spikes((98, 0)), spikes((101, 0))) == [(98, 0), (101, 0)]  # further apart than a repeat
    assert chosen(spikes((100, 0)), spikes((99, 0), (101, 0))) == [(101, 0)]


@pytest.mark.parametrize("start", [200, 295, 300, 590, 700])
def test_the_clock_may_begin_anywhere(start: int) -> None:
    train = [(10, 1), (60, 0), (150, 2), (180, 0)]
    matcher = MovingMatcher(moving(), start=start)
    traces = rendered(200, *train, clock=start)
    for _ in range(2):  # after the end it begins there anew
        assert places(found(matcher, traces)) == train
    matcher.push(traces[:50])
    matcher.reset(0)
    assert places(found(matcher, rendered(200, *train))) == train


def test_where_nothing_changes_spikes_are_those_of_a_single_bank() -> None:
    versions = Versions.of([FIRST, OTHER, WIDE])
    bank, still = bank_from_waveforms([FIRST, OTHER, WIDE], NOISE, FS, PARAMETERS), moving(versions)
    train = [(frame, frame % 3) for frame in range(5, 395, 9)]
    traces = rendered(400, *train, versions=versions)
    assert isinstance(matcher_of(bank), Matcher)
    assert isinstance(matcher_of(still, 2), MovingMatcher)
    for size in (None, 33):
        np.testing.assert_array_equal(found(matcher_of(still), traces, size), found(matcher_of(bank), traces))
    assert len(found(matcher_of(still), traces[:0], 1)) == 0


def test_no_spike_comes_later_than_promised() -> None:
    matcher, traces = MovingMatcher(moving()), rendered(800, *TRAIN)
    assert matcher.latency_frames == Matcher(moving().bank(0)).latency_frames + 4
    for at in range(len(traces)):
        for spike in matcher.push(traces[at : at + 1]):
            assert at + 1 - spike["frame"] <= matcher.latency_frames
