"""MaxWell files: legacy and new, one well and many, compressed and broken."""

from __future__ import annotations

import os

import h5py
import numpy as np
import pytest

from spikelab.spike_sorting._exceptions import HDF5PluginMissingError
from spikelab.spike_sorting.config import RecordingConfig
from spikelab.spike_sorting.recording import (
    epochs_of,
    inspect_file,
    list_streams,
    maxwell_recording,
    open_recording,
    resolve_source,
    set_plugin_path,
    write_maxwell,
)
from spikelab.spike_sorting.recording.maxwell import rows_of_channels
from spikelab.spike_sorting.recording.maxwell_recording import MaxwellRecording
from spikelab.spike_sorting.recording.maxwell_writer import add_well, write_header

LEGACY = "maxone_legacy_real_8ch_5s.raw.h5"
PLATE = "maxtwo_6wells_2recs_real_gzip.raw.h5"
COMPRESSED = "maxtwo_6wells_2recs_real_filter401.raw.h5"


def _mad(traces):
    return np.median(np.abs(traces - np.median(traces, axis=0)), axis=0) / 0.6745


def _line(n):
    return np.column_stack([17.5 * np.arange(n), np.zeros(n)])


def test_real_legacy_file(shared_data, config):
    recording = open_recording(shared_data / LEGACY, config)
    assert recording.get_num_channels() == 8
    assert recording.get_num_samples() == 100_000
    assert recording.get_property("electrode").tolist() == [9764, 10506, 12852, 11833, 8244, 10735, 7379, 7846]
    assert recording.get_channel_locations()[0].tolist() == [1470.0, 770.0]
    noise = _mad(recording.get_traces())
    assert noise.min() == pytest.approx(7.5, abs=0.1)
    assert noise.max() == pytest.approx(13.3, abs=0.1)
    assert len(np.unique(noise.round(3))) == 8


def test_real_legacy_counts_become_microvolts_once(shared_data):
    path = shared_data / LEGACY
    recording = MaxwellRecording(path)
    with h5py.File(path) as file:
        counts = file["sig"][:, :100].T
    np.testing.assert_array_equal(recording.get_traces(end_frame=100), counts)
    np.testing.assert_allclose(recording.get_traces(end_frame=100, return_in_uV=True), counts * 6.29425, rtol=1e-5)


def test_device_shaped_legacy_file(tmp_path, write_legacy, noise_counts):
    """1028 rows, row = channel number, 64 channels connected in no order, some electrodes not connected."""
    channels = np.concatenate([np.random.default_rng(3).permutation(1024)[:64], [-1, -1]])
    sig = noise_counts(1028, 500)
    recording = MaxwellRecording(write_legacy(tmp_path / "device.raw.h5", sig, channels))
    traces = recording.get_traces()
    assert traces.shape == (500, 64)
    np.testing.assert_array_equal(traces, sig[channels[:64]].T)
    np.testing.assert_array_equal(recording.get_traces(channel_ids=[str(channels[5])])[:, 0], sig[channels[5]])
    assert [int(channel) for channel in recording.channel_ids] == channels[:64].tolist()
    assert recording.get_property("electrode").tolist() == list(range(1000, 1064))


def test_long_reads_are_made_of_blocks(tmp_path, write_legacy, noise_counts, monkeypatch):
    monkeypatch.setattr(maxwell_recording, "BLOCK_BYTES", 1028 * 2 * 7)
    sig = noise_counts(1028, 100)
    recording = MaxwellRecording(write_legacy(tmp_path / "device.raw.h5", sig, [1020, 3]))
    np.testing.assert_array_equal(recording.get_traces(start_frame=11, end_frame=99), sig[[1020, 3], 11:99].T)
    assert recording.get_traces(start_frame=5, end_frame=5).shape == (0, 2)


def test_rows_in_the_order_of_the_mapping():
    assert rows_of_channels(3, np.array([7, 900, 5])).tolist() == [0, 1, 2]
    assert rows_of_channels(3, np.array([7, -1, 5])).tolist() == [0, 2]
    assert rows_of_channels(2, np.array([7, -1, 5])).tolist() == [0, 1]
    assert rows_of_channels(1028, np.array([7, -1, 5])).tolist() == [7, 5]
    assert rows_of_channels(3, np.array([7, 900, 5]), np.array([900, 5, 7])).tolist() == [2, 0, 1]
    with pytest.raises(ValueError, match="channel 900"):
        rows_of_channels(100, np.array([7, 900, 5]))


@pytest.mark.parametrize(
    ("settings", "gain"), [({"gain": 1024.0}, 3.3e6 / 1024**2), ({"hpf": 300.0}, 3.3e6 / 1024 / 512)]
)
def test_legacy_gain_without_lsb(tmp_path, write_legacy, noise_counts, settings, gain):
    path = write_legacy(tmp_path / "a.h5", noise_counts(2, 100), [0, 1], **settings)
    assert MaxwellRecording(path).get_channel_gains() == pytest.approx([gain, gain])


def test_legacy_file_without_samples(tmp_path, write_legacy, config):
    path = write_legacy(tmp_path / "empty.raw.h5", np.zeros((1028, 0), np.uint16), [0, 1])
    with pytest.raises(ValueError, match=r"empty\.raw\.h5 has no samples"):
        open_recording(path, config)


def test_rebuilt_from_its_description(shared_data):
    import spikeinterface

    recording = MaxwellRecording(shared_data / PLATE, stream_id="well003", rec_name="rec0001")
    again = spikeinterface.load(recording.to_dict())
    np.testing.assert_array_equal(again.get_traces(), recording.get_traces())


def test_plate_lists_wells_and_recordings(shared_data):
    infos = inspect_file(shared_data / PLATE)
    assert [(i.stream_id, i.rec_name) for i in infos] == [
        (f"well{well:03d}", f"rec{rec:04d}") for well in range(6) for rec in range(2)
    ]
    assert all(i.readable and i.n_channels == 16 and i.sampling_frequency == 10_000 for i in infos)
    assert infos[3].duration_s == pytest.approx(0.98)
    assert list_streams(shared_data / PLATE) == [f"well{well:03d}" for well in range(6)]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "several wells; set stream_id.*well005: rec0000, rec0001"),
        ({"stream_id": "well001"}, r"set rec_name to one of \['rec0000', 'rec0001'\]"),
        ({"stream_id": "well9"}, "no well 'well9'.*well000"),
        ({"stream_id": "well001", "rec_name": "rec7"}, "no recording 'rec7' of well001"),
        ({"rec_name": "rec7"}, "no recording 'rec7'"),
    ],
)
def test_plate_says_what_to_choose(shared_data, fields, message):
    with pytest.raises(ValueError, match=message):
        open_recording(shared_data / PLATE, RecordingConfig(**fields))


def test_filter_above_nyquist_names_a_value_that_works(shared_data):
    chosen = {"stream_id": "well001", "rec_name": "rec0001"}
    with pytest.raises(ValueError, match="set freq_max=4500 or lower"):
        open_recording(shared_data / PLATE, RecordingConfig(**chosen))
    recording = open_recording(shared_data / PLATE, RecordingConfig(**chosen, freq_max=4500))
    assert recording.get_traces().shape == (9800, 16)
    assert resolve_source(shared_data / PLATE, RecordingConfig(**chosen)).stem.endswith("_gzip_well001_rec0001")


def test_only_well_and_recording_are_chosen(tmp_path, noise_counts, config):
    counts = noise_counts()
    write_maxwell(tmp_path / "one.raw.h5", counts, 20_000.0, _line(4), electrodes=[5, 6, 7, 8], well="well004")
    recording = open_recording(tmp_path / "one.raw.h5", config)
    assert recording.get_property("electrode").tolist() == [5, 6, 7, 8]
    assert list_streams(tmp_path / "one.raw.h5") == ["well004"]
    assert (epochs_of(recording)[0].name, epochs_of(recording)[0].n_frames) == ("one", 60_000)


def test_plate_with_one_recording_per_row(tmp_path, noise_counts):
    """On a 24-well plate each row of wells has a recording of its own: the well decides."""
    path = tmp_path / "plate24.raw.h5"
    with h5py.File(path, "w") as file:
        write_header(file)
        for i in range(3):
            add_well(file, noise_counts(2, 1000, seed=i), 1e4, _line(2), well=f"well{i:03d}", rec_name=f"rec{i:04d}")
    recording = MaxwellRecording(path, stream_id="well002")
    np.testing.assert_array_equal(recording.get_traces(), noise_counts(2, 1000, seed=2).T)
    by_name = MaxwellRecording(path, rec_name="rec0001")
    np.testing.assert_array_equal(by_name.get_traces(), noise_counts(2, 1000, seed=1).T)


def test_written_file_is_read_by_spikeinterface(tmp_path, noise_counts):
    from spikeinterface.extractors.neoextractors import MaxwellRecordingExtractor

    counts = noise_counts(3, 2000)
    write_maxwell(tmp_path / "new.raw.h5", counts, 12_345.6, _line(3), lsb_uv=3.0)
    theirs = MaxwellRecordingExtractor(tmp_path / "new.raw.h5", install_maxwell_plugin=False)
    assert theirs.get_sampling_frequency() == pytest.approx(12_345.6)
    np.testing.assert_allclose(theirs.get_traces(return_in_uV=True), counts.T * np.float32(3), rtol=1e-6)
    np.testing.assert_array_equal(theirs.get_channel_locations(), _line(3))
    assert [p.name for p in tmp_path.iterdir()] == ["new.raw.h5"]


def test_writer_refuses_wrong_shapes(tmp_path, noise_counts):
    with pytest.raises(ValueError, match="expected uint16"):
        write_maxwell(tmp_path / "x.raw.h5", noise_counts(3, 100).T, 1e4, _line(3))
    assert not list(tmp_path.iterdir())


def test_spikes_without_traces(tmp_path, noise_counts, config):
    path = tmp_path / "spikes.raw.h5"
    write_maxwell(path, noise_counts(2, 100), 1e4, _line(2))
    with h5py.File(path, "a") as file:
        del file["data_store/data0000/groups/routed"]
    with pytest.raises(ValueError, match="no raw traces"):
        open_recording(path, config)
    (info,) = inspect_file(path)
    assert not info.readable
    assert "no raw traces" in info.problem


def _with_mapping_of(path, channels):
    """Replace the channels of the mapping of a file that :func:`write_maxwell` wrote."""
    with h5py.File(path, "a") as file:
        mapping = file["data_store/data0000/settings/mapping"][()]
        longer = np.resize(mapping, len(channels))
        longer["channel"], longer["electrode"] = channels, 7000 + np.arange(len(channels))
        longer["x"], longer["y"] = 17.5 * np.arange(len(channels)), 35.0 * np.arange(len(channels))
        del file["data_store/data0000/settings/mapping"]
        file["data_store/data0000/settings/mapping"] = longer


@pytest.mark.parametrize("channels", [[0, 1, 2, 700], [700, 0, 1, 2], [0, 3, 1, 2], [0, 1, -1, 2, 700, 701]])
def test_electrodes_that_were_not_recorded_are_left_out(channels, tmp_path, noise_counts):
    counts = noise_counts(3, 5000)
    write_maxwell(tmp_path / "a.raw.h5", counts, 20_000.0, _line(3))
    _with_mapping_of(tmp_path / "a.raw.h5", channels)
    left_out = next(channel for channel in channels if channel > 2)
    with pytest.warns(UserWarning, match=rf"electrodes that were not recorded .*\(channel {left_out}\)"):
        recording = MaxwellRecording(tmp_path / "a.raw.h5")
    recorded = [channel for channel in channels if 0 <= channel <= 2]
    assert recording.channel_ids.tolist() == [str(channel) for channel in recorded]
    assert recording.get_property("electrode").tolist() == [7000 + channels.index(channel) for channel in recorded]
    np.testing.assert_array_equal(recording.get_traces().T, counts[recorded])


def test_a_mapping_without_recorded_channels_is_refused(tmp_path, noise_counts):
    write_maxwell(tmp_path / "a.raw.h5", noise_counts(3, 100), 20_000.0, _line(3))
    _with_mapping_of(tmp_path / "a.raw.h5", [700, 701])
    with pytest.raises(
        ValueError, match=r"7000 \(channel 700\), 7001 \(channel 701\), none is on .* those are 0, 1, 2$"
    ):
        MaxwellRecording(tmp_path / "a.raw.h5")


def test_incomplete_files(tmp_path, noise_counts, config):
    path = tmp_path / "cut.raw.h5"
    write_maxwell(path, noise_counts(2, 100), 1e4, _line(2))
    with h5py.File(path, "a") as file:
        del file["data_store/data0000/settings"]
    with pytest.raises(ValueError, match=r"cut\.raw\.h5 \(well000, rec0000\) is incomplete: .*settings"):
        open_recording(path, config)
    with h5py.File(path, "a") as file:
        del file["data_store"]
    assert not inspect_file(path)[0].readable
    with h5py.File(path, "a") as file:
        del file["wells/well000"]
    with pytest.raises(ValueError, match="has no wells"):
        open_recording(path, config)


@pytest.fixture
def plugin_state(monkeypatch):
    """Restore the environment and HDF5's list of plugin folders."""
    monkeypatch.setenv("HDF5_PLUGIN_PATH", "x")
    monkeypatch.delenv("HDF5_PLUGIN_PATH")
    before = h5py.h5pl.size()
    yield
    while h5py.h5pl.size() > before:
        h5py.h5pl.remove(h5py.h5pl.size() - 1)


def test_compressed_file_says_which_plugin_is_missing(shared_data, tmp_path, plugin_state):
    config = RecordingConfig(stream_id="well000", rec_name="rec0000", freq_max=4500)
    with pytest.raises(HDF5PluginMissingError, match=r"filter 401.*is not set") as error:
        open_recording(shared_data / COMPRESSED, config)
    assert error.value.configured_path is None
    config.hdf5_plugin_path = str(tmp_path / "nowhere")
    with pytest.raises(HDF5PluginMissingError, match="not a folder") as error:
        open_recording(shared_data / COMPRESSED, config)
    assert error.value.configured_path == str(tmp_path / "nowhere")


def test_compressed_file_can_be_inspected(shared_data):
    infos = inspect_file(shared_data / COMPRESSED)
    assert len(infos) == 12
    assert all(not i.readable and 401 in i.filters and i.n_channels == 16 for i in infos)
    assert "hdf5_plugin_path" in infos[0].problem


def test_plugin_path_is_set_everywhere(tmp_path, plugin_state):
    set_plugin_path(tmp_path)
    set_plugin_path(tmp_path)
    assert os.environ["HDF5_PLUGIN_PATH"] == str(tmp_path)
    folders = [h5py.h5pl.get(i) for i in range(h5py.h5pl.size())]
    assert folders.count(os.fsencode(tmp_path)) == 1


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda data: b"", "is empty"),
        (lambda data: data[: len(data) // 2], "is truncated"),
        (lambda data: b"not HDF5" * 100, "not an HDF5 file"),
    ],
    ids=["empty", "truncated", "text"],
)
def test_broken_files_are_named(tmp_path, noise_counts, config, spoil, message):
    path = tmp_path / "broken.raw.h5"
    write_maxwell(path, noise_counts(2, 100), 1e4, _line(2))
    path.write_bytes(spoil(path.read_bytes()))
    with pytest.raises(ValueError, match=message) as error:
        open_recording(path, config)
    assert str(path) in str(error.value)


def test_damaged_chunk_is_named(tmp_path, noise_counts):
    path = tmp_path / "damaged.raw.h5"
    write_maxwell(path, noise_counts(2, 4000), 1e4, _line(2))
    with h5py.File(path, "a") as file:
        raw = file["data_store/data0000/groups/routed/raw"][()]
        del file["data_store/data0000/groups/routed/raw"]
        packed = file["data_store/data0000/groups/routed"].create_dataset(
            "raw", data=raw, chunks=(2, 1000), compression="gzip"
        )
        offset = packed.id.get_chunk_info(2).byte_offset
    data = bytearray(path.read_bytes())
    data[offset : offset + 50] = bytes(50)
    path.write_bytes(data)
    recording = MaxwellRecording(path)
    assert recording.get_traces(end_frame=1000).shape == (1000, 2)
    with pytest.raises(ValueError, match=r"damaged\.raw\.h5 cannot be read from frame 0 to 4000"):
        recording.get_traces()
