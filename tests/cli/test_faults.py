"""All that a sort would refuse is told before anything is started: by sort, batch and inspect, for every recording."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import Result

from plates import FAULTS, FS, N_ENTRIES, write_list
from spikelab.cli._output import as_options
from spikelab.cli._sort import _once_each
from spikelab.spike_sorting._exceptions import DiskExhaustionError, HDF5PluginMissingError
from spikelab.spike_sorting.batch.entries import ManifestError
from spikelab.spike_sorting.batch.manifest import Look, read_manifest
from spikelab.spike_sorting.config import SortingPipelineConfig
from spikelab.spike_sorting.data import Geometry
from spikelab.spike_sorting.recording import StreamInfo, write_maxwell
from spikelab.spike_sorting.run.faults import CHECKS, Fault, Seen, faults_of, machine_faults
from spikelab.spike_sorting.run.jobs import plan_jobs
from spikelab.spike_sorting.run.parts import parts_of
from spikelab.spike_sorting.run.wanted import wanted

TWO_GROUPS = Geometry.of(np.column_stack([np.arange(4) * 20.0, np.zeros(4)]), groups=[0, 0, 0, 1])
PLACES = Geometry.of(np.column_stack([np.arange(4) * 20.0, np.zeros(4)]))

PLANE = Geometry.of(np.array([(100.0 * (k % 2), 100.0 * (k // 2)) for k in range(4)]))


@pytest.fixture(scope="module")
def listed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_list(tmp_path_factory.mktemp("list"))


def info(**about: Any) -> StreamInfo:
    usual = {
        "n_channels": 4,
        "n_samples": 20_000,
        "sampling_frequency": 20_000.0,
        "geometry": PLACES,
        "channel_ids": ("0", "1", "2", "3"),
    }
    return StreamInfo(about.pop("file", Path("a.h5")), "maxwell", **{**usual, **about})


def seen(*infos: StreamInfo, **settings: Any) -> Seen:
    return Seen(Path("a.h5"), SortingPipelineConfig().override(**settings), infos or (info(),))


def test_a_list_of_96_entries_tells_its_ten_faults_at_once(run: Callable[..., Result], listed: Path) -> None:
    done = run("batch", listed)
    assert done.exit_code == 2
    lines = done.stderr.splitlines()
    told = lines[next(i for i, line in enumerate(lines) if "nothing was started" in line) + 1 :]
    assert len(told) == len(FAULTS) == 10
    first = N_ENTRIES - len(FAULTS) + 1
    for number, (name, (_, words)) in enumerate(FAULTS.items(), start=first):
        (line,) = [line for line in told if line.startswith(f"  entry {number} ({name}), ")]
        assert words in line
    assert not (listed.parent / "results").exists()


def test_every_entry_of_a_list_is_looked_into_once(listed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from spikelab.spike_sorting.recording import inspection

    looked: list[str] = []
    original = inspection.read_file
    monkeypatch.setattr(inspection, "read_file", lambda path, *rest: looked.append(path.name) or original(path, *rest))
    with pytest.raises(ManifestError):
        read_manifest(listed, Look())
    assert len(looked) == len(set(looked)) + 1  # of the file with two recordings, both


def test_faults_of_one_entry_do_not_hide_each_other(run: Callable[..., Result], listed: Path, tmp_path: Path) -> None:
    shutil.copyfile(listed.parent / "day0.raw.h5", tmp_path / "day0.raw.h5")
    (tmp_path / "list.csv").write_text(
        "file,sorter,stream,config\nday0.raw.h5,nosuch,well009,snr_mim=3\nday0.raw.h5,threshold,,freq_max=6000;bad_channels=[77]\n"
    )
    told = run("batch", tmp_path / "list.csv").stderr
    for words in ("Unknown sorter 'nosuch'", "no stream 'well009'", "snr_mim", "in config freq_max = 4500", "names 77"):
        assert words in told


def test_in_python_a_list_is_read_without_opening_its_recordings(listed: Path, tmp_path: Path) -> None:
    (tmp_path / "empty.raw.h5").touch()
    (tmp_path / "list.toml").write_text('[[recording]]\nfile = "empty.raw.h5"\n')
    (job,) = read_manifest(tmp_path / "list.toml")
    assert (job.config, job.chosen) == (SortingPipelineConfig(), {})
    with pytest.raises(ManifestError, match="empty.raw.h5"):
        read_manifest(tmp_path / "list.toml", Look())


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (seen(info(sampling_frequency=2_500.0)), "sampling rate is 2500 Hz; expected at least 5000 Hz"),
        (
            seen(info(sampling_frequency=FS)),
            "freq_max is 6000 Hz; expected below half the sampling rate, 5000 Hz: --set freq_max=4500",
        ),
        (seen(info(no_gain=True)), "its counts have no gain; expected microvolts per count: --set gain_to_uv=..."),
        (seen(info(n_samples=50)), "a.h5 has 50 frames; expected at least 100"),
        (seen(start_time_s=5.0), "the first piece starts at 5 s; expected a start within the 1 s"),
        (seen(rec_chunks_s=[(3, 4)]), "the first piece starts at 3 s"),
        (seen(bad_channels=[7, "1"]), "bad_channels names 7; expected channels such as 0, 1, 2, 3"),
        (seen(info(geometry=TWO_GROUPS), common_reference="median"), "would leave nothing of 1"),
        (
            seen(info(geometry=TWO_GROUPS), common_reference="median", reference_by="shank"),
            "electrodes have no shank; expected names of shanks: --set reference_by=group",
        ),
        (
            seen(info(geometry=TWO_GROUPS), spatial_filter="highpass"),
            "the electrodes lie in no columns; expected electrodes in columns: --set spatial_filter=none",
        ),
        (
            seen(info(), info(file=Path("b.h5"), sampling_frequency=10_000.0)),
            "b.h5 has a sampling rate of 10000 Hz; expected 20000 Hz, as a.h5 has",
        ),
        (
            seen(info(), info(file=Path("b.h5"), n_channels=3)),
            "b.h5 has 3 channels; expected 4, as a.h5 has: --set days=shared",
        ),
        (seen(stim_times_s=[0.1, 1.5]), "1.5"),
        (seen(stim_times_s=[100.0, 500.0]), "milliseconds"),
        (seen(stim_times_s=[[0.1], None]), "is a list for several recordings, and this is one"),
        (seen(artifacts=[(0.5, 1.5)]), "has the period (0.5, 1.5), but the recording is 1 s long"),
        (seen(info(geometry=PLANE), motion="estimate"), "a planar array: set motion to None, or"),
        (seen(phase_shift=True), "phase_shift is set, and the file does not say"),
        (seen(info(readable=False, problem="it is damaged")), "it is damaged"),
    ],
)
def test_every_check_says_what_was_found_and_expected(found: Seen, words: str) -> None:
    (fault,) = faults_of(found)
    assert words in fault.text()


def test_a_recording_without_faults_passes_every_check() -> None:
    assert len(CHECKS) == 11
    assert faults_of(seen()) == []
    assert faults_of(seen(info(no_gain=True), gain_to_uv=0.2)) == []
    assert faults_of(seen(info(sampling_frequency=FS), freq_max=4500)) == []


def test_one_shank_in_columns_is_enough_for_the_spatial_filter() -> None:
    places = np.array([[0.0, 20.0 * i] for i in range(16)] + [[500.0, 0.0], [500.0, 20.0]])
    shanks = Geometry.of(places, np.repeat([0, 1], [16, 2]))
    assert not faults_of(seen(info(geometry=shanks), spatial_filter="highpass"))


def test_what_the_host_lacks_keeps_its_class() -> None:
    lacking = HDF5PluginMissingError("a filter is missing")
    (fault,) = faults_of(seen(info(readable=False, problem=str(lacking), error=lacking)))
    assert fault.as_error() is lacking


def test_a_full_disk_is_told_before_anything_is_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    several = [seen(info(file=Path(name), n_samples=10**6), sorter_name="threshold") for name in ("a.h5", "b.h5")]
    jobs = plan_jobs([(Path(one.infos[0].file), one.config) for one in several], None, [tmp_path / "a", tmp_path / "b"])
    needed = 2 * 4 * 10**6 + 2 * 10**7  # one scratch folder at a time, and the results of both
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**9, 0, needed))
    assert machine_faults(jobs, several) == {}
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**9, 0, needed - 1))
    ((fault,),) = machine_faults(jobs, several).values()
    assert isinstance(fault.error, DiskExhaustionError)
    (tmp_path / "a" / "stages" / "sorting").mkdir(parents=True)
    (tmp_path / "a" / "stages" / "sorting" / "manifest.json").touch()
    assert machine_faults(jobs, several) == {}  # what is sorted needs no room any more


def test_the_sorter_of_a_list_is_checked_once_and_only_where_it_runs(
    listed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from spikelab.spike_sorting._exceptions import SorterNotInstalledError
    from spikelab.spike_sorting.backends.threshold import ThresholdBackend

    def missing(self: ThresholdBackend) -> None:
        raise SorterNotInstalledError("no such program", sorter="threshold")

    monkeypatch.setattr(ThresholdBackend, "check_installed", missing)
    with pytest.raises(ManifestError) as here:
        read_manifest(listed, Look())
    assert "[defaults], sorter: no such program" in here.value.problems
    assert sum("no such program" in problem for problem in here.value.problems) == 1
    with pytest.raises(ManifestError) as elsewhere:
        read_manifest(listed, Look(sorts_here=False))
    assert len(elsewhere.value.problems) == len(FAULTS)


def test_inspect_tells_what_a_sort_would_choose_and_refuse(run: Callable[..., Result], listed: Path) -> None:
    good = run("inspect", listed.parent / "day0.raw.h5", "--sorter", "rt_sort")
    assert good.exit_code == 0, good.output
    assert "chosen: preset rt_sort_mea (electrodes in a plane, 10 kHz); band-pass 300 to 4500 Hz" in good.stdout
    refused = run("inspect", listed.parent / "day0.raw.h5", "--set", "freq_max=6000", "--sorter", "rt_sort")
    assert refused.exit_code == 3
    assert "spikelab sort would refuse this:\n  freq_max is 6000 Hz" in refused.stdout
    several = run("inspect", listed.parent / "two.raw.h5", "--sorter", "rt_sort")
    assert (several.exit_code, "--all-recordings" in several.stdout) == (0, True)  # a choice, and no fault of the file


def test_inspect_goes_on_after_a_file_that_cannot_be_read(
    run: Callable[..., Result], listed: Path, tmp_path: Path
) -> None:
    for name in ("day0.raw.h5", "damaged.raw.h5"):
        shutil.copyfile(listed.parent / name, tmp_path / name)
    done = run("inspect", tmp_path, "--sorter", "rt_sort")
    assert done.exit_code == 3
    states = {line.split()[0]: line.rpartition("  ")[2] for line in done.stdout.splitlines() if line.startswith("da")}
    assert states == {"day0.raw.h5": "ok", "damaged.raw.h5": "cannot be read"}
    assert "is truncated" in done.stdout
    both = run("inspect", tmp_path / "nothing.h5", tmp_path / "day0.raw.h5", "--sorter", "rt_sort")
    assert (both.exit_code, "nothing.h5" in both.stderr, "day0.raw.h5" in both.stdout) == (3, True, True)


def test_a_fault_of_several_recordings_is_told_once() -> None:
    fault, other = (
        Fault("file", "a plugin is missing"),
        Fault("config", "freq_max is 6000 Hz", settings={"freq_max": 4}),
    )
    assert _once_each([("a", fault), ("b", fault)]) == ["a plugin is missing"]
    told = _once_each([*((name, fault) for name in "abcde"), ("f", other)])
    assert told == ["a, b, c, 2 more: a plugin is missing", "f: freq_max is 6000 Hz: --set freq_max=4"]


def test_a_choice_between_recordings_does_not_hide_that_none_can_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    lacking = HDF5PluginMissingError("a filter is missing")
    damaged = [
        info(stream_id="well000", rec_name=name, readable=False, problem=str(lacking), error=lacking)
        for name in ("rec0000", "rec0001")
    ]
    monkeypatch.setattr("spikelab.spike_sorting.recording.inspect_file", lambda *_, **__: damaged)
    found, _ = wanted("rt_sort", None, {})
    assert found is not None
    (part,) = parts_of(Path("a.h5"), found)
    assert [(fault.choice, fault.error) for fault in part.faults] == [(True, None), (False, lacking)]


def test_inspect_of_several_formats_lists_them(run: Callable[..., Result], listed: Path, tmp_path: Path) -> None:
    shutil.copyfile(listed.parent / "day0.raw.h5", tmp_path / "day0.raw.h5")
    (tmp_path / "plain.dat").write_bytes(bytes(1_000))
    write_maxwell(tmp_path / "fine.raw.h5", np.full((2, 500), 512, dtype=np.uint16), FS, [[0, 0], [20, 0]])
    done = run("inspect", tmp_path, "--sorter", "rt_sort")
    assert done.exit_code == 3
    assert all(name in done.stdout for name in ("day0.raw.h5", "fine.raw.h5", "plain.dat"))


def test_inspect_reads_a_headerless_file_with_its_settings(
    run: Callable[..., Result], tmp_path: Path, listed: Path
) -> None:
    from probeinterface import generate_linear_probe, write_probeinterface

    probe = generate_linear_probe(4, 20.0)
    probe.set_device_channel_indices(np.arange(4))
    write_probeinterface(tmp_path / "probe.json", probe)
    np.zeros((1_000, 4), dtype=np.int16).tofile(tmp_path / "x.dat")
    needed = [f"probe_path={tmp_path / 'probe.json'}", "sampling_frequency=20000", "num_channels=4", "dtype=int16"]
    options = [word for setting in needed for word in ("--set", setting)]
    without = run("inspect", tmp_path / "x.dat", "--sorter", "rt_sort")
    assert (without.exit_code, "--set probe_path=... --set sampling_frequency=..." in without.stdout) == (3, True)
    no_gain = run("inspect", tmp_path / "x.dat", "--sorter", "rt_sort", *options)
    assert (no_gain.exit_code, "--set gain_to_uv=..." in no_gain.stdout) == (3, True)
    fine = run("inspect", tmp_path / "x.dat", "--sorter", "rt_sort", *options, "--set", "gain_to_uv=0.2")
    assert (fine.exit_code, "20000" in fine.stdout) == (0, True), fine.output


@pytest.mark.parametrize(
    ("message", "options"),
    [
        ("freq_max=6000 Hz is too much: set freq_max=4500 or lower", "--set freq_max=4500"),
        ("set probe_path, num_channels and dtype", "--set probe_path=..., --set num_channels=..., --set dtype=..."),
        ("several streams; set stream_id to one of ['0']", "--stream ..."),
        ("in a container: use_docker=True. Or sorter='rt_sort'", "--set use_docker=True, --sorter rt_sort"),
    ],
)
def test_settings_that_a_message_asks_for_are_named_as_options(message: str, options: str) -> None:
    assert as_options(message) == f" (On the command line: {options})"


def test_messages_without_settings_stay_as_they_are() -> None:
    assert as_options("there is no file; check that x=3 and set it right") == ""
    assert as_options("set freq_max=3: --set freq_max=3") == ""


def test_what_is_right_has_no_fault(tmp_path: Path) -> None:
    (tmp_path / "pulses.csv").write_text("0.1\n0.2\n", encoding="utf-8")
    column = Geometry.of(np.column_stack([np.zeros(16), np.arange(16) * 20.0]))
    about: dict[str, Any] = {"artifacts": [(0.5, 1.0)], "motion": "correct", "phase_shift": True}
    for times in ([0.1, 0.9], str(tmp_path / "pulses.csv"), "auto", {"E1": [0.3]}, "gone.csv"):
        assert faults_of(seen(info(geometry=column, in_turn=True), stim_times_s=times, **about)) == []


def test_a_missing_file_of_pulses_is_told_before_anything_starts(
    run: Callable[..., Result], listed: Path, tmp_path: Path
) -> None:
    recording = tmp_path / "day0.raw.h5"
    shutil.copyfile(listed.parent / "day0.raw.h5", recording)
    about = ("--sorter", "threshold", "--set", f"stim_times_s={tmp_path / 'gone.csv'}")
    (tmp_path / "list.csv").write_text("file,sorter,config\nday0.raw.h5,threshold,stim_times_s=gone.csv\n")
    words = f"there is no file {tmp_path / 'gone.csv'}, which the settings name"
    for command in (("sort", recording, *about), ("batch", tmp_path / "list.csv")):
        done = run(*command)
        assert done.exit_code != 0
        assert "nothing was started" in done.stderr or words in done.stderr
        assert words in done.stderr
    assert words in run("inspect", recording, *about).stdout
    assert not list(tmp_path.glob("sorted_*"))


def test_events_that_no_file_holds_are_told_before_anything_starts(
    run: Callable[..., Result], listed: Path, tmp_path: Path
) -> None:
    recording = tmp_path / "day0.raw.h5"
    shutil.copyfile(listed.parent / "day0.raw.h5", recording)
    done = run("sort", recording, "--sorter", "threshold", "--set", "stim_times_s=auto")
    assert done.exit_code != 0
    assert "day0.raw.h5 holds no events: give the times" in done.stderr
    assert not list(tmp_path.glob("sorted_*"))
    assert [fault.text() for fault in faults_of(seen(info(), info(no_events="none"), stim_times_s="auto"))] == []
