"""Streams: their ids and names, which hold electrodes, and messages of readers in our words."""

from __future__ import annotations

import builtins
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
from click.testing import CliRunner

from formats_by_hand import (
    some_counts,
    write_blackrock,
    write_edf,
    write_intan,
    write_mcs,
    write_neuroscope,
    write_open_ephys,
    write_spikeglx,
)
from spikelab.cli import cli
from spikelab.spike_sorting._exceptions import EnvironmentSortFailure
from spikelab.spike_sorting.config import RecordingConfig, SortingPipelineConfig
from spikelab.spike_sorting.recording import inspect_file, list_streams, open_recording, write_maxwell
from spikelab.spike_sorting.recording.mcs_recording import McsRecording
from spikelab.spike_sorting.recording.read_errors import reading
from spikelab.spike_sorting.recording.streams import Stream, chosen_stream, holds_electrodes
from spikelab.spike_sorting.run.jobs import checked_streams

NO_PLACES = "ignore:.*does not say where its electrodes are:UserWarning"


@pytest.mark.parametrize(
    ("stream_id", "name", "units", "electrodes"),
    [
        ("imec0.ap", "imec0.ap", ["uV"], True),
        ("imec0.lf", "imec0.lf", ["uV"], True),
        ("imec0.ap-SYNC", "imec0.ap-SYNC", ["uV"], False),
        ("nidq", "nidq", ["V"], False),
        ("obx0", "obx0", ["V"], False),
        ("0", "Record Node 101#Acquisition_Board-100.Rhythm Data", ["uV"], True),
        ("1", "Record Node 101#Acquisition_Board-100.Rhythm Data_ADC", ["V"], False),
        ("2", "Record Node 102#NI-DAQmx-103.PXIe-6341", ["V"], False),
        ("3", "Record Node 101#Neuropix-PXI-100.ProbeA-AP", ["uV"], True),
        ("0", "RHD2000 amplifier channel", ["uV"], True),
        ("10", "DC Amplifier channel", ["V"], True),
        ("1", "RHD2000 auxiliary input channel", ["V"], False),
        ("2", "RHD2000 supply voltage channel", ["V"], False),
        ("3", "USB board ADC input channel", ["V"], False),
        ("4", "USB board digital input channel", ["a.u."], False),
        ("11", "Stim channel", ["A"], False),
        ("ADC", "Signals ADC", ["V"], False),
        ("CH", "Signals CH", ["uV"], True),
        ("AI", "AI-Auxiliary Input", ["V"], False),
        ("WB", "WB-Wideband", ["V"], True),
        ("RAW", "Raw Analog", ["uV"], True),
        ("ACC", "Accelerometer", ["uV"], False),
        ("trodes", "trodes", [""], True),
        ("ECU", "ECU", [""], False),
        ("0", "stream0_32000Hz_3mVRange_DSPFilter0", ["uV"], True),
        ("5", "nsx5", ["uV"], True),
        ("0", "temperature of the bath", ["Celsius"], False),
        ("0", "unknown", ["Celsius"], False),
    ],
)  # fmt: skip
def test_which_streams_hold_electrodes(stream_id, name, units, electrodes):
    assert holds_electrodes(stream_id, name, units) is electrodes


BOARD = Stream("0", "Record Node 101#Acquisition_Board-100.Rhythm Data")
OTHER = Stream("1", "Record Node 102#Acquisition_Board-200.Rhythm Data")
ADC = Stream("2", "Record Node 101#Acquisition_Board-100.Rhythm Data_ADC", electrodes=False)


@pytest.mark.parametrize("wanted", ["0", BOARD.name, "Acquisition_Board-100.Rhythm Data", "Rhythm Data", None])
def test_a_stream_is_named_by_id_by_name_or_by_the_end_of_its_name(wanted):
    assert chosen_stream(Path("x"), [BOARD, ADC], wanted) is BOARD


@pytest.mark.parametrize(
    ("streams", "wanted", "message"),
    [
        ([BOARD, OTHER], "Rhythm Data", r"several streams of the name 'Rhythm Data'.*'0' \(Record Node 101.*'1' \("),
        ([BOARD, ADC], "Data", r"no stream 'Data'. It has \['0' \(Record.*'2' \(Record"),
        ([BOARD, ADC], "", r"no stream ''"),
        ([BOARD, OTHER, ADC], None, r"several streams; set stream_id to one of \['0' \([^)]*\), '1' \([^)]*\)\]$"),
        ([], None, "no stream of signals"),
    ],
)
def test_a_name_that_fits_no_stream_or_several(streams, wanted, message):
    with pytest.raises(ValueError, match=message):
        chosen_stream(Path("x"), streams, wanted)


@pytest.mark.filterwarnings(NO_PLACES)
def test_names_of_streams_of_open_ephys(tmp_path):
    folder, counts = tmp_path / "day", some_counts(n_channels=6)
    write_open_ephys(folder, counts, n_adc=2)
    electrodes, adc = inspect_file(folder)
    assert (electrodes.stream_id, electrodes.stream_name) == ("0", BOARD.name)
    assert electrodes.electrodes
    assert electrodes.n_channels == 4
    assert (adc.stream_name, adc.electrodes, adc.n_channels) == (ADC.name, False, 2)
    assert list_streams(folder) == ["0"]
    for stream_id in (None, "Rhythm Data", "0"):
        opened = open_recording(folder, RecordingConfig(stream_id=stream_id))
        assert opened.get_num_channels() == 4
    with pytest.warns(UserWarning, match="holds no electrodes"):
        assert open_recording(folder, RecordingConfig(stream_id="Rhythm Data_ADC")).get_num_channels() == 2


def test_streams_without_electrodes_are_listed_apart(tmp_path):
    write_intan(tmp_path / "day.rhd", some_counts(), n_adc=1)
    printed = CliRunner().invoke(cli, ["inspect", str(tmp_path / "day.rhd")])
    assert printed.exit_code == 0, printed.output
    first, second = printed.output.split("without electrodes, and not among --stream all:")
    assert "RHD2000 amplifier channel" in first
    assert "USB board ADC input channel" not in first
    assert "USB board ADC input channel" in second


def test_a_table_without_names_has_no_column_of_names(tmp_path):
    write_maxwell(tmp_path / "a.raw.h5", np.full((2, 100), 512, np.uint16), 20_000.0, [[0, 0], [17.5, 0]])
    assert " name " not in CliRunner().invoke(cli, ["inspect", str(tmp_path / "a.raw.h5")]).output


def test_all_streams_are_those_whose_electrodes_can_be_sorted(tmp_path):
    folder = write_spikeglx(tmp_path / "day1_g0", some_counts(), lf=True)
    assert [info.stream_id for info in inspect_file(folder) if not info.electrodes] == [
        "imec0.ap-SYNC",
        "imec0.lf-SYNC",
    ]
    config = SortingPipelineConfig()
    with pytest.warns(UserWarning, match=r"imec0.lf'\] is not sorted: its sampling rate is too low"):
        assert checked_streams(folder, "all", config) == ["imec0.ap"]
    assert checked_streams(folder, ["imec0.lf", "imec0.ap-SYNC"], config) == ["imec0.lf", "imec0.ap-SYNC"]
    assert checked_streams(folder, "all", config.override(freq_max=1000)) == ["imec0.ap", "imec0.lf"]


def test_a_stream_is_given_by_id_and_by_name(tmp_path):
    write_open_ephys(tmp_path / "day", some_counts())
    assert checked_streams(tmp_path / "day", ["Rhythm Data"], SortingPipelineConfig()) == ["Rhythm Data"]
    with pytest.raises(ValueError, match="given twice, by its id and by its name"):
        checked_streams(tmp_path / "day", ["Rhythm Data", "0"], SortingPipelineConfig())


@pytest.mark.filterwarnings(NO_PLACES)
def test_two_experiments_are_two_recordings(tmp_path):
    folder, counts = tmp_path / "day", some_counts()
    for experiment in ("experiment1", "experiment2"):
        write_open_ephys(folder, counts, experiment=experiment)
    with pytest.raises(ValueError, match=r"has 2 experiments.*give the folder of one.*experiment1, .*experiment2$"):
        open_recording(folder, RecordingConfig())
    assert "give the folder of one" in inspect_file(folder)[0].problem
    one = folder / "Record Node 101" / "experiment2"
    for path in (one, one / "recording1"):
        assert open_recording(path, RecordingConfig()).get_num_samples() == len(counts)


@pytest.mark.skipif(sys.platform == "win32", reason="locks are other ones there")
def test_a_file_that_a_program_has_open(tmp_path):
    path = tmp_path / "a.raw.h5"
    write_maxwell(path, np.full((2, 30_000), 512, np.uint16), 20_000.0, [[0, 0], [17.5, 0]])
    script = "import h5py, sys; f = h5py.File(sys.argv[1], 'r+'); print(1, flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", script, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None
        other.stdout.readline()
        with pytest.raises(ValueError, match=rf"{path} is open in another program.*HDF5_USE_FILE_LOCKING"):
            open_recording(path, RecordingConfig())
        other.communicate(b"\n")
    open_recording(path, RecordingConfig())


def test_a_package_that_is_missing_is_named_with_its_command(tmp_path, monkeypatch):
    monkeypatch.setattr("neo.rawio.edfrawio.EDFRawIO._parse_header", _needs_pyedflib)
    monkeypatch.setattr("spikelab.spike_sorting.recording.read_errors.find_spec", lambda _: None)
    path = write_edf(tmp_path / "a.edf", some_counts(20_000))
    with pytest.raises(EnvironmentSortFailure, match=rf"{path} cannot be read as edf: .*: pip install pyEDFlib$"):
        open_recording(path, RecordingConfig())


def _needs_pyedflib(*_):
    raise ValueError("Requires pyedflib")


@pytest.mark.parametrize(
    ("error", "package"),
    [
        (ModuleNotFoundError("No module named 'sonpy'", name="sonpy"), "sonpy"),
        (ModuleNotFoundError("No module named 'MEArec.tools'", name="MEArec.tools"), "MEArec"),
        (ImportError("To use the extractor, install mtscomp: \n\n pip install mtscomp\n\n"), "mtscomp"),
        (AssertionError("pip install nothing_of_this_name"), "nothing_of_this_name"),
    ],
    ids=repr,
)
def test_words_of_a_missing_package(error, package):
    message = rf"^a\.x cannot be read as y: .*pip install {package}$"
    with pytest.raises(EnvironmentSortFailure, match=message), reading("a.x", "as y"):
        raise error


def test_a_package_that_does_not_load():
    message = "cannot be imported .*pip install --force-reinstall nixio"
    with pytest.raises(EnvironmentSortFailure, match=message), reading("a.nix", "as nix"):
        raise ImportError("libx.so: no such file", name="nixio")
    with pytest.raises(EnvironmentSortFailure, match=r"^a\.nix cannot be read: .* \(x\)$"), reading("a.nix"):
        raise ImportError("x")


@pytest.mark.parametrize(
    ("words", "step"),
    [
        ("please specify 'experiment_name'", "give the folder of one experiment"),
        ("This dataset is multi-block. Use 'block_index'", "give the folder of one experiment, or of one block"),
        ("This reader have several streams: specify 'stream_name'", "set stream_id"),
        ("provide gap_tolerance_ms", "Frames are missing in the middle"),
        ("set rec_name", "set rec_name"),
        ("electrical_series_path is needed", "set electrical_series_path"),
        ("Size of available data is not a multiple of the data-type size.", "ends in the middle of a frame"),
        ("something else", "Compare its size with|compare its size with"),
    ],
)
def test_a_keyword_of_a_library_becomes_our_next_step(words, step):
    with pytest.raises(ValueError, match=step) as caught, reading("a.x", "as y"):
        builtins.exec(f"raise AssertionError({words!r})", {"__name__": "neo.rawio"})
    assert str(caught.value).startswith("a.x cannot be read as y: AssertionError: ")


@pytest.mark.filterwarnings(NO_PLACES)
def test_a_series_of_nwb_is_chosen_by_the_end_of_its_path(tmp_path):
    pytest.importorskip("pynwb")
    from spikelab.spike_sorting.recording.readers import _read_nwb

    with h5py.File(tmp_path / "a.nwb", "w") as file:
        file.attrs["nwb_version"] = "2.7.0"
        for name in ("acquisition/one", "acquisition/two", "processing/two"):
            file.create_group(name).attrs["neurodata_type"] = "ElectricalSeries"
    for wanted, message in (
        ("two", "has several ElectricalSeries 'two'"),
        ("three", "has no ElectricalSeries 'three'"),
    ):
        with pytest.raises(ValueError, match=message):
            _read_nwb(tmp_path / "a.nwb", RecordingConfig(stream_id=wanted))
    assert [info.stream_name for info in inspect_file(tmp_path / "a.nwb")] == ["one", "two", "two"]


@pytest.mark.parametrize("write", [write_mcs, write_neuroscope])
@pytest.mark.filterwarnings(NO_PLACES)
def test_formats_with_one_stream_of_electrodes_need_no_name(write, tmp_path):
    path = write(tmp_path / ("a.h5" if write is write_mcs else "a.dat"), some_counts())
    assert open_recording(path, RecordingConfig()).get_num_channels() == 4


@pytest.mark.filterwarnings(NO_PLACES)
def test_files_of_other_rates_beside_a_blackrock_file(tmp_path):
    for suffix, n_channels in ((".ns2", 2), (".ns6", 4)):
        write_blackrock(tmp_path / f"a{suffix}", some_counts(n_channels=n_channels))
    for suffix, n_channels in ((".ns2", 2), (".ns6", 4)):
        (stream,) = inspect_file(tmp_path / f"a{suffix}")
        assert stream.stream_id == suffix[-1]
        assert open_recording(tmp_path / f"a{suffix}", RecordingConfig()).get_num_channels() == n_channels


def test_streams_of_mcs(tmp_path):
    electrodes, other = inspect_file(write_mcs(tmp_path / "a.h5", some_counts()))
    assert (electrodes.stream_id, electrodes.stream_name, electrodes.electrodes) == ("0", "Electrode Raw Data", True)
    assert (other.stream_id, other.stream_name, other.electrodes, other.n_channels) == ("1", "Analog Data1", False, 1)


def test_rows_and_zero_of_mcs(tmp_path):
    from numpy.lib.recfunctions import append_fields

    counts = some_counts(100)
    with h5py.File(write_mcs(tmp_path / "a.h5", counts), "r+") as file:
        stream = file["Data/Recording_0/AnalogStream/Stream_0"]
        info = append_fields(stream["InfoChannel"][()], "RowIndex", [3, 2, 1, 0], usemask=False)
        info["ADZero"] = 10
        del stream["InfoChannel"]
        stream["InfoChannel"] = info
        file.create_group("Data/Recording_1")
    with pytest.warns(UserWarning, match="has 2 recordings, of which the first is used: Recording_1"):
        recording = McsRecording(tmp_path / "a.h5")
    assert recording.channel_ids.tolist() == ["Ch3", "Ch2", "Ch1", "Ch0"]
    np.testing.assert_allclose(recording.get_traces(return_in_uV=True), (counts - 10.0) * 0.195, atol=1e-4)
    np.testing.assert_array_equal(recording.get_traces(channel_ids=["Ch0", "Ch2"]), counts[:, [3, 1]])


@pytest.mark.parametrize(
    ("column", "value", "message"), [("Unit", b"A", "values in A, and volts"), ("Tick", 0, "Tick of 0 us")]
)
def test_mcs_tables_that_cannot_be_true(column, value, message, tmp_path):
    with h5py.File(write_mcs(tmp_path / "a.h5", some_counts(100)), "r+") as file:
        table = file["Data/Recording_0/AnalogStream/Stream_0/InfoChannel"]
        info = table[()]
        info[column] = value
        table[...] = info
    with pytest.raises(ValueError, match=message):
        McsRecording(tmp_path / "a.h5")
