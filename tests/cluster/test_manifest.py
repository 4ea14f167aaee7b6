"""A list of recordings is refused as a whole, with every fault and where it is, before anything is started."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from simulated import FS
from spikelab.spike_sorting.batch.jobfile import read_job, write_job
from spikelab.spike_sorting.batch.manifest import ManifestError, jobs_from_entries, read_manifest
from spikelab.spike_sorting.recording.maxwell_writer import add_well, write_header


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two recordings and a plate of three wells."""
    for name in ("day1", "day2", "day10"):
        (tmp_path / f"{name}.raw.h5").write_bytes(b"")
    with h5py.File(tmp_path / "plate.raw.h5", "w") as file:
        write_header(file)
        for number in range(3):
            traces = np.full((4, 100), 512, dtype=np.uint16)
            locations = np.column_stack([np.arange(4) * 17.5, np.zeros(4)])
            add_well(file, traces, FS, locations, 6.0, well=f"well{number:03d}")
    return tmp_path


def manifest(folder: Path, text: str) -> Path:
    path = folder / "list.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_entries_become_jobs(folder: Path) -> None:
    jobs = read_manifest(
        manifest(
            folder,
            """
            [defaults]
            sorter = "threshold"
            results = "results"
            config = { n_jobs = 2, snr_min = 7 }
            [[recording]]
            file = "day*.raw.h5"
            [[recording]]
            file = "plate.raw.h5"
            stream = "all"
            results = "plate"
            config = { snr_min = "none" }
            [[recording]]
            file = "day1.raw.h5"
            sorter = "rt_sort"
            results = "here"
            """,
        )
    )
    assert [job.name for job in jobs[:3]] == ["day1", "day2", "day10"]
    assert [job.results for job in jobs[:3]] == [
        folder / "results" / f"sorted_threshold_{name}" for name in ("day1", "day2", "day10")
    ]
    assert jobs[0].intermediate == folder / "results" / "intermediate" / "inter_threshold_day1"
    assert [job.config.recording.stream_id for job in jobs[3:6]] == ["well000", "well001", "well002"]
    assert jobs[3].results == folder / "plate" / "sorted_threshold_plate_well000"
    assert (jobs[0].config.curation.snr_min, jobs[3].config.curation.snr_min) == (7, None)
    assert jobs[3].config.execution.n_jobs == 2
    assert jobs[6].config.sorter.sorter_name == "rt_sort"
    assert (jobs[6].results, jobs[6].intermediate) == (folder / "here", folder / "here" / "intermediate")
    assert [path.name for path in folder.iterdir() if path.is_dir()] == []


def test_csv_says_the_same(folder: Path) -> None:
    (folder / "list.csv").write_text(
        "file,stream,sorter,results,config\n"
        "day1.raw.h5,,threshold,one,snr_min=8; fr_min=none\n"
        "plate.raw.h5,well001,threshold,two,\n",
        encoding="utf-8",
    )
    first, second = read_manifest(folder / "list.csv")
    assert (first.results, first.config.curation.snr_min, first.config.curation.fr_min) == (folder / "one", 8, None)
    assert (second.results, second.config.recording.stream_id) == (folder / "two", "well001")


def test_blanks_around_the_cells_of_a_csv_say_nothing(folder: Path) -> None:
    """As people align columns by hand: names of columns, paths, settings, and rows of blanks alone."""
    (folder / "list.csv").write_text(
        " file        , sorter     , results , config \n"
        "day1.raw.h5  , threshold  , one     , snr_min = 8 ; fr_min = none \n"
        "             ,            ,         ,  \n"
        "\tday2.raw.h5, threshold  ,two\t   ,  \n",
        encoding="utf-8",
    )
    first, second = read_manifest(folder / "list.csv")
    assert (first.name, first.config.sorter.sorter_name, first.results) == ("day1", "threshold", folder / "one")
    assert (first.config.curation.snr_min, first.config.curation.fr_min) == (8, None)
    assert (second.name, second.config.sorter.sorter_name, second.results) == ("day2", "threshold", folder / "two")


REFUSED = {
    "wrong path": ('file = "day3.raw.h5"', r"entry 2 \(day3.raw.h5\), file: there is no file or folder .*day3"),
    "pattern of nothing": ('file = "night*"', r"entry 2 \(night\*\), file: nothing is called"),
    "no path": ('sorter = "threshold"', r"entry 2 \(without a file\), file: the path of a recording is missing"),
    "unknown key": ('file = "day2.raw.h5"\nsorted = 1', r"entry 2 \(day2.raw.h5\), sorted: .*did you mean 'sorter'"),
    "unknown setting": ('file = "day2.raw.h5"\nconfig = { snr_mim = 1 }', r"entry 2 .*, config: .*'snr_mim'.*snr_min"),
    "impossible value": ('file = "day2.raw.h5"\nconfig = { snr_min = "x" }', r"entry 2 .*, config: 'snr_min' must"),
    "unknown sorter": ('file = "day2.raw.h5"\nsorter = "treshold"', r"entry 2 .*, sorter: Unknown sorter 'treshold'"),
    "unknown stream": (
        'file = "plate.raw.h5"\nstream = "well009"',
        r"entry 2 .*, stream: .* has no stream 'well009'.*well000",
    ),
    "same folder": ('file = "day2.raw.h5"\nresults = "x/../one"', r"entry 2 .*, results: .* the folder of entry 1"),
    "same recording": ('file = "day1.raw.h5"', r"entry 2 .*, file: .*day1.raw.h5 is already in entry 1"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_a_fault_is_named_with_entry_and_key(what: str, folder: Path) -> None:
    entry, message = REFUSED[what]
    first = '[defaults]\nsorter = "threshold"\n[[recording]]\nfile = "day1.raw.h5"\nresults = "one"\n'
    with pytest.raises(ManifestError, match=message) as caught:
        read_manifest(manifest(folder, f"{first}[[recording]]\n{entry}\n"))
    assert len(caught.value.problems) == 1


def test_all_faults_are_told_at_once(folder: Path) -> None:
    text = '[default]\nsorter = "threshold"\n' + '[[recording]]\nfile = "missing"\n' * 2
    with pytest.raises(ManifestError, match="nothing was started") as caught:
        read_manifest(manifest(folder, text))
    assert len(caught.value.problems) == 3
    assert "did you mean 'defaults'" in caught.value.problems[0]


@pytest.mark.parametrize("text", ["", "recording = 1", "[[recording]", '[recording]\nfile = "day1.raw.h5"'])
def test_what_is_no_list_is_refused(text: str, folder: Path) -> None:
    with pytest.raises(ManifestError):
        read_manifest(manifest(folder, text))


def test_entries_in_python(saved: Callable[..., Path]) -> None:
    path = saved("culture", duration_s=1.5)
    (job,) = jobs_from_entries([{"file": path, "sorter": "threshold", "config": {"snr_min": None}}])
    assert (job.recording_input, job.config.curation.snr_min) == (path, None)
    with pytest.raises(ManifestError, match="entry 1"):
        jobs_from_entries([{"file": path, "sorter": "threshold", "config": {"snr": 1}}])


def test_a_fault_of_the_defaults_is_told_once_and_settings_are_shared(folder: Path) -> None:
    entries = [{"file": folder / f"{name}.raw.h5"} for name in ("day1", "day2")]
    with pytest.raises(ManifestError) as caught:
        jobs_from_entries(entries, {"sorter": "threshold", "config": {"snr_mim": 7}})
    assert [problem.partition(":")[0] for problem in caught.value.problems] == ["[defaults], config"]
    first, second = jobs_from_entries(entries, {"sorter": "threshold", "config": {"snr_min": 7}})
    assert first.config is second.config


# ---- further columns ----

COLUMNS = "file,stream,sorter,condition,Day,dose,chip\n"


def test_further_columns_are_noted_of_their_recordings(folder: Path) -> None:
    (folder / "list.csv").write_text(
        COLUMNS + "plate.raw.h5,well000,threshold,=control,7,0.5,007\nplate.raw.h5,well001,threshold,drug A,14,1,008\n"
        "plate.raw.h5,well002,threshold,,,,\n",
        encoding="utf-8",
    )
    first, second, third = read_manifest(folder / "list.csv")
    assert first.metadata == {"condition": "=control", "Day": 7, "dose": 0.5, "chip": "007"}
    assert second.metadata == {"condition": "drug A", "Day": 14, "dose": 1.0, "chip": "008"}
    assert third.metadata == {}


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        ("one.h5,A1,1,\ntwo.h5,Z99,1,", ["entry 2 (two.h5), well: no plate has a well Z99; expected a letter and"]),
        ("one.h5,well096,1,\ntwo.h5,A0,1,", ["entry 1 (one.h5), well: no plate", "entry 2 (two.h5), well: no plate"]),
        ("one.h5,A1,1,\ntwo.h5,a01,1,", ["entry 2 (two.h5), well: a01 is the well of entry 1 (one.h5) too; if they"]),
        ("one.h5,A1,1,p7\ntwo.h5,A1,1,p7", ["entry 2 (two.h5), well: p7 A1 is the well of entry 1 (one.h5) too; if"]),
        ("one.h5,A1,1,p7\ntwo.h5,A1,1,p8", []),
        ("one.h5,A1,1,\ntwo.h5,A1,2,", []),  # another day
        ("one.h5,left,1,\ntwo.h5,left,1,", []),  # of no plate
    ],
)
def test_wells_that_are_none_or_are_taken_are_told(rows: str, told: list[str], tmp_path: Path) -> None:
    for name in ("one.h5", "two.h5"):
        (tmp_path / name).touch()
    path = tmp_path / "list.csv"
    path.write_text(f"file,well,day,plate\n{rows}\n", encoding="utf-8")
    if not told:
        assert len(read_manifest(path)) == 2
        return
    with pytest.raises(ManifestError) as caught:
        read_manifest(path)
    assert [line[: len(start)] for line, start in zip(caught.value.problems, told, strict=True)] == told


def test_a_well_in_a_column_of_its_own_does_not_choose_a_stream(folder: Path) -> None:
    rows = "file,sorter,well\nday1.raw.h5,threshold,well000\nday1.raw.h5,threshold,well001\n"
    (folder / "list.csv").write_text(rows, encoding="utf-8")
    with pytest.raises(ManifestError, match="already in entry 1.*; stream says which well is sorted"):
        read_manifest(folder / "list.csv")


def test_the_same_in_toml_and_python(folder: Path) -> None:
    text = """
        [defaults]
        sorter = "threshold"
        line = "KOLF"
        [[recording]]
        file = "day1.raw.h5"
        plated = 2026-03-01
        line = "WTC"
        [[recording]]
        file = "day2.raw.h5"
        control = true
        """
    first, second = read_manifest(manifest(folder, text))
    assert first.metadata == {"line": "WTC", "plated": "2026-03-01"}
    assert second.metadata == {"line": "KOLF", "control": True}
    (job,) = jobs_from_entries([{"file": folder / "day1.raw.h5", "sorter": "threshold", "day": 3}])
    assert job.metadata == {"day": 3}


@pytest.mark.parametrize(
    ("column", "message"),
    [
        ("steam", r"column 'steam': did you mean 'stream'\?"),
        ("Results ", r"^$"),
        ("intermediates", "did you mean 'intermediate'"),
        ("snr_min", r"column 'snr_min': is a setting, which belongs into config: snr_min=\.\.\."),
        ("snr_mim", "did you mean the setting 'snr_min'"),
        ("fs_Hz", "is a name that the results use for something else"),
        ("x" * 61, "expected a printable name of at most 60 letters"),
        ("\x1b[31m", "expected a printable name"),
        *((name, "^$") for name in ("day", "strain", "line", "group", "well", "date", "notes", "=A1", "<script>")),
    ],
)
def test_a_column_that_may_be_a_slip_is_told_once(folder: Path, column: str, message: str) -> None:
    (folder / "list.csv").write_text(
        f"file,sorter,{column}\nday1.raw.h5,threshold,1\nday2.raw.h5,threshold,2\n", encoding="utf-8"
    )
    if message == "^$":
        assert len(read_manifest(folder / "list.csv")) == 2
        return
    with pytest.raises(ManifestError, match=message) as caught:
        read_manifest(folder / "list.csv")
    assert len(caught.value.problems) == 1


@pytest.mark.parametrize(
    ("value", "message"), [("[1]", "got \\[1\\]"), ("nan", "finite"), ("{ a = 1 }", "text, a number or a date")]
)
def test_a_note_is_a_text_a_number_or_a_date(folder: Path, value: str, message: str) -> None:
    text = f'[[recording]]\nfile = "day1.raw.h5"\nsorter = "threshold"\ncondition = {value}\n'
    with pytest.raises(ManifestError, match=rf"entry 1 \(day1.raw.h5\), condition: .*{message}"):
        read_manifest(manifest(folder, text))


def test_notes_are_in_job_files(folder: Path) -> None:
    (job,) = jobs_from_entries([{"file": folder / "day1.raw.h5", "sorter": "threshold", "day": 3, "drug": "a\n'\"b"}])
    write_job(job, folder / "job.toml")
    assert read_job(folder / "job.toml").metadata == {"day": 3, "drug": "a\n'\"b"}
    text = (folder / "job.toml").read_text(encoding="utf-8")
    (folder / "job.toml").write_text(text.replace("day = 3", "fs_Hz = 3"), encoding="utf-8")
    with pytest.raises(ValueError, match="'fs_Hz' in 'metadata': is a name that the results use"):
        read_job(folder / "job.toml")


def test_files_that_settings_name_lie_beside_the_list(folder: Path) -> None:
    listed = manifest(
        folder,
        """
        [defaults]
        config = { stim_times_s = "pulses.csv", probe_path = "/probes/a.json" }
        [[recording]]
        file = "day1.raw.h5"
        [[recording]]
        file = "day2.raw.h5"
        config = { stim_times_s = "auto" }
        """,
    )
    first, second = (job.config.recording for job in read_manifest(listed))
    assert (first.stim_times_s, first.probe_path) == (str(folder / "pulses.csv"), "/probes/a.json")
    assert second.stim_times_s == "auto"
