"""Means and examples of units, learnt from traces whose spikes are known."""

from __future__ import annotations

import numpy as np
import pytest

from small import peaks_of, traces_of
from spikelab.spike_sorting.rt_sort import traces as reading
from spikelab.spike_sorting.rt_sort._window_kernels import gather_windows
from spikelab.spike_sorting.rt_sort.learning import waveforms
from spikelab.spike_sorting.rt_sort.learning.parts import Part
from spikelab.spike_sorting.rt_sort.learning.waveforms import (
    learn,
    match,
    mean_events,
)
from spikelab.spike_sorting.rt_sort.matching._template_kernels import subtract_spikes
from spikelab.spike_sorting.rt_sort.matching.peeling import SPIKE
from spikelab.spike_sorting.rt_sort.matching.templates import TemplateBank, bank_from_waveforms
from spikelab.spike_sorting.rt_sort.parameters import resolve
from spikelab.spike_sorting.rt_sort.whitening import Noise

RATE = 4000.0  # four frames before the peak and six after
BEFORE, AFTER = 4, 6
N_CHANNELS = 3
COURSE = np.array([0, 0, 1, -4, -20, -6, 5, 4, 2, 1, 0], dtype=np.float32)
QUICK = np.array([0, 0, 0, 2, -16, 8, 1, 0, 0, 0, 0], dtype=np.float32)


@pytest.fixture
def bank() -> TemplateBank:
    """Unit 0 on channels 0 and 1, unit 1 on channels 2 and 1."""
    noise = Noise(
        np.ones(N_CHANNELS, dtype=np.float32), np.eye(N_CHANNELS, dtype=np.float32), np.ones(1, dtype=np.float32)
    )
    first = (np.array([0, 1]), np.stack([COURSE, COURSE / 2]))
    second = (np.array([2, 1]), np.stack([QUICK, QUICK / 4]))
    return bank_from_waveforms([first, second], noise, RATE, resolve("mea"))


def spikes_of(rows: list[tuple[float, ...]]) -> np.ndarray:
    """Spikes from (frame, template, scale, shift)."""
    spikes = np.zeros(len(rows), dtype=SPIKE)
    for spike, (frame, template, scale, shift) in zip(spikes, rows, strict=True):
        spike["frame"], spike["template"], spike["scale"], spike["shift"] = frame, template, scale, shift
    return spikes


def contribution(bank: TemplateBank, spike: np.ndarray) -> np.ndarray:
    """What a spike adds around its frame, (frames, channels): its template, mixed with that of a frame beside."""
    own = bank.dense()[spike["template"]]
    beside = np.empty_like(own)
    if spike["shift"] >= 0:
        beside[0], beside[1:] = own[0], own[:-1]
    else:
        beside[-1], beside[:-1] = own[-1], own[1:]
    share = abs(spike["shift"])
    return spike["scale"] * ((1 - share) * own + share * beside)


def recorded(bank: TemplateBank, spikes: np.ndarray, n_frames: int) -> np.ndarray:
    """Traces that are nothing but spikes; what hangs over the ends is lost."""
    wide = np.zeros((n_frames + 40, N_CHANNELS), dtype=np.float32)
    for spike in spikes:
        at = spike["frame"] + 20
        wide[at - BEFORE : at + AFTER + 1] += contribution(bank, spike)
    return wide[20:-20]


def all_of(*bounds: tuple[int, int]) -> list[Part]:
    """Parts whose spikes count up to their ends."""
    return [Part(start, end, start, end) for start, end in bounds]


# Among them some at the bounds of chunks of 30 frames, and on both sides of them.
SPIKES = [
    (10, 0, 1.0, 0.0), (14, 1, 0.9, 0.25), (28, 1, 1.0, 0.0), (30, 0, 1.2, -0.5), (60, 0, 1.1, 0.1), (70, 1, 1.1, 0.0),
    (89, 1, 0.9, 0.0), (99, 0, 0.8, 0.5), (101, 1, 1.0, -0.25), (150, 0, 1.0, 0.25), (159, 1, 1.0, 0.0),
    (160, 0, 1.3, 0.0), (180, 1, 1.3, 0.5),
]  # fmt: skip


# Means of events


def test_means_of_events_are_those_of_their_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "frames_at_a_time", lambda n_channels: 20)
    values = np.random.default_rng(0).normal(size=(100, N_CHANNELS)).astype(np.float32)
    frames, labels = [5, 19, 20, 50, 93], np.array([1, 0, 1, -1, 1])
    means, counts = mean_events(traces_of(values, RATE), peaks_of([(frame, 0) for frame in frames]), labels)
    windows = np.stack([values[frame - BEFORE : frame + AFTER + 1] for frame in frames])
    assert counts.tolist() == [1, 3]
    np.testing.assert_allclose(means, [windows[1], windows[[0, 2, 4]].mean(axis=0)], atol=1e-6)


def test_a_group_without_events_has_a_mean_of_zero() -> None:
    means, counts = mean_events(traces_of(np.ones((50, 2)), RATE), peaks_of([(20, 0)]), np.array([1]))
    assert counts.tolist() == [0, 1]
    assert not means[0].any()
    assert (means[1] == 1).all()
    assert mean_events(traces_of(np.ones((50, 2)), RATE), peaks_of([(20, 0)]), np.array([-1]))[0].shape == (0, 11, 2)


def test_events_without_a_group_are_not_read() -> None:
    """The window of the second leaves the recording, which would be an error."""
    means, counts = mean_events(traces_of(np.ones((50, 2)), RATE), peaks_of([(20, 0), (49, 0)]), np.array([0, -1]))
    assert counts.tolist() == [1]
    assert (means == 1).all()


# Matching of parts


def test_matching_finds_the_spikes_of_the_parts_only(bank: TemplateBank) -> None:
    spikes = spikes_of([(60, 0, 1.0, 0), (150, 1, 1.0, 0), (300, 0, 1.0, 0), (420, 1, 1.0, 0)])
    traces = traces_of(recorded(bank, spikes, 600), RATE)
    found = match(traces, bank, [(250, 500), (20, 120)])
    assert found["frame"].tolist() == [60, 300, 420]
    assert found["template"].tolist() == [0, 0, 1]
    np.testing.assert_allclose(found["scale"], 1, atol=0.05)
    assert match(traces, bank, []).size == 0


# Means and examples


def test_what_is_learnt_of_known_spikes_is_their_templates(bank: TemplateBank, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waveforms, "frames_at_a_time", lambda n_channels: 30)
    spikes = spikes_of(SPIKES)
    learnt = learn(traces_of(recorded(bank, spikes, 200), RATE), bank, spikes, all_of((0, 120), (130, 200)), seed=0)
    np.testing.assert_allclose(learnt.means, bank.dense(), atol=1e-4)
    assert learnt.counts.tolist() == [6, 7]
    for unit in (0, 1):
        own = spikes[spikes["template"] == unit]
        assert learnt.frames[unit].tolist() == own["frame"].tolist() == learnt.example_frames[unit].tolist()
        np.testing.assert_array_equal(learnt.scales[unit], own["scale"])
        channels = [[0, 1], [2, 1]][unit]
        assert learnt.channels[unit].tolist() == channels + [-1] * 22
        expected = [contribution(bank, spike)[:, channels].T for spike in own]
        np.testing.assert_allclose(learnt.examples[unit][:, :2], expected, atol=1e-4)
        assert learnt.examples[unit].shape == (len(own), 24, 11)
        assert not learnt.examples[unit][:, 2:].any()


def test_examples_and_means_keep_the_noise_that_is_there(bank: TemplateBank, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waveforms, "frames_at_a_time", lambda n_channels: 30)
    spikes, parts = spikes_of(SPIKES), all_of((0, 120), (130, 200))
    noise = np.random.default_rng(0).normal(size=(200, N_CHANNELS)).astype(np.float32)
    learnt = learn(traces_of(recorded(bank, spikes, 200) + noise, RATE), bank, spikes, parts, seed=0)
    for unit, channels in ((0, [0, 1]), (1, [2, 1])):
        own = spikes[spikes["template"] == unit]
        windows = np.stack([noise[frame - BEFORE : frame + AFTER + 1] for frame in own["frame"]])
        expected = bank.dense()[unit] + windows.sum(axis=0) / own["scale"].sum()
        np.testing.assert_allclose(learnt.means[unit], expected, atol=1e-4)
        whole = windows + [contribution(bank, spike) for spike in own]
        np.testing.assert_allclose(learnt.examples[unit][:, :2], whole[:, :, channels].transpose(0, 2, 1), atol=1e-4)


def test_what_the_templates_do_not_explain_becomes_part_of_the_means(bank: TemplateBank) -> None:
    """Each spike brings something on a channel that the template has not, in proportion to its size."""
    spikes = spikes_of([(40, 0, 1.2, -0.5), (80, 0, 0.9, 0.0)])
    values = recorded(bank, spikes, 200)
    more = np.linspace(1, 2, 11, dtype=np.float32)
    for spike in spikes:
        values[spike["frame"] - BEFORE : spike["frame"] + AFTER + 1, 2] += spike["scale"] * more
    learnt = learn(traces_of(values, RATE), bank, spikes, all_of((0, 200)), seed=0)
    np.testing.assert_allclose(learnt.means[0] - bank.dense()[0], np.outer(more, [0, 0, 1]), atol=1e-4)


def test_spikes_at_the_ends_of_a_part_count_but_teach_nothing(bank: TemplateBank) -> None:
    """A window of four frames before and six after has to be inside."""
    spikes = spikes_of([(23, 0, 1, 0), (24, 0, 1, 0), (60, 0, 1, 0), (93, 0, 1, 0), (94, 0, 1, 0), (150, 0, 1, 0)])
    learnt = learn(traces_of(recorded(bank, spikes, 200), RATE), bank, spikes, all_of((20, 100)), seed=0)
    assert learnt.frames[0].tolist() == [23, 24, 60, 93, 94]
    assert learnt.example_frames[0].tolist() == [24, 60, 93]
    assert learnt.counts.tolist() == [3, 0]
    assert learnt.frames[1].size == learnt.examples[1].size == 0


def test_spikes_near_a_cut_are_subtracted_but_do_not_count(bank: TemplateBank) -> None:
    spikes = spikes_of([(29, 1, 1, 0), (32, 0, 1, 0), (60, 0, 1, 0), (79, 0, 1, 0), (82, 1, 1, 0)])
    values = recorded(bank, spikes, 200)
    learnt = learn(traces_of(values, RATE), bank, spikes, [Part(20, 90, 30, 80)], seed=0)
    assert [frames.tolist() for frames in learnt.frames] == [[32, 60, 79], []]
    np.testing.assert_allclose(learnt.means, bank.dense(), atol=1e-4)


def test_a_unit_of_few_spikes_is_not_blown_up(bank: TemplateBank) -> None:
    """One spike of half the size: what is left of it is not divided by one half."""
    spikes = spikes_of([(50, 0, 0.5, 0)])
    values = recorded(bank, spikes, 100)
    values[50, 2] += 3
    learnt = learn(traces_of(values, RATE), bank, spikes, all_of((0, 100)), seed=0)
    assert learnt.means[0][BEFORE, 2] == pytest.approx(3)


def test_examples_are_some_of_many_spikes(bank: TemplateBank, monkeypatch: pytest.MonkeyPatch) -> None:
    spikes = spikes_of([(20 + 15 * k, int(k >= 50), 1, 0) for k in range(60)])
    traces = traces_of(recorded(bank, spikes, 1000), RATE)
    assert len(learn(traces, bank, spikes, all_of((0, 1000)), seed=0).examples[0]) == 50
    monkeypatch.setattr(waveforms, "MAX_EXAMPLES", 45)
    chosen = [learn(traces, bank, spikes, all_of((0, 1000)), seed).example_frames for seed in (0, 0, 1)]
    assert [len(frames) for frames in chosen[0]] == [45, 10]
    assert chosen[0][0].tolist() == chosen[1][0].tolist() != chosen[2][0].tolist()
    assert set(chosen[0][0].tolist()) < set(spikes["frame"][:50].tolist())
    assert np.all(np.diff(chosen[0][0]) > 0)
    monkeypatch.setattr(waveforms, "MAX_EXAMPLES_IN_ALL", 84)
    assert [len(frames) for frames in learn(traces, bank, spikes, all_of((0, 1000)), 0).example_frames] == [42, 10]
    monkeypatch.setattr(waveforms, "MAX_EXAMPLES_IN_ALL", 10)
    assert [len(frames) for frames in learn(traces, bank, spikes, all_of((0, 1000)), 0).example_frames] == [40, 10]


def test_parts_are_read_in_chunks_with_a_window_around_them(
    bank: TemplateBank, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without spikes a residual is the traces, with zeros beyond the recording."""
    monkeypatch.setattr(waveforms, "frames_at_a_time", lambda n_channels: 30)
    values = np.random.default_rng(0).normal(size=(100, N_CHANNELS)).astype(np.float32)
    chunks = list(
        waveforms._residuals(traces_of(values, RATE), bank, spikes_of([]), np.empty(0, int), [(0, 45), (60, 100)])
    )
    assert [(start, end) for start, end, _ in chunks] == [(0, 30), (30, 45), (60, 90), (90, 100)]
    wide = np.pad(values, ((11, 11), (0, 0)))
    for start, end, residual in chunks:
        np.testing.assert_array_equal(residual, wide[start : end + 22])


# Loops


def test_windows_are_gathered_by_channel() -> None:
    values = np.arange(40, dtype=np.float32).reshape(20, 2)
    windows = np.zeros((2, 3, 4), dtype=np.float32)
    gather_windows(values, np.array([3, 10]), np.array([[1, -1, 0], [0, 1, -1]]), 2, np.float32(1), windows)
    expected = [[values[1:5, 1], [0] * 4, values[1:5, 0]], [values[8:12, 0], values[8:12, 1], [0] * 4]]
    np.testing.assert_array_equal(windows, expected)


@pytest.mark.parametrize("shift", [0.0, 0.25, -0.5, 1.0])
def test_spikes_are_taken_out_where_they_hang_over_the_ends(bank: TemplateBank, shift: float) -> None:
    spikes = spikes_of([(1, 0, 1.5, shift), (15, 1, 1.0, shift), (17, 0, 0.7, shift), (28, 1, 1.0, shift)])
    values = recorded(bank, spikes, 30)
    assert np.abs(values).max() > 10
    subtract_spikes(values, spikes, bank.templates)
    np.testing.assert_allclose(values, 0, atol=1e-5)


def test_of_few_units_300_examples_are_kept_of_many_fewer_and_40_at_least() -> None:
    counts = [waveforms.most_examples(n) for n in (0, 1, 133, 134, 200, 999, 1001, 10_000)]
    assert counts == [300, 300, 300, 298, 200, 40, 40, 40]


def test_of_as_many_spikes_as_are_kept_none_is_left_out() -> None:
    for n, kept in ((300, 300), (301, 300)):
        chosen = waveforms._choose_examples(np.zeros(n, dtype=np.int32), np.ones(n, dtype=bool), 1, 0)
        assert chosen.sum() == kept
