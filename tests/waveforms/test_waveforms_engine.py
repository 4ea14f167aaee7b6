from __future__ import annotations

import logging
import tracemalloc
from dataclasses import fields, replace
from types import SimpleNamespace

import numpy as np
import pytest

from spikelab.spike_sorting._exceptions import InsufficientActivityError
from spikelab.spike_sorting.config import WaveformConfig
from spikelab.spike_sorting.data import Epoch, SpikeTrains, Waveforms
from spikelab.spike_sorting.data.epochs import MOST_MEASURED_EPOCHS
from spikelab.spike_sorting.waveforms import _kernels, chunks, compute_waveforms, engine
from spikelab.spike_sorting.waveforms.alignment import Spikes
from spikelab.spike_sorting.waveforms.chunks import UnitPool
from spikelab.spike_sorting.waveforms.engine import least_bytes
from spikelab.spike_sorting.waveforms.noise import epoch_noise_levels
from spikelab.spike_sorting.waveforms.templates import Workspace, running_sums
from spikelab.spike_sorting.waveforms.windows import Window, draw, fitting

BREAKS = (20_011, 20_075, 41_000)  # the second epoch is shorter than a window


def compute(source, trains, config, *, seed=5, n_jobs=1, total_memory="1G", **more) -> Waveforms:
    return compute_waveforms(source, trains, config, seed=seed, n_jobs=n_jobs, total_memory=total_memory, **more)


def assert_same(one: Waveforms, other: Waveforms) -> None:
    for field in fields(Waveforms):
        a, b = getattr(one, field.name), getattr(other, field.name)
        if field.name == "spikes":
            for x, y in zip(a, b, strict=True):
                np.testing.assert_array_equal(x, y)
        else:
            np.testing.assert_array_equal(a, b)


def reference(traces, epochs, train, config, fs) -> dict:
    """A unit with few spikes, in float64, one spike at a time: as the rules read."""
    before, after = int(config.ms_before * fs / 1000), int(config.ms_after * fs / 1000)

    def windows(frames):
        cut = []
        for frame in frames:
            (epoch,) = [e for e in epochs if e.start_frame <= frame < e.end_frame]
            if frame - before >= epoch.start_frame and frame + after < epoch.end_frame:
                cut.append(traces[frame - before : frame + after + 1])
        return np.array(cut)

    look = windows(train).mean(axis=0)
    positive = look.max() >= config.pos_peak_thresh * abs(look.min())
    channel = (look.argmax() if positive else look.argmin()) % traces.shape[1]
    aligned = []
    radius = int(0.5 * fs / 1000)
    for i, frame in enumerate(train):
        (epoch,) = [e for e in epochs if e.start_frame <= frame < e.end_frame]
        low, high = max(frame - radius, epoch.start_frame), min(frame + radius, epoch.end_frame - 1)
        if i > 0 and train[i - 1] >= epoch.start_frame:
            low = max(low, (train[i - 1] + frame) // 2 + 1)
        if i + 1 < len(train) and train[i + 1] < epoch.end_frame:
            high = min(high, (train[i + 1] + frame) // 2)
        piece = traces[low : high + 1, channel] * (1 if positive else -1)
        aligned.append(low + int(piece.argmax()))
    cut = windows(aligned)
    template, std = cut.mean(axis=0), cut.std(axis=0)
    amplitude, peak = np.abs(template).max(axis=0), np.abs(template).argmax(axis=0)
    noise = np.median(np.abs(traces - np.median(traces, axis=0)), axis=0) / 0.6745
    return {
        "positive": positive,
        "channel": channel,
        "aligned": aligned,
        "template": template,
        "std": std,
        "amplitude": amplitude,
        "noise": noise,
        "snr": amplitude[channel] / noise[channel],
        "std_norms": std[peak, np.arange(traces.shape[1])] / amplitude,
        "n": len(cut),
    }


@pytest.mark.parametrize("breaks", [(), BREAKS])
@pytest.mark.parametrize("kind", ["binary", "array"])
def test_agrees_with_float64_brute_force(make_binary, make_array, make_culture, config, kind, breaks):
    counts, trains = make_culture()
    source = make_binary(counts, breaks) if kind == "binary" else make_array(counts * 0.1, breaks)
    result = compute(source, trains, config)
    assert result.n_before == 40
    assert result.templates.shape == (5, 81, 6)
    for row, train in enumerate(trains.samples):
        expected = reference(counts * 0.1, source.epochs, train.tolist(), config, 20_000.0)
        assert result.has_pos_peak[row] == expected["positive"] == (row % 3 == 2)
        assert result.main_channels[row] == expected["channel"] == row
        assert result.spikes[row].tolist() == expected["aligned"]
        assert result.n_averaged[row] == expected["n"]
        np.testing.assert_allclose(result.templates[row], expected["template"], atol=1e-4)
        np.testing.assert_allclose(result.template_stds[row], expected["std"], atol=1e-4)
        np.testing.assert_allclose(result.amplitudes[row], expected["amplitude"], atol=1e-4)
        np.testing.assert_allclose(result.noise, expected["noise"], rtol=1e-4)
        assert result.snr[row] == pytest.approx(expected["snr"], rel=1e-4)
        np.testing.assert_allclose(result.std_norms_all[row], expected["std_norms"], rtol=1e-2)
        assert result.std_norm[row] == result.std_norms_all[row, result.main_channels[row]]
        assert result.peak_inds[row, result.main_channels[row]] == 40


def test_epoch_templates_are_the_means_within_each_epoch(make_binary, make_culture, config):
    counts, trains = make_culture()
    source = make_binary(counts, BREAKS)
    result = compute(source, trains, config)
    assert result.epoch_templates.shape == (4, 5, 81, 6)
    assert np.isnan(result.epoch_templates[1]).all()  # nothing fits into 64 frames
    for row, spikes in enumerate(result.spikes):
        weights = []
        for index, epoch in enumerate(source.epochs):
            frames = [s for s in spikes if s - 40 >= epoch.start_frame and s + 40 < epoch.end_frame]
            weights.append(len(frames))
            if frames:
                mean = np.mean([counts[s - 40 : s + 41] * 0.1 for s in frames], axis=0)
                np.testing.assert_allclose(result.epoch_templates[index, row], mean, atol=1e-4)
        assert sum(weights) == result.n_averaged[row]
    assert compute(make_binary(counts), trains, config).epoch_templates is None


def test_epochs_of_lost_packets_are_not_measured_one_by_one(make_binary, make_culture, config, caplog):
    counts, trains = make_culture()
    breaks = np.linspace(0, len(counts), MOST_MEASURED_EPOCHS + 2).astype(int)[1:-1].tolist()
    few, many = (compute(make_binary(counts, tuple(some)), trains, config) for some in (breaks[1:], breaks))
    assert len(few.epoch_templates) == len(few.epoch_snr) == MOST_MEASURED_EPOCHS
    assert (many.epoch_templates, many.epoch_snr, many.epoch_std_norm) == (None, None, None)
    assert sum("templates, SNR and std_norm of single epochs" in record.message for record in caplog.records) == 1
    counts_of = [len(train) for train in trains.samples]
    bytes_of = [least_bytes(counts_of, counts.shape[1], 20_000.0, config, n) for n in (1, 64, 65, 2000)]
    assert bytes_of[0] == bytes_of[2] == bytes_of[3] < bytes_of[1]


@pytest.mark.parametrize("kind", ["binary", "array"])
@pytest.mark.parametrize("at_peak", [True, False])
def test_metrics_of_an_epoch_are_those_of_its_spikes_and_traces_alone(
    make_binary, make_array, make_culture, config, kind, at_peak
):
    counts, trains = make_culture()
    source = make_binary(counts, BREAKS) if kind == "binary" else make_array(counts * 0.1, BREAKS)
    result = compute(source, trains, replace(config, std_at_peak=at_peak))
    assert result.epoch_snr.shape == result.epoch_std_norm.shape == (4, 5)
    assert result.epoch_snr.dtype == result.epoch_std_norm.dtype == np.float32
    for index, epoch in enumerate(source.epochs):
        traces = counts[epoch.start_frame : epoch.end_frame] * 0.1
        noise = np.median(np.abs(traces - np.median(traces, axis=0)), axis=0) / 0.6745
        for row, (spikes, channel) in enumerate(zip(result.spikes, result.main_channels, strict=True)):
            frames = spikes[(spikes - 40 >= epoch.start_frame) & (spikes + 40 < epoch.end_frame)] - epoch.start_frame
            if len(frames) == 0:
                assert result.epoch_snr[index, row] == 0
                assert result.epoch_std_norm[index, row] == np.inf
                continue
            windows = np.array([traces[frame - 40 : frame + 41, channel] for frame in frames])
            template, std = windows.mean(axis=0), windows.std(axis=0)
            peak = np.abs(template).argmax()
            amplitude = abs(template[peak])
            spread = std[peak] if at_peak else std[peak - 10 : peak + 31].mean()  # 0.5 ms before to 1.5 ms after
            assert result.epoch_snr[index, row] == pytest.approx(amplitude / noise[channel], rel=1e-4)
            assert result.epoch_std_norm[index, row] == pytest.approx(spread / amplitude, rel=1e-3)
    whole = compute(make_binary(counts), trains, config)
    assert whole.epoch_snr is None
    assert whole.epoch_std_norm is None


def test_noise_of_a_long_epoch_is_taken_from_that_epoch(make_binary):
    rng = np.random.default_rng(0)
    counts = rng.normal(0, np.repeat([100, 300], 250_000)[:, None], (500_000, 2))
    noise = epoch_noise_levels(make_binary(counts, (250_000,)), seed=3)
    np.testing.assert_allclose(noise, [[10, 10], [30, 30]], rtol=0.02)


def test_waveforms_come_back_from_their_file(make_binary, make_culture, config, tmp_path):
    counts, trains = make_culture()
    for breaks in ((), BREAKS):
        result = compute(make_binary(counts, breaks), trains, config)
        result.save(tmp_path)
        assert_same(Waveforms.load(tmp_path), result)


def test_workers_chunks_and_memory_change_no_bit(make_binary, make_array, make_culture, config, monkeypatch):
    counts, trains = make_culture()
    for source in (make_binary(counts, BREAKS), make_array(counts * 0.1, BREAKS)):
        expected = compute(source, trains, config)
        assert_same(compute(source, trains, config, n_jobs=2), expected)
        assert_same(compute(source, trains, config, n_jobs=9, total_memory=1), expected)
        with monkeypatch.context() as patch:
            patch.setattr(chunks, "CHUNK_BYTES", 0)
            patch.setattr(chunks, "MIN_CHUNK_FRAMES", 777)
            assert_same(compute(source, trains, config, n_jobs=2), expected)


def test_counts_and_microvolts_agree(make_binary, make_array, make_culture, config):
    counts, trains = make_culture()
    fast, general = compute(make_binary(counts), trains, config), compute(make_array(counts * 0.1), trains, config)
    for name in ("templates", "template_stds", "snr", "std_norm", "noise"):
        np.testing.assert_allclose(getattr(fast, name), getattr(general, name), rtol=1e-3, atol=1e-4)
    for a, b in zip(fast.spikes, general.spikes, strict=True):
        np.testing.assert_array_equal(a, b)


def test_units_do_not_interact(make_binary, make_culture, config):
    counts, trains = make_culture()
    source, config = make_binary(counts), replace(config, max_waveforms_per_unit=20)
    together = compute(source, trains, config)
    for row, unit in enumerate(trains.unit_ids):
        alone = compute(source, SpikeTrains.from_dict({int(unit): trains.samples[row]}), config)
        np.testing.assert_array_equal(alone.templates[0], together.templates[row])
        np.testing.assert_array_equal(alone.spikes[0], together.spikes[row])


def test_no_more_than_the_allowed_number_is_averaged_and_the_seed_decides_which(make_binary, make_culture, config):
    counts, trains = make_culture()
    source, few = make_binary(counts), replace(config, max_waveforms_per_unit=10)
    result = compute(source, trains, few)
    assert result.n_averaged.tolist() == [10] * 5
    assert [len(s) for s in result.spikes] == [80] * 5
    assert_same(compute(source, trains, few), result)
    assert not np.array_equal(compute(source, trains, few, seed=6).templates, result.templates)


def test_files_hold_exactly_the_averaged_windows(make_binary, make_culture, config, tmp_path):
    counts, trains = make_culture()
    source, folder = make_binary(counts, BREAKS), tmp_path / "deep" / "waveforms"
    kept: dict[int, np.ndarray] = {}
    result = compute(source, trains, config, n_jobs=2, waveforms_folder=folder, keep=kept)
    assert_same(result, compute(source, trains, config))
    assert sorted(p.name for p in folder.iterdir()) == sorted(f"waveforms_{unit}.npy" for unit in trains.unit_ids)
    for row, unit in enumerate(trains.unit_ids):
        windows = np.load(folder / f"waveforms_{unit}.npy")
        assert windows.dtype == np.float32
        assert windows.shape == (result.n_averaged[row], 81, 6)
        np.testing.assert_allclose(windows.mean(axis=0, dtype=np.float64), result.templates[row], atol=1e-4)
        np.testing.assert_array_equal(windows, kept[int(unit)])


def test_a_failure_leaves_no_files(make_binary, make_culture, config, tmp_path, monkeypatch):
    counts, trains = make_culture()

    def full(*args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(engine.FolderSink, "add", full)
    with pytest.raises(OSError, match="No space left"):
        compute(make_binary(counts), trains, config, waveforms_folder=tmp_path / "waveforms")
    assert list((tmp_path / "waveforms").iterdir()) == []


def test_large_waveforms_in_memory_are_warned_about(make_binary, make_culture, config, caplog):
    counts, trains = make_culture()
    with caplog.at_level(logging.WARNING):
        compute(make_binary(counts), trains, config, total_memory="10k", keep={})
    assert "streaming=True" in caplog.text


def test_running_sums_take_no_more_memory_than_they_may(make_binary):
    rng = np.random.default_rng(0)
    source = make_binary(rng.integers(-100, 100, (4_000, 32)))
    trains, window, block = [rng.integers(100, 3_900, 3) for _ in range(300)], Window(40, 40), 500_000
    results_bytes, channels = 2 * 300 * window.n_samples * 32 * 4, np.zeros(300, dtype=np.int64)
    with UnitPool(1) as pool:
        for train in trains:
            train.sort()
        every = [np.arange(len(train)) for train in trains]
        small = Workspace(source, window, pool, running_sums(source, 1, window, block))
        engine.average_windows(small, Spikes(trains[:1]), every[:1], channels[:1])  # compiles
        tracemalloc.start()
        work = Workspace(source, window, pool, running_sums(source, 300, window, block))
        engine.average_windows(work, Spikes(trains), every, channels)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < results_bytes + 1.5 * block  # all units' sums at once would be four times the results


def test_no_units_is_insufficient_activity(make_binary, config):
    with pytest.raises(InsufficientActivityError, match="no units") as caught:
        compute(make_binary(np.zeros((100, 2))), SpikeTrains.from_dict({}), config)
    assert caught.value.sorter == ""


def test_units_without_a_fitting_spike_have_zeros_that_fail_curation(make_binary, make_culture, config):
    counts, trains = make_culture()
    odd = {100: [5, 59_990], 101: [], **dict(zip(trains.unit_ids.tolist(), trains.samples, strict=True))}
    result = compute(make_binary(counts), SpikeTrains.from_dict(odd), config)
    assert result.n_averaged[-2:].tolist() == [0, 0]
    assert not result.templates[-2:].any()
    assert result.snr[-2:].tolist() == [0, 0]
    assert np.isinf(result.std_norm[-2:]).all()
    assert [s.tolist() for s in result.spikes[-2:]] == [[5, 59_990], []]
    assert not result.has_pos_peak[-2:].any()


@pytest.mark.parametrize("n_samples", [1, 80, 81, 82])
def test_one_spike_in_a_short_recording(make_binary, config, n_samples):
    counts = np.zeros((n_samples, 2))
    frame = min(40, n_samples - 1)
    counts[frame, 1] = -1000
    result = compute(make_binary(counts), SpikeTrains.from_dict({0: [frame]}), config)
    fits = n_samples >= 81
    assert result.n_averaged.tolist() == [int(fits)]
    assert result.main_channels.tolist() == [int(fits)]
    assert result.templates[0].min() == (-100 if fits else 0)
    assert not result.template_stds.any()


def test_duplicate_spikes_stay_and_spikes_outside_are_left_out(make_binary, config, caplog):
    counts = np.zeros((2_000, 1))
    counts[[500, 900], 0] = -300
    trains = SpikeTrains.from_dict({0: [-5, 497, 497, 903, 2_000, 9_999]})
    with caplog.at_level(logging.WARNING):
        result = compute(make_binary(counts), trains, config)
    assert result.spikes[0].tolist() == [500, 500, 900]
    assert "3 spikes lie outside" in caplog.text
    assert result.std_norm.tolist() == [0]


def test_a_flat_recording_divides_by_nothing(make_binary, config):
    result = compute(make_binary(np.zeros((2_000, 3))), SpikeTrains.from_dict({0: [500, 600]}), config)
    assert result.snr.tolist() == [0]
    assert np.isinf(result.std_norms_all).all()


def test_a_million_spikes_of_one_unit(make_binary, config):
    counts = np.zeros((3_000_000, 1), dtype=np.int16)
    counts[1::3] = -7
    trains = SpikeTrains(np.array([0]), (np.arange(0, 3_000_000, 3),))
    result = compute(make_binary(counts), trains, replace(config, max_waveforms_per_unit=50_000))
    np.testing.assert_array_equal(result.spikes[0], np.arange(1, 3_000_000, 3))
    assert result.n_averaged.tolist() == [50_000]
    assert result.template_stds.max() == 0  # every window is the same: the sums are exact


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"ms_before": 1.0}, "templates"),
        ({"ms_after": 1.0}, "templates"),
        ({"pos_peak_thresh": 100.0}, "has_pos_peak"),
        ({"std_at_peak": False}, "std_norm"),
        ({"max_waveforms_per_unit": 5}, "n_averaged"),
    ],
)
def test_every_setting_matters(make_binary, make_culture, config, change, field):
    counts, trains = make_culture()
    source = make_binary(counts)
    one, other = compute(source, trains, config), compute(source, trains, replace(config, **change))
    assert not np.array_equal(getattr(one, field), getattr(other, field))


@pytest.mark.parametrize("change", [{"std_over_window_ms_before": 0.1}, {"std_over_window_ms_after": 0.1}])
def test_the_std_window_matters_off_the_peak(make_binary, make_culture, config, change):
    counts, trains = make_culture()
    source, wide = make_binary(counts), replace(config, std_at_peak=False)
    one, other = compute(source, trains, wide), compute(source, trains, replace(wide, **change))
    assert not np.array_equal(one.std_norm, other.std_norm)


def test_window_cuts_milliseconds_off():
    window = Window.from_ms(2.0, 1.0, 19_753.77)
    assert (window.n_before, window.n_after, window.n_samples) == (39, 19, 59)


def test_windows_fit_up_to_the_last_frame_of_an_epoch():
    source, window = SimpleNamespace(epochs=(Epoch(0, 100), Epoch(100, 200)), n_samples=200), Window(10, 5)
    frames = np.array([9, 10, 94, 95, 109, 110, 194, 195])
    assert fitting(frames, source, window).tolist() == [10, 94, 110, 194]


def test_draws_are_seeded_sorted_and_distinct():
    frames = np.arange(0, 5_000, 5)
    one = draw(frames, 100, 1, -3, 0)
    assert len(set(one.tolist())) == 100
    assert one.tolist() == sorted(one.tolist()) == draw(frames, 100, 1, -3, 0).tolist()
    assert one.tolist() != draw(frames, 100, 1, -4, 0).tolist()
    assert draw(frames, 1_000, 1, 2, 0) is frames


def test_kernels_compile_where_no_cache_can_be_written():
    namespace: dict = {}
    exec("def double(x):\n    return 2 * x", namespace)  # a function without a file, so without a cache folder
    assert _kernels.compiled(namespace["double"])(21) == 42


def test_the_default_config_is_accepted(make_binary, make_culture):
    counts, trains = make_culture()
    assert compute(make_binary(counts), trains, WaveformConfig()).n_units == 5
