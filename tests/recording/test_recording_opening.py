"""From an input to filtered microvolts."""

from __future__ import annotations

import json
import subprocess
import sys
import warnings

import numpy as np
import pytest
from scipy.signal import iirfilter, sosfiltfilt

from spikelab.spike_sorting.config import RecordingConfig
from spikelab.spike_sorting.data import BinaryRecording
from spikelab.spike_sorting.recording import (
    epochs_of,
    inspect_file,
    list_streams,
    open_recording,
    write_binary,
    write_maxwell,
)

FS = 20_000.0


def _filter(traces, fs=FS, band=(300, 6000)):
    """The specified filter, applied to everything at once."""
    sos = iirfilter(5, band, fs=fs, btype="bandpass", ftype="butter", output="sos")
    return sosfiltfilt(sos, traces, axis=0)


def _line(n):
    return np.column_stack([17.5 * np.arange(n), 35.0 * np.arange(n)])


def test_filter_is_a_zero_phase_butterworth_of_order_five(in_memory, gaussian, config):
    traces = gaussian()
    recording = open_recording(in_memory(traces), config)
    assert recording.get_dtype() == np.float32
    np.testing.assert_allclose(recording.get_traces(), _filter(traces), atol=2e-3)


def test_chunks_agree_with_the_whole(in_memory, gaussian, config):
    recording = open_recording(in_memory(gaussian() + 3000), config)
    whole = recording.get_traces()
    chunk = recording.get_traces(start_frame=20_001, end_frame=30_000)
    np.testing.assert_allclose(chunk, whole[20_001:30_000], atol=0.05)


@pytest.mark.parametrize(
    ("gain", "fields", "factor"),
    [
        (0.5, {}, 0.5),
        (0.5, {"gain_to_uv": 2.0}, 2.0),
        (None, {"gain_to_uv": 2.0}, 2.0),
        (0.5, {"offset_to_uv": -1000.0}, 0.5),
    ],
)
def test_gain_is_applied_exactly_once(in_memory, noise_counts, gain, fields, factor):
    counts = noise_counts().T
    recording = open_recording(in_memory(counts, gain=gain), RecordingConfig(**fields))
    expected = _filter(counts * factor)
    np.testing.assert_allclose(recording.get_traces(), expected, atol=0.05)
    np.testing.assert_allclose(recording.get_traces(return_in_uV=True), expected, atol=0.05)


def test_offset_is_applied_before_the_filter(in_memory, noise_counts):
    """The offset moves the baseline, which the filter removes: what is read before it shows it."""
    from spikelab.spike_sorting.recording.preprocess import to_microvolts

    counts = noise_counts().T
    scaled = to_microvolts(in_memory(counts, gain=2.0), None, -1024.0, "x")
    np.testing.assert_allclose(scaled.get_traces(), counts * 2.0 - 1024.0, atol=1e-3)


def test_counts_without_gain_are_refused(in_memory, noise_counts, config):
    with pytest.raises(ValueError, match="no gain: set gain_to_uv"):
        open_recording(in_memory(noise_counts().T), config)


@pytest.mark.parametrize("gain", [0.0, np.nan])
def test_useless_gain_is_refused(in_memory, noise_counts, config, gain):
    with pytest.raises(ValueError, match="zero or not a number"):
        open_recording(in_memory(noise_counts().T, gain=gain), config)


def test_impossible_gain_is_a_warning(in_memory, noise_counts, config):
    with pytest.warns(UserWarning, match="is it in volts"):
        open_recording(in_memory(noise_counts().T, gain=6.3e-6), config)


def test_too_short_to_filter(in_memory, gaussian, config):
    with pytest.raises(ValueError, match="20 frames in segment 0, too few to filter"):
        open_recording(in_memory(gaussian(20)), config)


def test_low_band_is_possible(in_memory, gaussian):
    recording = open_recording(in_memory(gaussian()), RecordingConfig(freq_min=50, freq_max=3000))
    assert recording.get_traces(end_frame=10).shape == (10, 4)


@pytest.mark.parametrize(("operator", "reduce"), [("median", np.median), ("average", np.mean)])
def test_common_reference(in_memory, gaussian, operator, reduce):
    traces = gaussian()
    recording = open_recording(in_memory(traces), RecordingConfig(common_reference=operator))
    filtered = _filter(traces)
    np.testing.assert_allclose(recording.get_traces(), filtered - reduce(filtered, axis=1)[:, None], atol=5e-3)


def test_common_reference_of_one_channel(in_memory, gaussian):
    with pytest.raises(ValueError, match="only channel"):
        open_recording(in_memory(gaussian(n_channels=1)), RecordingConfig(common_reference="median"))


def test_listed_bad_channels_are_left_out(in_memory, gaussian):
    recording = open_recording(in_memory(gaussian(), ids=["a", "b", "7", "d"]), RecordingConfig(bad_channels=["b", 7]))
    assert list(recording.channel_ids) == ["a", "d"]
    assert recording.get_channel_locations()[:, 1].tolist() == [0, 120]
    with pytest.raises(ValueError, match=r"no channel zz; its channels are a, b"):
        open_recording(in_memory(gaussian(), ids=["a", "b", "7", "d"]), RecordingConfig(bad_channels=["zz"]))
    with pytest.raises(ValueError, match="none of the 4 channels"):
        open_recording(in_memory(gaussian()), RecordingConfig(bad_channels=[0, 1, 2, 3]))


def test_bad_channels_are_found(in_memory, gaussian):
    traces = gaussian(n_channels=8)
    traces[:, 2] = 512.0
    traces[:, 5] *= 30
    with pytest.warns(UserWarning, match="leaves out 2 of 8 channels: 2, 5"):
        recording = open_recording(in_memory(traces), RecordingConfig(bad_channels="auto"))
    assert [int(c) for c in recording.channel_ids] == [0, 1, 3, 4, 6, 7]


def test_good_channels_are_kept(in_memory, gaussian):
    recording = open_recording(in_memory(gaussian(n_channels=8)), RecordingConfig(bad_channels="auto"))
    assert recording.get_num_channels() == 8


@pytest.mark.parametrize(
    ("value", "y"), [(None, [0, 40, 80, 120]), (-1, [120, 80, 40, 0]), (2000.0, [2000, 1960, 1920, 1880])]
)
def test_flip(in_memory, gaussian, value, y):
    recording = open_recording(in_memory(gaussian()), RecordingConfig(mea_y_max=value))
    assert recording.get_channel_locations()[:, 1].tolist() == y
    assert recording.get_probe().contact_positions[:, 1].tolist() == y


def test_no_positions_is_a_column_and_a_warning(in_memory, gaussian, config):
    with pytest.warns(UserWarning, match="does not say where its electrodes are"):
        recording = open_recording(in_memory(gaussian(), probe=False), config)
    assert recording.get_channel_locations().tolist() == [[0, 0], [0, 200], [0, 400], [0, 600]]


def test_segments_become_epochs_and_are_filtered_apart(in_memory, gaussian, config):
    first, second = gaussian(30_000) + 500, gaussian(20_000, seed=1) - 500
    recording = open_recording(in_memory([first, second]), config)
    assert [(e.start_frame, e.end_frame, e.source_segment) for e in epochs_of(recording)] == [
        (0, 30_000, 0),
        (30_000, 50_000, 1),
    ]
    expected = np.concatenate([_filter(first), _filter(second)])
    np.testing.assert_allclose(recording.get_traces(), expected, atol=5e-3)


def test_pieces_are_cut_after_filtering(in_memory, gaussian):
    traces = gaussian() + 500
    recording = open_recording(in_memory(traces), RecordingConfig(rec_chunks=[(5_000, 20_000), (30_000, 40_000)]))
    whole = _filter(traces)
    np.testing.assert_allclose(
        recording.get_traces(), np.concatenate([whole[5_000:20_000], whole[30_000:40_000]]), atol=0.05
    )
    assert [e.source_start_frame for e in epochs_of(recording)] == [5_000, 30_000]


def test_recording_without_samples(in_memory, config):
    with pytest.raises(ValueError, match="in memory has no samples"):
        open_recording(in_memory(np.zeros((0, 4), np.float32)), config)


def test_description_survives(store, in_memory, gaussian, config, tmp_path):
    import spikeinterface

    store(in_memory(gaussian(20_000)), tmp_path / "rec")
    recording = open_recording(tmp_path / "rec", config)
    again = spikeinterface.load(recording.to_dict(include_annotations=True))
    np.testing.assert_array_equal(again.get_traces(), recording.get_traces())
    assert epochs_of(again) == epochs_of(recording)


def test_epochs_of_any_recording(in_memory, gaussian):
    (epoch,) = epochs_of(in_memory(gaussian(1000)))
    assert (epoch.start_frame, epoch.end_frame) == (0, 1000)


# Folders of files


@pytest.fixture
def folder_of(tmp_path, noise_counts):
    """Write MaxWell files of the given shapes and return their folder."""

    def write(*shapes, fs=(FS, FS, FS), locations=None):
        folder = tmp_path / "a folder.with dots"
        folder.mkdir()
        for i, (n_channels, n_frames) in enumerate(shapes):
            where = _line(n_channels) if locations is None else locations[i]
            write_maxwell(folder / f"rec {i + 1}.raw.h5", noise_counts(n_channels, n_frames, seed=i), fs[i], where)
        return folder

    return write


def test_files_are_concatenated_in_order(folder_of, noise_counts, config):
    folder = folder_of((4, 30_000), (4, 20_000))
    recording = open_recording(folder, config)
    expected = [_filter(noise_counts(4, n, seed=i).T * 6.294) for i, n in enumerate((30_000, 20_000))]
    np.testing.assert_allclose(recording.get_traces(), np.concatenate(expected), atol=0.02)
    epochs = epochs_of(recording)
    assert [(e.name, e.source_file, e.source_index, e.n_frames) for e in epochs] == [
        ("rec 1", str(folder / "rec 1.raw.h5"), 0, 30_000),
        ("rec 2", str(folder / "rec 2.raw.h5"), 1, 20_000),
    ]
    assert recording.get_annotation("spikelab_source_file") == str(folder)
    assert recording.get_annotation("spikelab_source_format") == "maxwell"
    assert len(json.loads(recording.get_annotation("spikelab_epochs"))) == 2


def test_channel_counts_must_agree(folder_of, config):
    with pytest.raises(ValueError, match=r"rec 1\.raw\.h5 has 4 channels, .*rec 2\.raw\.h5 has 3 channels"):
        open_recording(folder_of((4, 1000), (3, 1000)), config)


def test_rates_must_agree(folder_of, config):
    with pytest.raises(ValueError, match=r"rec 1\.raw\.h5 has 20000 Hz, .*rec 2\.raw\.h5 has 20000\.5 Hz"):
        open_recording(folder_of((4, 1000), (4, 1000), fs=(FS, 20_000.5)), config)


def test_other_locations_are_a_warning(folder_of, config):
    folder = folder_of((4, 1000), (4, 1000), locations=(_line(4), _line(4) + 5))
    with pytest.warns(UserWarning, match="locations differ"):
        recording = open_recording(folder, config)
    np.testing.assert_array_equal(recording.get_channel_locations(), _line(4))


def test_other_ids_are_a_warning(store, tmp_path, in_memory, gaussian, config):
    for i, ids in enumerate((["a", "b"], ["c", "d"])):
        store(in_memory(gaussian(1000, 2, seed=i), ids=ids), tmp_path / f"{i}")
    with pytest.warns(UserWarning, match="channel ids differ"):
        recording = open_recording(tmp_path, config)
    assert list(recording.channel_ids) == ["a", "b"]
    assert recording.get_num_samples() == 2000


def test_same_ids_in_another_order_are_matched(store, tmp_path, in_memory, gaussian, config):
    traces = gaussian(4000, 2)
    first = in_memory(traces, ids=["a", "b"])
    store(first, tmp_path / "0")
    store(first.select_channels(["b", "a"]), tmp_path / "1")
    recording = open_recording(tmp_path, config)
    np.testing.assert_array_equal(recording.get_traces(end_frame=4000), recording.get_traces(start_frame=4000))


def test_file_outside_what_is_kept_is_left_out_with_a_warning(folder_of, tmp_path):
    folder = folder_of((4, 20_000), (4, 20_000), (4, 0))
    with pytest.warns(UserWarning, match=r"nothing of .*rec 2\.raw\.h5, .*rec 3\.raw\.h5 is kept"):
        recording = open_recording(folder, RecordingConfig(end_time_s=0.5))
    assert [e.source_index for e in epochs_of(recording)] == [0]
    files = recording.get_annotation("spikelab_source_files")
    assert files == [str(folder / f"rec {i}.raw.h5") for i in (1, 2, 3)]
    binary, _ = write_binary(recording, tmp_path / "traces.dat", n_jobs=1, total_memory="1G", seed=0, check=False)
    assert binary.source_files == tuple(files)
    assert BinaryRecording.from_dict(binary.path, binary.to_dict()).source_files == tuple(files)


# Formats


def test_spikeinterface_folder_and_zarr(store, tmp_path, in_memory, gaussian, config):
    traces = gaussian(20_000)
    stored = in_memory([traces, traces])
    store(stored, tmp_path / "binary")
    store(stored, tmp_path / "packed.zarr", format="zarr")
    for name, known in (("binary", "spikeinterface"), ("packed.zarr", "zarr")):
        recording = open_recording(tmp_path / name, config)
        assert recording.get_annotation("spikelab_source_format") == known
        assert len(epochs_of(recording)) == 2
        np.testing.assert_allclose(recording.get_traces(end_frame=20_000), _filter(traces), atol=5e-3)
        (info,) = inspect_file(tmp_path / name)
        assert (info.n_channels, info.n_samples, info.sampling_frequency) == (4, 40_000, FS)
        assert list_streams(tmp_path / name) is None


@pytest.fixture
def headerless(tmp_path, noise_counts):
    """A binary file, its probe file, and the configuration that describes them."""
    from probeinterface import Probe, write_probeinterface

    counts = noise_counts().T.astype(np.int16)
    counts.tofile(tmp_path / "my data.dat")
    probe = Probe(ndim=2)
    probe.set_contacts(positions=_line(4), shapes="circle", shape_params={"radius": 5})
    probe.set_device_channel_indices([3, 2, 1, -1])
    write_probeinterface(tmp_path / "probe.json", probe)
    fields = {"probe_path": tmp_path / "probe.json", "sampling_frequency": FS, "num_channels": 4, "dtype": "int16"}
    return tmp_path / "my data.dat", counts, fields


def test_headerless_binary_with_probe(headerless):
    path, counts, fields = headerless
    recording = open_recording(path, RecordingConfig(**fields, gain_to_uv=0.5))
    # Channel 0 is wired to no contact; contact 0 to channel 3.
    assert list(recording.channel_ids) == ["1", "2", "3"]
    assert recording.get_channel_locations()[:, 0].tolist() == [35.0, 17.5, 0.0]
    np.testing.assert_allclose(recording.get_traces(), _filter(counts[:, 1:] * 0.5), atol=0.02)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"num_channels": 7}, ValueError, "not a whole number of frames of 7 channels"),
        ({"num_channels": 2}, ValueError, "wires a contact to channel 3"),
        ({"gain_to_uv": None}, ValueError, "set gain_to_uv"),
        ({"probe_path": "nowhere.json"}, FileNotFoundError, "no probe file"),
    ],
)
def test_headerless_binary_misdescribed(headerless, change, error, message):
    path, _, fields = headerless
    with pytest.raises(error, match=message):
        open_recording(path, RecordingConfig(**{"gain_to_uv": 0.5, **fields, **change}))


def test_probe_for_a_recording_in_memory(in_memory, gaussian, headerless):
    _, _, fields = headerless
    recording = open_recording(in_memory(gaussian()), RecordingConfig(probe_path=fields["probe_path"]))
    assert recording.get_channel_locations()[:, 0].tolist() == [35.0, 17.5, 0.0]


def test_not_a_probe_file(in_memory, gaussian, tmp_path):
    (tmp_path / "p.json").write_text("{}")
    with pytest.raises(ValueError, match="p.json holds .*; expected a probe file of probeinterface"):
        open_recording(in_memory(gaussian()), RecordingConfig(probe_path=tmp_path / "p.json"))


def test_real_biocam_file_keeps_its_rate(shared_data, config):
    recording = open_recording(shared_data / "biocam_hw3.0_fw1.6.brw", config)
    assert recording.get_sampling_frequency() == pytest.approx(19_753.77442333)
    assert recording.get_traces().shape == (19_754, 36)
    (info,) = inspect_file(shared_data / "biocam_hw3.0_fw1.6.brw")
    assert (info.n_channels, info.readable) == (36, True)


def test_unreadable_biocam_file(tmp_path, config):
    import h5py

    with h5py.File(tmp_path / "x.brw", "w") as file:
        file["3BData"] = 1
    with pytest.raises(ValueError, match=r"x\.brw cannot be read as biocam"):
        open_recording(tmp_path / "x.brw", config)
    (info,) = inspect_file(tmp_path / "x.brw")
    assert not info.readable


@pytest.fixture
def nwb_file(tmp_path, gaussian):
    pynwb = pytest.importorskip("pynwb")
    from datetime import UTC, datetime

    def write(*series):
        nwb = pynwb.NWBFile("test", "test", datetime(2024, 1, 1, tzinfo=UTC))
        group = nwb.create_electrode_group("g", "g", "g", nwb.create_device("d"))
        nwb.add_electrode_column("rel_x", "x")
        nwb.add_electrode_column("rel_y", "y")
        for i in range(4):
            nwb.add_electrode(group=group, location="ctx", rel_x=0.0, rel_y=20.0 * i)
        table = nwb.create_electrode_table_region([0, 1, 2, 3], "all")
        for i, name in enumerate(series):
            data = np.rint(gaussian(20_000, seed=i) * 10).astype(np.int16)
            nwb.add_acquisition(
                pynwb.ecephys.ElectricalSeries(name=name, data=data, electrodes=table, rate=FS, conversion=1e-7)
            )
        with pynwb.NWBHDF5IO(tmp_path / "x.nwb", "w") as io:
            io.write(nwb)
        return tmp_path / "x.nwb"

    return write


def test_nwb(nwb_file, gaussian, config):
    recording = open_recording(nwb_file("raw"), config)
    np.testing.assert_allclose(recording.get_traces(), _filter(gaussian(20_000)), atol=0.2)
    assert recording.get_channel_locations()[:, 1].tolist() == [0, 20, 40, 60]


def test_nwb_with_several_series(nwb_file, gaussian, config):
    path = nwb_file("first", "second")
    with pytest.raises(
        ValueError, match=r"set electrical_series_path to one of \['acquisition/first', 'acquisition/second'\]"
    ):
        open_recording(path, config)
    with pytest.raises(ValueError, match="no ElectricalSeries 'x'"):
        open_recording(path, RecordingConfig(electrical_series_path="x"))
    recording = open_recording(path, RecordingConfig(electrical_series_path="acquisition/second"))
    np.testing.assert_allclose(recording.get_traces(), _filter(gaussian(20_000, seed=1)), atol=0.2)
    by_stream = open_recording(path, RecordingConfig(stream_id="acquisition/second"))
    np.testing.assert_array_equal(by_stream.get_traces(), recording.get_traces())
    assert list_streams(path) == ["acquisition/first", "acquisition/second"]
    infos = inspect_file(path)
    assert [i.stream_id for i in infos] == ["acquisition/first", "acquisition/second"]
    assert all(i.n_samples == 20_000 for i in infos)


def test_nwb_without_series(nwb_file, config):
    with pytest.raises(ValueError, match="no ElectricalSeries"):
        open_recording(nwb_file(), config)


@pytest.fixture
def open_ephys(tmp_path, noise_counts):
    """A recording folder as Open Ephys writes it: two streams, described by ``structure.oebin``."""
    folder = tmp_path / "2024-01-01 session"
    recording = folder / "Record Node 101" / "experiment1" / "recording1"
    streams = []
    for name in ("A", "B"):
        data = recording / "continuous" / name
        data.mkdir(parents=True)
        (noise_counts(2, 20_000).T.astype(np.int16)).tofile(data / "continuous.dat")
        np.save(data / "timestamps.npy", np.arange(20_000) / FS)
        np.save(data / "sample_numbers.npy", np.arange(20_000))
        channels = [{"channel_name": f"CH{i}", "bit_volts": 0.5, "units": "uV"} for i in range(2)]
        streams.append(
            {
                "folder_name": f"{name}/",
                "sample_rate": FS,
                "source_processor_name": "p",
                "source_processor_id": 1,
                "recorded_processor": "Record Node",
                "recorded_processor_id": 101,
                "num_channels": 2,
                "channels": channels,
                "stream_name": name,
            }
        )
    description = {"GUI version": "0.6.0", "continuous": streams, "events": [], "spikes": []}
    (recording / "structure.oebin").write_text(json.dumps(description))
    return folder


def test_open_ephys_folder_is_one_recording(open_ephys, noise_counts, config):
    streams = list_streams(open_ephys)
    assert streams is not None
    assert len(streams) == 2
    with pytest.raises(ValueError, match="several streams; set stream_id"):
        open_recording(open_ephys, config)
    with pytest.raises(ValueError, match="no stream 'C'"):
        open_recording(open_ephys, RecordingConfig(stream_id="C"))
    with pytest.warns(UserWarning, match="does not say where its electrodes are"):
        recording = open_recording(open_ephys, RecordingConfig(stream_id=streams[1]))
    assert recording.get_annotation("spikelab_source_format") == "openephysbinary"
    np.testing.assert_allclose(recording.get_traces(), _filter(noise_counts(2, 20_000).T * 0.5), atol=0.02)
    assert [i.n_samples for i in inspect_file(open_ephys)] == [20_000, 20_000]


def test_stream_of_a_format_without_streams(headerless):
    path, _, fields = headerless
    with pytest.raises(ValueError, match="has no streams to choose from"):
        open_recording(path, RecordingConfig(**fields, stream_id="well000"))


def test_every_format_has_a_reader():
    from spikeinterface.extractors.extractor_classes import recording_extractor_full_dict
    from spikeinterface.extractors.neoextractors import neo_recording_class_dict

    from spikelab.spike_sorting.recording.readers import _READERS, FORMATS

    for name, known in FORMATS.items():
        assert name in _READERS or name in recording_extractor_full_dict
        assert not known.has_streams or name in _READERS or name in neo_recording_class_dict


def test_opening_is_lazy(in_memory, gaussian, config, monkeypatch):
    source = in_memory(gaussian())
    read = []
    original = type(source.segments[0]).get_traces
    monkeypatch.setattr(
        type(source.segments[0]), "get_traces", lambda self, *a, **k: (read.append(1), original(self, *a, **k))[1]
    )
    recording = open_recording(source, config)
    assert not read
    recording.get_traces(end_frame=10)
    assert read


def test_no_warnings_without_need(in_memory, gaussian, config):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        open_recording(in_memory(gaussian()), config)


def test_package_waits_with_its_imports_until_a_recording_is_opened():
    script = "import spikelab.spike_sorting.pipeline, sys; sys.exit('spikeinterface' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
