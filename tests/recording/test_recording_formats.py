"""What is taken from each format: traces, gain, geometry, clock and gaps, on files written as it is described.

docs/formats.md has the same formats in its table, marked as checked.
"""

from __future__ import annotations

import gc
import re
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import h5py
import numpy as np
import pytest
from probeinterface import Probe, write_probeinterface

from formats_by_hand import (
    FS,
    jumped,
    some_counts,
    write_biocam,
    write_biocam_4,
    write_blackrock,
    write_edf,
    write_intan,
    write_mcs,
    write_neuralynx,
    write_neuroscope,
    write_nwb,
    write_old_open_ephys,
    write_open_ephys,
    write_spikeglx,
)
from spikelab.spike_sorting.config import RecordingConfig
from spikelab.spike_sorting.data import epochs_of
from spikelab.spike_sorting.recording import fingerprint, open_recording, resolve_source, write_maxwell
from spikelab.spike_sorting.recording.clock import read_clock
from spikelab.spike_sorting.recording.formats import FILE_FORMATS, FOLDER_FORMATS
from spikelab.spike_sorting.recording.readers import read_file

if TYPE_CHECKING:
    from collections.abc import Callable

DOCS = Path(__file__).parents[2] / "docs" / "formats.md"
COUNTS = some_counts()
N, CUT, FIRST, LOST = len(COUNTS), 8192, 4096, 20_000
GAP = jumped(N, FIRST, CUT, LOST)
UTC_10, LOCAL_10 = "2024-01-01T10:00:00.000+00:00", "2024-01-01T10:00:00.000"


@dataclass(frozen=True)
class Case:
    """A file to write, and what its clock shows."""

    write: Callable[[Path], Path]
    starts_s: tuple[float, ...]  # of its stretches
    zero: str = ""  # date and time, "" where the format has none
    gain_uv: float = 0.195
    fs: float = FS
    column_um: float | None = None  # distance of rows, where the format has places


def _maxwell(folder: Path) -> Path:
    path = folder / "a.raw.h5"
    write_maxwell(path, (COUNTS.T + 512).astype(np.uint16), FS, [[0, 40.0 * i] for i in range(4)], lsb_uv=0.195)
    with h5py.File(path, "r+") as file:
        file["data_store/data0000/groups/routed/frame_nos"][:] = GAP
        file["data_store/data0000/start_time"] = np.array([1_704_103_200_000])
    return path


def _headerless(folder: Path) -> Path:
    COUNTS.tofile(folder / "a.dat")
    return folder / "a.dat"


def _edf(folder: Path) -> Path:
    pytest.importorskip("pyedflib")
    return write_edf(folder / "a.edf", COUNTS)


def _nwb(folder: Path) -> Path:
    pytest.importorskip("pynwb")
    return write_nwb(folder / "a.nwb", COUNTS, GAP / FS)


def _nwb_of_rate(folder: Path) -> Path:
    pytest.importorskip("pynwb")
    return write_nwb(folder / "a.nwb", COUNTS)


def _broken(fs: float = FS, begin_s: float = 0.0, first: int = FIRST) -> tuple[float, float]:
    return begin_s + first / fs, begin_s + (first + CUT + LOST) / fs


CASES = {
    "maxwell": Case(_maxwell, _broken(), "2024-01-01T09:59:59.795+00:00", column_um=40.0),
    "nwb": Case(_nwb, _broken(), "2024-01-01T10:00:00+00:00", column_um=40.0),
    "nwb, rate": Case(_nwb_of_rate, (2.0,), "2024-01-01T10:00:00+00:00", column_um=40.0),
    "spikeglx": Case(
        lambda f: write_spikeglx(f / "day_g0", COUNTS, first=3000), (0.1,), "2024-01-01T09:59:59.900", 2.34375, 30_000.0
    ),
    "openephysbinary": Case(
        lambda f: write_open_ephys(f / "day", COUNTS, GAP), _broken(), "2024-01-01T09:59:59.795+00:00"
    ),
    "openephyslegacy": Case(
        lambda f: write_old_open_ephys(f / "day", COUNTS, GAP), _broken(), "2024-01-01T09:59:59.795"
    ),
    "intan": Case(
        lambda f: write_intan(f / "day_240101_100000.rhd", COUNTS, GAP), _broken(), "2024-01-01T09:59:59.795"
    ),
    "intan, file per signal": Case(
        lambda f: write_intan(f / "day_240101_100000" / "info.rhd", COUNTS, GAP).parent,
        _broken(),
        "2024-01-01T09:59:59.795",
    ),
    "neuralynx": Case(
        lambda f: write_neuralynx(f / "day", COUNTS, GAP), _broken(begin_s=5.0), "2024-01-01T09:59:54.795"
    ),
    "blackrock": Case(
        lambda f: write_blackrock(f / "a.ns6", COUNTS, GAP), _broken(30_000.0), UTC_10, 4000 / 16382, 30_000.0
    ),
    "blackrock, PTP": Case(
        lambda f: write_blackrock(f / "a.ns6", COUNTS, GAP, ptp=True),
        _broken(30_000.0, 1_704_103_200.0),
        "1970-01-01T00:00:00.000+00:00",
        4000 / 16382,
        30_000.0,
    ),
    "mcsh5": Case(lambda f: write_mcs(f / "a.h5", COUNTS, GAP), _broken(), "2024-01-01T09:59:59.795"),
    "biocam": Case(lambda f: write_biocam(f / "a.brw", COUNTS), (0.0,), "", 8250 / 4096, column_um=42.0),
    "biocam, version 4": Case(
        lambda f: write_biocam_4(f / "a.brw", COUNTS, GAP), _broken(), "", 8250 / 4095, column_um=42.0
    ),
    "neuroscope": Case(lambda f: write_neuroscope(f / "a.dat", COUNTS), (0.0,), "", 20e6 / 2**16 / 1000),
    "edf": Case(_edf, (0.0,), LOCAL_10, 12779.325 / 2**16),  # as neo divides
}
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*does not say where its electrodes are:UserWarning"),
    pytest.mark.filterwarnings("ignore:.*strict_gap_mode"),
]


@pytest.fixture(autouse=True)
def _collected(request):
    """neo's reader of Blackrock leaves its file open, which a later test would be told of."""
    yield
    if "blackrock" in request.node.name:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            gc.collect()


@pytest.mark.parametrize("name", CASES)
def test_traces_gain_clock_and_gaps(name, tmp_path):
    case = CASES[name]
    path = case.write(tmp_path)
    source = resolve_source(path)
    assert source.format == name.partition(",")[0]
    recording = read_file(path, source.format, RecordingConfig())
    clock = read_clock(recording, source.format, str(path))
    assert recording.get_sampling_frequency() == pytest.approx(case.fs)
    assert recording.get_channel_gains() == pytest.approx(case.gain_uv, rel=1e-6)
    parts = [(segment, part) for segment, of_segment in enumerate(clock.segments) for part in of_segment]
    assert [part.start_s for _, part in parts] == pytest.approx(list(case.starts_s), abs=2e-6)
    assert clock.zero == case.zero
    counts = np.concatenate([recording.get_traces(segment, part.start, part.end) for segment, part in parts])
    np.testing.assert_array_equal(counts - np.round(counts.mean()), COUNTS[: len(counts)] - np.round(COUNTS.mean()))
    assert len(counts) == (N if name != "edf" else int(FS))


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if len(case.starts_s) > 1])
def test_a_gap_is_a_boundary_of_epochs(name, tmp_path):
    case = CASES[name]
    path = case.write(tmp_path)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        epochs = epochs_of(open_recording(path, RecordingConfig()))
    are_segments = name.startswith(("neuralynx", "blackrock"))
    assert are_segments or any("s are missing after" in str(warning.message) for warning in caught)
    assert [(epoch.start_frame, epoch.end_frame) for epoch in epochs] == [(0, CUT), (CUT, N)]
    assert [epoch.clock_start_s for epoch in epochs] == pytest.approx(list(case.starts_s), abs=2e-6)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("wired", [[2, 0, 1, 3], [3, -1, 1, 0]])
@pytest.mark.filterwarnings("ignore:.*not continuous:UserWarning")
def test_a_probe_file_leaves_the_clock_as_it_is(name, wired, tmp_path):
    path = CASES[name].write(tmp_path)
    probe = Probe(ndim=2)
    probe.set_contacts(positions=[[0.0, 40.0 * row] for row in range(4)])
    probe.set_device_channel_indices(wired)
    write_probeinterface(tmp_path / "probe.json", probe)
    alone = epochs_of(open_recording(path, RecordingConfig()))
    with_probe = open_recording(path, RecordingConfig(probe_path=tmp_path / "probe.json"))
    assert epochs_of(with_probe) == alone
    assert with_probe.get_num_channels() == sum(channel >= 0 for channel in wired)
    assert [epoch.clock_zero for epoch in alone] == [CASES[name].zero] * len(CASES[name].starts_s)


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.column_um])
@pytest.mark.filterwarnings("ignore:.*not continuous:UserWarning")
def test_places_of_electrodes(name, tmp_path):
    recording = open_recording(CASES[name].write(tmp_path), RecordingConfig())
    places = recording.get_channel_locations()
    assert np.diff(np.unique(places[:, 1])) == pytest.approx(CASES[name].column_um)


def test_places_of_neuropixels(tmp_path):
    recording = open_recording(write_spikeglx(tmp_path / "day_g0", COUNTS), RecordingConfig())
    assert np.unique(recording.get_channel_locations()[:, 1]).tolist() == [0.0, 20.0]


def test_channels_of_old_open_ephys_with_other_gaps(tmp_path):
    write_old_open_ephys(tmp_path / "day", COUNTS)
    late = jumped(N, 0, 5 * 1024, 1024)
    write_old_open_ephys(tmp_path / "other", COUNTS, late)
    (tmp_path / "other" / "100_CH2.continuous").replace(tmp_path / "day" / "100_CH2.continuous")
    recording = read_file(tmp_path / "day", "openephyslegacy", RecordingConfig())
    ((first, second),) = read_clock(recording, "openephyslegacy", "x").segments
    assert (first.start, first.end, first.start_s) == (0, 5 * 1024, 0.0)
    assert (second.start, second.end) == (6 * 1024, N)


@pytest.mark.parametrize(
    ("lost", "late", "ranges"),
    [
        (64, None, [(0, CUT), (CUT, N)]),  # too few for the reader to begin a segment
        (0, 10, [(0, N)]),  # one record is late, the next on time: jitter
        (3, 10, [(0, CUT), (CUT, N)]),
        (0, None, [(0, N)]),
    ],
)
def test_short_gaps_of_neuralynx(lost, late, ranges, tmp_path):
    numbers = jumped(N, 0, CUT, lost)
    if late is not None:
        numbers[late * 512 : (late + 1) * 512] += 5
    path = write_neuralynx(tmp_path / "day", COUNTS, numbers)
    (parts,) = read_clock(read_file(path, "neuralynx", RecordingConfig()), "neuralynx", str(path)).segments
    assert [(part.start, part.end) for part in parts] == ranges
    assert [part.start_s for part in parts] == pytest.approx([5.0, 5.0 + (CUT + lost) / FS][: len(parts)])


def test_two_files_of_a_spikeglx_run_have_clocks_of_their_own(tmp_path):
    folder = write_spikeglx(tmp_path / "day_g0", COUNTS, first=3000)
    write_spikeglx(tmp_path / "later" / "day_g0", COUNTS, first=90_000)
    for file in (tmp_path / "later").rglob("*imec0.ap.*"):
        moved = file.replace(folder / file.name.replace("_t0", "_t1"))
        if moved.suffix == ".meta":
            moved.write_text(moved.read_text().replace("_t0", "_t1"))
    recording = read_file(folder, "spikeglx", RecordingConfig())
    segments = read_clock(recording, "spikeglx", str(folder)).segments
    assert [parts[0].start_s for parts in segments] == pytest.approx([0.1, 3.0])


@pytest.mark.parametrize("more", [100, -100])
def test_numbers_of_timestamps_and_frames_of_nwb_differ(more, tmp_path):
    pytest.importorskip("pynwb")
    path = write_nwb(tmp_path / "a.nwb", COUNTS, GAP / FS)
    with h5py.File(path, "r+") as file:
        attributes = dict(file["acquisition/series/timestamps"].attrs)
        del file["acquisition/series/timestamps"]
        file["acquisition/series/timestamps"] = np.arange(N + more) / FS
        file["acquisition/series/timestamps"].attrs.update(attributes)
    message = (
        "24576 of the 24676 frames that timestamps"
        if more > 0
        else "has 24576 frames and 24476 timestamps, which are not used"
    )
    with pytest.warns(UserWarning, match=message):
        (epoch,) = epochs_of(open_recording(path, RecordingConfig()))
    assert epoch.clock_start_s == (0.0 if more > 0 else None)
    assert epoch.end_frame == N


def test_the_page_names_every_format_and_those_checked_here():
    rows = [line for line in DOCS.read_text().splitlines() if re.match(r"\| [^|]*`", line)]
    named = {name: "✓" in row for row in rows for name in re.findall(r"`(\w[\w ]*)`", row.split("|")[1])}
    assert set(named) == {known.name for known in (*FILE_FORMATS, *FOLDER_FORMATS)}
    elsewhere = {"headerless binary", "spikeinterface", "zarr"}
    assert {name for name, checked in named.items() if checked} == {n.partition(",")[0] for n in CASES} | elsewhere


def test_the_key_of_an_intan_header_sees_the_traces_beside_it(tmp_path):
    header = write_intan(tmp_path / "day" / "info.rhd", some_counts())
    before = fingerprint(header)
    assert before == fingerprint(header.parent)
    with (header.parent / "amplifier.dat").open("r+b") as file:
        file.write(b"\1\2\3\4")
    assert fingerprint(header) != before
