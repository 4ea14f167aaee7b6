"""Units that have no template are found in what matching leaves."""

from __future__ import annotations

import numpy as np

from small import peaks_of, traces_of
from spikelab.spike_sorting.rt_sort.learning.missing import (
    Companion,
    companion_of,
    missed_events,
    new_groups,
    residual_of,
)
from spikelab.spike_sorting.rt_sort.matching.peeling import SPIKE
from spikelab.spike_sorting.rt_sort.matching.templates import TemplateBank, bank_from_waveforms, window_frames
from spikelab.spike_sorting.rt_sort.parameters import resolve
from spikelab.spike_sorting.rt_sort.traces import Traces
from spikelab.spike_sorting.rt_sort.whitening import Noise

RATE = 20_000.0
BEFORE, AFTER = window_frames(RATE)
COURSE = -np.exp(-0.5 * ((np.arange(BEFORE + AFTER + 1) - BEFORE) / 2.5) ** 2).astype(np.float32)
NOISE = Noise(np.ones(4, dtype=np.float32), np.eye(4, dtype=np.float32), np.ones(1, dtype=np.float32))
KNOWN, OTHER = np.array([20, 8, 0, 0], dtype=np.float32), np.array([0, 4, 9, 4], dtype=np.float32)
N_FRAMES = 40_000


def bank() -> TemplateBank:
    known = (np.array([0, 1]), np.outer(KNOWN[:2], COURSE))
    return bank_from_waveforms([known], NOISE, RATE, resolve("mea"))


def recorded(known: np.ndarray, other: np.ndarray, sizes: np.ndarray = OTHER, start: int = 0) -> Traces:
    values = np.random.default_rng(0).normal(scale=0.5, size=(N_FRAMES, 4)).astype(np.float32)
    for frames, shape in ((known, KNOWN), (other, sizes)):
        for frame in frames:
            values[frame - BEFORE : frame + AFTER + 1] += np.outer(COURSE, shape)
    traces = traces_of(values, RATE, breaks=(0, 30_000))
    return Traces(start, traces.end, 4, RATE, traces.locations, traces.channel_ids, traces._read, traces.breaks)


def spikes_at(frames: np.ndarray) -> np.ndarray:
    spikes = np.zeros(len(frames), dtype=SPIKE)
    spikes["frame"], spikes["scale"] = frames, 1
    return spikes


KNOWN_FRAMES, OTHER_FRAMES = np.arange(1000, 39_000, 1000), np.arange(1500, 39_000, 1000)


def events_of(frames: np.ndarray, channel: int, size: float) -> np.ndarray:
    return peaks_of([(frame, channel, 3, -size) for frame in frames])


def test_the_residual_is_the_traces_without_spikes_in_any_part_of_the_recording() -> None:
    traces = recorded(KNOWN_FRAMES, np.array([], dtype=int), start=500)
    residual = residual_of(traces, bank(), spikes_at(KNOWN_FRAMES - 500))
    assert (residual.n_frames, residual.pieces()) == (traces.n_frames, traces.pieces())
    whole = residual.read(0, residual.n_frames)
    assert np.abs(whole).max() < 4  # noise
    np.testing.assert_allclose(residual.read(505, 1480), whole[505:1480], atol=1e-5)


def test_windows_of_the_residual_are_those_of_its_traces() -> None:
    """Windows that a spike hangs into from either side, on channels that its template has and on others."""
    silence = np.array([[2995, 3004], [6500, 6510]])
    traces = recorded(KNOWN_FRAMES, OTHER_FRAMES, start=500).silent_in(silence, 0)
    spikes = spikes_at(KNOWN_FRAMES - 500)
    spikes["shift"] = np.tile([-0.3, 0, 0.4], len(spikes))[: len(spikes)]
    residual = residual_of(traces, bank(), spikes)
    frames = np.sort(np.concatenate([KNOWN_FRAMES[2:-2] - 500 + step for step in (-50, -21, -3, 0, 4, 31, 52, 300)]))
    channels = np.tile([[1, 0, -1], [2, 1, 0]], (len(frames), 1))[: len(frames)]
    windows = residual.windows(frames, channels, 6, 20)
    whole = residual.read(0, residual.n_frames)
    for window, frame, row in zip(windows, frames, channels, strict=True):
        expected = [whole[frame - 6 : frame + 21, c] if c >= 0 else np.zeros(27) for c in row]
        np.testing.assert_allclose(window, expected, atol=1e-5)
    assert not windows[frames == 3000 - 500 + 500, 0, 1:10].any()


def test_where_the_traces_are_silent_nothing_is_subtracted() -> None:
    """The silence begins in the middle of a spike."""
    traces = recorded(KNOWN_FRAMES, np.array([], dtype=int), start=500).silent_in(np.array([[1503, 1600]]), 0)
    residual = residual_of(traces, bank(), spikes_at(KNOWN_FRAMES - 500))
    assert not residual.read(1450, 1700)[53:150].any()
    assert residual.read(1450, 1700)[:53].any()
    np.testing.assert_array_equal(residual.in_artefact(np.array([1502, 1503])), [False, True])


def test_events_that_are_left_are_missed_and_small_remains_are_not() -> None:
    traces = recorded(KNOWN_FRAMES, OTHER_FRAMES)
    residual = residual_of(traces, bank(), spikes_at(KNOWN_FRAMES))
    events = np.concatenate([events_of(KNOWN_FRAMES, 0, 20), events_of(OTHER_FRAMES, 2, 9)])
    events = events[np.argsort(events["frame"])]
    assert missed_events(events, residual, NOISE)["frame"].tolist() == OTHER_FRAMES.tolist()
    assert len(missed_events(events[:0], residual, NOISE)) == 0


def test_the_companion_of_events_fires_at_one_lag() -> None:
    frames = np.arange(0, 2000, 100)
    spikes = np.concatenate([spikes_at(frames[:15] + 3), spikes_at(frames + np.tile([-9, -3, 2, 9], 5))])
    spikes["template"][15:] = 1
    spikes = spikes[np.argsort(spikes["frame"])]
    assert companion_of(frames, spikes, within=10, jitter=2) == Companion(0, 0.75)
    assert companion_of(frames, spikes, within=2, jitter=2) == Companion(1, 0.25)
    assert companion_of(frames, spikes[:0], within=10, jitter=2) == Companion(-1, 0)
    both = np.sort(np.concatenate([spikes_at(frames), spikes_at(frames + 1)]), order="frame")
    assert companion_of(frames, both, within=10, jitter=2) == Companion(0, 1)


def grouped(sizes: np.ndarray, frames: np.ndarray) -> np.ndarray:
    """Sizes on the four electrodes of new groups, made of spikes of other sizes at some frames."""
    traces = recorded(KNOWN_FRAMES, frames, sizes)
    spikes = spikes_at(KNOWN_FRAMES)
    root = int(np.argmax(sizes))
    events = events_of(frames, root, float(sizes[root]))
    means, counts, kept = new_groups(
        traces, residual_of(traces, bank(), spikes), events, np.zeros(len(events), dtype=np.int64), bank(), spikes,
        NOISE, resolve("mea"),
    )  # fmt: skip
    assert len(means) == len(counts) == len(kept)
    return np.round(-means[:, BEFORE])


def test_a_unit_without_a_template_is_a_new_group() -> None:
    assert grouped(OTHER, OTHER_FRAMES).tolist() == [OTHER.tolist()]


def test_noise_is_no_new_group() -> None:
    assert len(grouped(OTHER / 10, OTHER_FRAMES)) == 0


def test_what_a_template_leaves_of_its_own_spikes_is_no_new_group() -> None:
    """The remains of a known unit lie four frames after each of its spikes."""
    assert len(grouped(np.array([0, 7, 0, 0]), KNOWN_FRAMES + 4)) == 0


def test_spikes_that_a_template_took_for_its_own_are_averaged_whole() -> None:
    """As large beside those of the known unit: another one, which is seen with what was taken."""
    assert grouped(np.array([0, 4, 19, 4]), KNOWN_FRAMES).tolist() == [[20, 12, 19, 4]]
