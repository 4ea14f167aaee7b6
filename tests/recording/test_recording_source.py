"""What an input is, its name, and its fingerprint."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spikelab.spike_sorting.config import RecordingConfig
from spikelab.spike_sorting.recording import fingerprint, inspect_file, list_streams, resolve_source, write_maxwell
from spikelab.spike_sorting.recording.source import natural_key, safe_name, stem_of

if TYPE_CHECKING:
    from pathlib import Path

LINE = np.column_stack([np.arange(2.0), np.zeros(2)])


@pytest.fixture
def maxwell_file(noise_counts):
    def write(path: Path, seed: int = 0) -> Path:
        write_maxwell(path, noise_counts(2, 1000, seed=seed), 1e4, LINE)
        return path

    return write


def test_missing_path(tmp_path, config):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        resolve_source(tmp_path / "nowhere.raw.h5", config)
    with pytest.raises(FileNotFoundError):
        inspect_file(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("name", "stem"),
    [
        ("2023.05.01 plate 7.raw.h5", "2023.05.01 plate 7"),
        ("a.b.h5", "a.b"),
        ("A.RAW.H5", "A"),
        ("x.nwb", "x"),
        ("chip.brw", "chip"),
        ("data.dat", "data"),
        ("v1.2", "v1.2"),
    ],
)
def test_stem_of_files(tmp_path, name, stem):
    (tmp_path / name).touch()
    assert stem_of(tmp_path / name) == stem


@pytest.mark.parametrize(("name", "stem"), [("2023.05.01 plate", "2023.05.01 plate"), ("a.zarr", "a")])
def test_stem_of_folders(tmp_path, name, stem):
    (tmp_path / name).mkdir()
    assert stem_of(tmp_path / name) == stem


def test_refused_characters_are_replaced():
    assert safe_name('a<b>:"c|d?*e. ') == "a-b---c-d--e"
    assert safe_name("...") == "recording"


def test_stream_and_recording_are_appended(tmp_path, maxwell_file):
    path = maxwell_file(tmp_path / "a.raw.h5")
    assert resolve_source(path, RecordingConfig(stream_id="well000", rec_name="rec/1")).stem == "a_well000_rec-1"


def test_folder_of_files_in_natural_order(tmp_path, maxwell_file, config):
    for name in ("rec10.raw.h5", "rec2.raw.h5", "Rec1.raw.h5", "._rec2.raw.h5"):
        maxwell_file(tmp_path / name)
    (tmp_path / "notes.txt").write_text("none")
    source = resolve_source(tmp_path, config)
    assert (source.kind, source.format) == ("files", "maxwell")
    assert [path.name for path in source.files] == ["Rec1.raw.h5", "rec2.raw.h5", "rec10.raw.h5"]
    assert list_streams(tmp_path) == ["well000"]
    assert len(inspect_file(tmp_path)) == 3


@given(st.lists(st.integers(0, 10**6), unique=True, min_size=2))
def test_natural_order_is_numeric(numbers):
    names = sorted((f"rec {n}.h5" for n in numbers), key=natural_key)
    assert names == [f"rec {n}.h5" for n in sorted(numbers)]


def test_folder_without_recordings_says_what_is_there(tmp_path, config):
    (tmp_path / "notes.txt").touch()
    (tmp_path / "figures").mkdir()
    with pytest.raises(ValueError, match=r"no recordings\. It holds figures/, notes\.txt"):
        resolve_source(tmp_path, config)


def test_folder_of_several_kinds(tmp_path, maxwell_file, config):
    maxwell_file(tmp_path / "a.raw.h5")
    (tmp_path / "b.dat").write_bytes(b"1234")
    with pytest.raises(ValueError, match=r"several formats.*maxwell: a\.raw\.h5; headerless binary: b\.dat"):
        resolve_source(tmp_path, config)


def test_unknown_format_lists_those_known(tmp_path, config):
    (tmp_path / "a.docx").touch()
    with pytest.raises(ValueError, match=r"not known.*maxwell.*nwb \(\.nwb\).*spikeglx folders"):
        resolve_source(tmp_path / "a.docx", config)


@pytest.mark.parametrize("name", ["structure.oebin", "x.ncs", "run.ap.bin"])
def test_part_of_a_folder_recording(tmp_path, config, name):
    (tmp_path / name).touch()
    (tmp_path / "run.ap.meta").touch()
    with pytest.raises(ValueError, match="give its folder"):
        resolve_source(tmp_path / name, config)


def test_headerless_file_names_the_missing_fields(tmp_path):
    (tmp_path / "a.dat").write_bytes(b"1234")
    with pytest.raises(ValueError, match="set probe_path, num_channels to say"):
        resolve_source(tmp_path / "a.dat", RecordingConfig(sampling_frequency=1e4, dtype="int16"))
    (info,) = inspect_file(tmp_path / "a.dat")
    assert not info.readable
    assert "num_channels" in info.problem


def test_fingerprint_of_a_file(tmp_path, maxwell_file):
    path = maxwell_file(tmp_path / "a.raw.h5")
    first = fingerprint(path)
    moved = path.rename(tmp_path / "b.raw.h5")
    assert fingerprint(moved) == first
    status = moved.stat()
    data = bytearray(moved.read_bytes())
    data[-1] ^= 1
    moved.write_bytes(data)
    os.utime(moved, ns=(status.st_atime_ns, status.st_mtime_ns))
    changed = fingerprint(moved)
    assert changed != first
    os.utime(moved, ns=(status.st_atime_ns, status.st_mtime_ns + 10**9))
    assert fingerprint(moved) not in (first, changed)


def test_fingerprint_in_memory(in_memory, gaussian):
    traces = gaussian()
    first = fingerprint(in_memory(traces))
    assert fingerprint(in_memory(traces.copy())) == first
    changed = traces.copy()
    changed[-1, 0] += 1
    others = [in_memory(changed), in_memory(traces[:-1]), in_memory(traces, fs=1e4), in_memory(traces, gain=2.0)]
    assert len({first, *(fingerprint(other) for other in others)}) == 5


def test_fingerprint_of_a_folder(store, tmp_path, in_memory, gaussian):
    store(in_memory(gaussian(1000)), tmp_path / "rec")
    first = fingerprint(tmp_path / "rec")
    (tmp_path / "rec").rename(tmp_path / "moved")
    assert fingerprint(tmp_path / "moved") == first


def test_fingerprint_of_a_folder_with_results_in_it(store, tmp_path, in_memory, gaussian):
    folder = store(in_memory(gaussian(1000)), tmp_path / "rec")
    results = folder / "sorted"
    first = fingerprint(folder)
    (results / "stages").mkdir(parents=True)
    (results / "stages" / "manifest.json").write_text("{}")
    assert fingerprint(folder) != first
    assert fingerprint(folder, leave_out=[results]) == first
    assert fingerprint(folder, leave_out=[tmp_path / "other" / ".." / "rec" / "sorted"]) == first
    # A folder that holds the recording is no reason to leave the recording out.
    nothing = fingerprint(folder, leave_out=[folder, tmp_path])
    (folder / "traces_cached_seg0.raw").write_bytes(b"other")
    assert fingerprint(folder, leave_out=[folder, tmp_path]) != nothing
    assert fingerprint(folder, leave_out=[results]) != first
