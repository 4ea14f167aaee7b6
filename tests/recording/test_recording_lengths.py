"""Recordings that are shorter than their headers, or the files beside them, say."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest

from formats_by_hand import (
    FS,
    some_counts,
    write_biocam,
    write_blackrock,
    write_edf,
    write_intan,
    write_mcs,
    write_neuralynx,
    write_neuroscope,
    write_old_open_ephys,
    write_open_ephys,
    write_spikeglx,
)
from spikelab.spike_sorting.config import RecordingConfig
from spikelab.spike_sorting.recording import open_recording
from spikelab.spike_sorting.recording.stated_length import edf_problem

COUNTS = some_counts()
N = len(COUNTS)
NO_PLACES = "ignore:.*does not say where its electrodes are:UserWarning"


def _cut(path: Path, by: int) -> None:
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size - by)


def _spikeglx(folder: Path) -> Path:
    return write_spikeglx(folder / "day_g0", COUNTS, stated=2 * N)


def _open_ephys(folder: Path) -> Path:
    write_open_ephys(folder / "day", COUNTS)
    _cut(next((folder / "day").rglob("continuous.dat")), 8 * 1000)
    return folder / "day"


def _old_open_ephys(folder: Path) -> Path:
    write_old_open_ephys(folder / "day", COUNTS)
    _cut(folder / "day" / "100_CH2.continuous", 3 * 2070)
    return folder / "day"


def _intan(folder: Path) -> Path:
    _cut(write_intan(folder / "day" / "info.rhd", COUNTS).with_name("amplifier.dat"), 8 * 1000)
    return folder / "day"


SHORT = {
    "spikeglx": (_spikeglx, r"196608 of the 393216 bytes|245760 of the 491520 bytes that fileSizeBytes", N),
    "open ephys": (_open_ephys, "23576 of the 24576 frames that sample_numbers.npy states", N - 1000),
    "old open ephys": (_old_open_ephys, "44494 of the 50704 bytes that the longest file of the other", N - 3 * 1024),
    "intan": (_intan, "23576 of the 24576 frames that time.dat states", N - 1000),
    "mcs": (lambda f: write_mcs(f / "a.h5", COUNTS, stated=N + 5), "24576 of the 24581 frames that ChannelData", N),
    "biocam": (lambda f: write_biocam(f / "a.brw", COUNTS, stated=2 * N), "24576 of the 49152 frames that NRec", N),
}


@pytest.mark.parametrize("name", SHORT)
@pytest.mark.filterwarnings(NO_PLACES)
def test_shorter_than_stated(name, tmp_path):
    write, message, left = SHORT[name]
    path = write(tmp_path)
    with pytest.warns(UserWarning, match=f"is shorter than it says: it has .*{message}.*interrupted"):
        recording = open_recording(path, RecordingConfig())
    assert recording.get_num_samples() == left
    assert recording.get_traces(start_frame=left - 10).shape == (10, 4)


WHOLE = {
    "spikeglx": lambda f: write_spikeglx(f / "day_g0", COUNTS),
    "open ephys": lambda f: write_open_ephys(f / "day", COUNTS, n_adc=1),
    "old open ephys": lambda f: write_old_open_ephys(f / "day", COUNTS),
    "intan": lambda f: write_intan(f / "day" / "info.rhd", COUNTS, n_adc=1).parent,
    "neuralynx": lambda f: write_neuralynx(f / "day", COUNTS),
    "blackrock": lambda f: write_blackrock(f / "a.ns6", COUNTS),
    "mcs": lambda f: write_mcs(f / "a.h5", COUNTS),
    "biocam": lambda f: write_biocam(f / "a.brw", COUNTS),
}


@pytest.mark.parametrize("name", WHOLE)
def test_whole_files_are_not_warned_of(name, tmp_path):
    path = WHOLE[name](tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", message=".*does not say where its electrodes are")
        warnings.filterwarnings("ignore", message=".*strict_gap_mode")  # SpikeInterface sets it
        open_recording(path, RecordingConfig())


REFUSED = {
    "blackrock": lambda f: write_blackrock(f / "a.ns6", COUNTS),
    "intan": lambda f: write_intan(f / "a.rhd", COUNTS),
    "neuroscope": lambda f: write_neuroscope(f / "a.dat", COUNTS),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_a_reader_cannot_open_is_said_to_be_cut(name, tmp_path):
    path = REFUSED[name](tmp_path)
    _cut(path, 1003)
    with pytest.raises(ValueError, match=rf"{path}.*interrupted\? Compare its size with the original's"):
        open_recording(path, RecordingConfig())


def test_records_of_edf(tmp_path):
    counts = some_counts(3 * int(FS), 2)
    assert not edf_problem(write_edf(tmp_path / "a.edf", counts))
    assert "has 3 of the 5 records that its header states" in edf_problem(write_edf(tmp_path / "b.edf", counts, 5))
    assert not edf_problem(write_edf(tmp_path / "c.edf", counts, -1))  # being recorded
    (tmp_path / "d.edf").write_bytes(b"0" * 100)
    assert not edf_problem(tmp_path / "d.edf")
