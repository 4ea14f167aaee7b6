"""Pulses that hold amplifiers on a rail, and what is left of pulses: dead time and warnings."""

from __future__ import annotations

import logging
import warnings
from typing import Any

import numpy as np
import pytest
from spikeinterface.core import NumpyRecording

from spikelab.spike_sorting.config import RecordingConfig
from spikelab.spike_sorting.data import dead_time_of
from spikelab.spike_sorting.data.dead_time import in_dead_time
from spikelab.spike_sorting.recording import open_recording
from spikelab.spike_sorting.recording.stimulation import planning, removal, without_pulses

FS, N, GAIN, NOISE_UV = 20_000.0, 8, 0.195, 8.0
PULSES = np.array([10_000, 20_000, 30_000])


def on_rail(held_ms: float, n_held: int = N, pulses: np.ndarray = PULSES, loud_uv: float = 0.0) -> NumpyRecording:
    """Counts, of which some channels stay on the rail after each pulse and decay from there; the others decay soon."""
    rng = np.random.default_rng(0)
    traces, after = rng.normal(0, NOISE_UV, (40_000, N)), np.arange(2000)[:, None] / 20
    for pulse in pulses:
        ends = pulse + 8 + np.where(np.arange(N) < n_held, round(held_ms * 20), 0)
        for channel, end in enumerate(ends):
            fall = 2500 * np.exp(-after[:, 0] / (5 + channel))
            traces[end : end + 2000, channel] += fall[: len(traces) - end]
            traces[pulse:end, channel] += 9000
        traces[pulse : pulse + 2000] += loud_uv * rng.normal(0, 1, (2000, N))
    recording = NumpyRecording([np.rint(traces / GAIN).clip(-(2**15), 2**15 - 1).astype(np.int16)], FS)
    recording.set_channel_gains(GAIN)
    recording.set_channel_offsets(0)
    recording.set_dummy_probe_from_locations(np.column_stack([np.zeros(N), 20.0 * np.arange(N)]))
    return recording


def opened(recording: Any, pulses: np.ndarray = PULSES) -> Any:
    return open_recording(recording, RecordingConfig(stim_times_s=(pulses / FS).tolist()))


@pytest.mark.parametrize("held_ms", [8.0, 15.0, 60.0, 250.0])
def test_a_rail_is_dead_time_to_its_end_and_the_release_is_removed(held_ms: float) -> None:
    found = opened(on_rail(held_ms))
    periods = dead_time_of(found)
    assert len(periods) == len(PULSES)
    released = PULSES + 8 + round(held_ms * 20)
    assert (periods[:, 1] >= released).all()
    assert (periods[:, 1] <= released + 80).all()
    traces, frames = found.get_traces(), np.arange(found.get_num_samples())
    assert np.abs(traces[~in_dead_time(frames, periods)]).max() < 6 * NOISE_UV
    pieces = [found.get_traces(start_frame=a, end_frame=a + 777) for a in (9_900, 10_400, 11_300, 15_000)]
    for start, piece in zip((9_900, 10_400, 11_300, 15_000), pieces, strict=True):
        np.testing.assert_allclose(piece, traces[start : start + 777], atol=0.5)


def test_a_pulse_that_lasts_until_the_next_one_is_dead_time() -> None:
    pulses = 10_000 + 400 * np.arange(6)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of noise that cannot be measured
        periods = dead_time_of(opened(on_rail(30.0, pulses=pulses), pulses))
    assert len(periods) == 1
    assert periods[0, 0] <= pulses[0]
    assert pulses[-1] + 600 <= periods[0, 1] <= pulses[-1] + 900


def test_a_tenth_of_the_channels_on_the_rail_costs_the_others_nothing() -> None:
    assert planning.BLIND_SHARE < 1 / N
    recording = on_rail(30.0, n_held=0)
    assert np.diff(dead_time_of(opened(recording))).max() < 60


def test_dead_time_is_what_is_bridged_of_each_pulse() -> None:
    low, high = np.full(N, -np.inf, dtype=np.float32), np.full(N, 32_767, dtype=np.float32)
    recording, none = on_rail(4.0), np.zeros(3, dtype=np.int64)
    plan = removal.Plan(PULSES, none, np.full((1, N), 20), np.full((1, N), removal.DECAY), low, high, none)
    periods, until = planning.dead_periods(recording.segments[0], plan, FS)
    assert periods.tolist() == [[pulse - 2, pulse + 8 + 80 + 6 + 5] for pulse in PULSES.tolist()]
    assert (until >= periods[:, 1] - 5).all()


def test_noise_that_is_left_after_pulses_is_warned_of(caplog: Any) -> None:
    with pytest.warns(
        UserWarning, match=r"after the dead time of 3 pulses, of 8 channels 8 have up to .* times the noise"
    ):
        opened(on_rail(1.0, loud_uv=100.0))
    with caplog.at_level(logging.INFO):
        opened(on_rail(15.0))
    assert "3 pulses hold more than a tenth of the channels on a rail, for up to 15.4 ms" in caplog.text
    assert "inf times" not in caplog.text


@pytest.mark.parametrize("n_held", [2, 6])
def test_channels_that_are_not_held_are_bridged_with_the_others(n_held: int) -> None:
    found = opened(on_rail(40.0, n_held=n_held))
    live = ~in_dead_time(np.arange(found.get_num_samples()), dead_time_of(found))
    assert 40 <= np.diff(dead_time_of(found)).max() / 20 < 45
    assert np.abs(found.get_traces()[live]).max() < 6 * NOISE_UV


@pytest.mark.parametrize("n_frames", [100, 156, 199])
def test_segments_that_are_shorter_than_a_quiet_block_are_cleaned(n_frames: int) -> None:
    whole = on_rail(0.0).get_traces()
    short = NumpyRecording([whole[9960 : 9960 + n_frames], whole], FS)
    given: list[Any] = [(np.array([40]), ("",)), (PULSES, ("",) * 3)]
    found = without_pulses(short, given, [""], (300.0, 6000.0), "it")
    assert found.pulses[0][:, :2].tolist() == [[40, 0]]
    assert found.dead_time[0][0, 0] == 38
    assert 100 <= found.dead_time[0][0, 1] <= n_frames
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of noise that cannot be measured
        alone = without_pulses(
            NumpyRecording([whole[9960 : 9960 + n_frames]], FS), given[:1], [""], (300.0, 6000.0), "it"
        )
    assert alone.pulses[0][:, :2].tolist() == [[40, 0]]
