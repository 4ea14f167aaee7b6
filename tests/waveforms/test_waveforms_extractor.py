from __future__ import annotations

import json
from dataclasses import asdict, replace
from types import SimpleNamespace

import numpy as np
import pytest
from spikeinterface.core import NumpyRecording, NumpySorting, append_recordings

from spikelab.spike_sorting._exceptions import InsufficientActivityError
from spikelab.spike_sorting.data import Epoch
from spikelab.spike_sorting.data.traces import trace_source
from spikelab.spike_sorting.waveforms import (
    SpikeInterfaceTraces,
    WaveformExtractor,
    compute_waveforms,
    extract,
    waveforms_from_extractor,
)

BREAKS = (30_000,)


@pytest.fixture
def scene(make_binary, make_culture, config, tmp_path):
    counts, trains = make_culture()
    binary = make_binary(counts, BREAKS)

    def run(**changes) -> WaveformExtractor:
        return extract(
            binary.to_spikeinterface(),
            trains.to_spikeinterface(binary.sampling_frequency),
            tmp_path / "waveforms",
            replace(config, **changes),
            seed=5,
            total_memory="1G",
            sorter="kilosort4",
        )

    return SimpleNamespace(counts=counts, trains=trains, binary=binary, run=run, folder=tmp_path)


def test_it_has_what_the_specification_lists(scene, config):
    extractor = scene.run()
    result = extractor.waveforms_result
    assert list(extractor.sorting.unit_ids) == [3, 10, 17, 24, 31]
    np.testing.assert_array_equal(extractor.sorting.get_unit_spike_train(17), result.spikes[2])
    assert extractor.recording.get_num_channels() == 6
    assert extractor.sampling_frequency == 20_000.0
    assert extractor.peak_ind == 40
    assert extractor.chans_max_all == {3: 0, 10: 1, 17: 2, 24: 3, 31: 4}
    assert extractor.use_pos_peak == {3: False, 10: False, 17: True, 24: False, 31: False}
    assert extractor.ms_to_samples(1.99) == 39
    assert extractor.root_folder == scene.folder / "waveforms"
    direct = compute_waveforms(scene.binary, scene.trains, config, seed=5, n_jobs=1, total_memory="1G")
    np.testing.assert_array_equal(result.templates, direct.templates)


@pytest.mark.parametrize("streaming", [True, False])
def test_templates_by_mode(scene, streaming):
    extractor = scene.run(streaming=streaming, max_waveforms_per_unit=30)
    for unit in (3, 17):
        files = scene.run(streaming=True, max_waveforms_per_unit=30, save_waveform_files=True)
        windows = np.load(files.root_folder / f"waveforms_{unit}.npy")
        assert len(windows) == 30
        for mode, expected in (
            ("average", windows.mean(axis=0, dtype=np.float64)),
            ("median", np.median(windows, axis=0)),
            ("std", windows.std(axis=0, dtype=np.float64)),
        ):
            template = extractor.get_computed_template(unit, mode)
            assert (template.dtype, template.shape) == (np.float32, (81, 6))
            np.testing.assert_allclose(template, expected, atol=1e-4)


def test_streaming_changes_what_is_held_and_nothing_else(scene):
    light, heavy = scene.run(streaming=True), scene.run(streaming=False)
    assert light.waveforms is None
    assert {unit: w.shape for unit, w in heavy.waveforms.items()} == {
        int(unit): (n, 81, 6)
        for unit, n in zip(heavy.waveforms_result.unit_ids, heavy.waveforms_result.n_averaged, strict=True)
    }
    np.testing.assert_array_equal(light.waveforms_result.templates, heavy.waveforms_result.templates)
    np.testing.assert_array_equal(light.waveforms_result.std_norms_all, heavy.waveforms_result.std_norms_all)
    np.testing.assert_array_equal(light.get_computed_template(24, "median"), heavy.get_computed_template(24, "median"))


def test_files_are_written_on_request_only(scene):
    scene.run(save_waveform_files=False)
    assert not (scene.folder / "waveforms").exists()
    scene.run(save_waveform_files=True)
    assert len(list((scene.folder / "waveforms").glob("waveforms_*.npy"))) == 5


def test_initial_units_are_written_in_time_order(scene):
    extractor = scene.run()
    folder = scene.folder / "curation"
    extractor.write_units(folder)
    assert sorted(p.name for p in folder.iterdir()) == ["spike_clusters.npy", "spike_times.npy", "unit_ids.npy"]
    times, clusters = np.load(folder / "spike_times.npy"), np.load(folder / "spike_clusters.npy")
    assert np.load(folder / "unit_ids.npy").tolist() == [3, 10, 17, 24, 31]
    assert np.all(np.diff(times) >= 0)
    for unit, spikes in zip(scene.trains.unit_ids, extractor.waveforms_result.spikes, strict=True):
        np.testing.assert_array_equal(times[clusters == unit], spikes)


def test_unknown_unit_and_mode_list_what_there_is(scene):
    extractor = scene.run()
    with pytest.raises(ValueError, match=r"Unknown unit 4; there are \[3, 10, 17, 24, 31\]"):
        extractor.get_computed_template(4, "average")
    with pytest.raises(ValueError, match=r"Unknown mode 'mean'; there are 'average', 'median', 'std'"):
        extractor.get_computed_template(3, "mean")


def test_a_unit_without_windows_has_a_median_of_zeros(scene, config):
    binary = scene.binary
    sorting = NumpySorting.from_unit_dict({0: np.array([3])}, binary.sampling_frequency)
    extractor = extract(binary.to_spikeinterface(), sorting, scene.folder / "w", config, seed=1)
    assert not extractor.get_computed_template(0, "median").any()


def third_party(extractor: WaveformExtractor, names: list[str]) -> SimpleNamespace:
    """The least an extractor may be: the specification's attributes, units with names."""
    ids = dict(zip(names, extractor.waveforms_result.unit_ids.tolist(), strict=True))
    return SimpleNamespace(
        sorting=NumpySorting.from_unit_dict(
            {name: extractor.sorting.get_unit_spike_train(unit) for name, unit in ids.items()},
            extractor.sampling_frequency,
        ),
        recording=extractor.recording,
        sampling_frequency=extractor.sampling_frequency,
        peak_ind=extractor.peak_ind,
        chans_max_all={name: extractor.chans_max_all[unit] for name, unit in ids.items()},
        use_pos_peak={name: extractor.use_pos_peak[unit] for name, unit in ids.items()},
        get_computed_template=lambda unit_id, mode: extractor.get_computed_template(ids[unit_id], mode),
        ms_to_samples=extractor.ms_to_samples,
        root_folder=extractor.root_folder,
    )


@pytest.mark.parametrize("names", [["a", "b", "c", "d", "e"], ["0", "1", "2", "3", "4"], ["4_0", "3", "2", "1", "0"]])
def test_any_extractor_can_be_read(scene, names):
    own = scene.run()
    result = waveforms_from_extractor(third_party(own, names), seed=5)
    assert result.unit_ids.tolist() == [0, 1, 2, 3, 4]
    for name in ("templates", "template_stds", "amplitudes", "snr", "std_norm", "n_averaged", "main_channels"):
        np.testing.assert_array_equal(getattr(result, name), getattr(own.waveforms_result, name))
    for name in ("epoch_templates", "epoch_snr", "epoch_std_norm"):
        np.testing.assert_array_equal(getattr(result, name), getattr(own.waveforms_result, name))
    assert waveforms_from_extractor(own) is own.waveforms_result


def test_a_sorting_without_units_is_insufficient_activity_of_its_sorter(scene, config):
    nothing = NumpySorting.from_unit_dict({}, 20_000.0)
    with pytest.raises(InsufficientActivityError, match="no units") as caught:
        extract(scene.binary.to_spikeinterface(), nothing, scene.folder / "w", config, seed=1, sorter="kilosort2")
    assert caught.value.sorter == "kilosort2"


def test_an_extractor_without_units_is_insufficient_activity(scene):
    other = third_party(scene.run(), ["a", "b", "c", "d", "e"])
    other.sorting = NumpySorting.from_unit_dict({}, 20_000.0)
    with pytest.raises(InsufficientActivityError, match="no units"):
        waveforms_from_extractor(other)


def test_any_recording_gives_the_same_waveforms_as_the_binary(scene, config):
    recording = NumpyRecording([scene.counts], 20_000.0)
    recording.set_channel_gains(0.1)
    recording.set_channel_offsets(0.0)
    recording.annotate(spikelab_epochs=json.dumps([asdict(epoch) for epoch in scene.binary.epochs]))
    source = trace_source(recording)
    assert isinstance(source, SpikeInterfaceTraces)
    assert source.epochs == scene.binary.epochs
    arguments = {"seed": 5, "n_jobs": 1, "total_memory": "1G"}
    general = compute_waveforms(source, scene.trains, config, **arguments)
    fast = compute_waveforms(scene.binary, scene.trains, config, **arguments)
    np.testing.assert_allclose(general.templates, fast.templates, atol=1e-4)
    np.testing.assert_allclose(general.snr, fast.snr, rtol=1e-4)


def test_traces_without_gains_are_microvolts_and_one_epoch():
    traces = np.arange(12, dtype=np.float32).reshape(6, 2)
    source = SpikeInterfaceTraces(NumpyRecording([traces], 1_000.0))
    assert source.epochs == (Epoch(0, 6),)
    assert (source.n_samples, source.n_channels, source.sampling_frequency) == (6, 2, 1_000.0)
    np.testing.assert_array_equal(source.read_uv(1, 3), traces[1:3])


def test_several_segments_are_refused():
    piece = NumpyRecording([np.zeros((5, 1), dtype=np.float32)], 1_000.0)
    with pytest.raises(ValueError, match="2 segments, expected 1"):
        SpikeInterfaceTraces(append_recordings([piece, piece]))
