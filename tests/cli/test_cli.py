"""The commands as a user types them: output, files and exit codes."""

from __future__ import annotations

import importlib.metadata
import json
import logging
import signal
import subprocess
import sys
import tomllib
import warnings
from collections.abc import Callable
from functools import partial
from importlib.metadata import EntryPoint
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from click.testing import Result

from spikelab import __version__
from spikelab.cli import _doctor
from spikelab.cli._log import log_to_terminal
from spikelab.cli._output import code_for, most_severe
from spikelab.cli._settings import parse_settings
from spikelab.cli._sort import report_outcomes
from spikelab.spike_sorting import _exceptions as errors
from spikelab.spike_sorting.backends import registry as of_sorters
from spikelab.spike_sorting.batch.policy import Outcome
from spikelab.spike_sorting.config import KILOSORT4
from spikelab.spike_sorting.curation.dropped import Dropped
from spikelab.spike_sorting.metrics import registry as of_metrics
from spikelab.spike_sorting.metrics import unit_metric
from spikelab.spike_sorting.report import Summary
from spikelab.spike_sorting.run.jobs import Job
from spikelab.spike_sorting.run.sort_one import Sorted

LOOSE = ["--sorter", "threshold", "--set", "spikes_min_first=5", "--set", "spikes_min_second=5"]


def test_sort_says_what_became_of_each_recording(run: Callable[..., Result], saved: Callable[..., Path]) -> None:
    path = saved("culture")
    done = run("sort", path, *LOOSE, "--results", path.parent / "out")
    assert done.exit_code == 0, done.output
    assert done.stdout.splitlines()[0].split() == ["recording", "outcome", "units", "kept", "results"]
    assert done.stdout.splitlines()[1].split() == ["culture", "done", "5", "of", "5", str(path.parent / "out")]
    assert done.stdout.splitlines()[-1] == f"to see it, open {path.parent / 'out' / 'report.html'}"
    assert "results are in" in done.stderr
    again = run("sort", path, *LOOSE, "--results", path.parent / "out")
    assert "nothing to do" in again.stderr


def test_sort_of_several_goes_on_and_ends_with_the_gravest_code(
    run: Callable[..., Result], saved: Callable[..., Path], tmp_path: Path
) -> None:
    fine, silent = saved("fine", duration_s=3.0), saved("silent", n_units=0, duration_s=3.0)
    done = run("sort", silent, tmp_path / "missing.h5", fine, *LOOSE, "--results", tmp_path / "all")
    assert done.exit_code == 3  # bad input is graver than biology
    lines = done.stdout.splitlines()
    assert [line.split()[1] for line in lines[1:4]] == ["nothing", "cannot", "done"]
    folders = [line.partition(str(tmp_path / "all"))[1:] for line in lines[1:4]]
    assert folders[1] == ("", "")  # nothing was made for what is not there
    assert folders[0][1] == "/sorted_threshold_silent"
    assert lines[5].startswith("silent: No sample of 3.0 s")
    assert lines[6] == f"missing.h5: there is no file or folder {tmp_path / 'missing.h5'}"
    assert lines[-3:-1] == ["1 done, 1 nothing to sort, 1 cannot be read", ""]
    assert lines[-1] == f"to see it, open {tmp_path / 'all' / 'sorted_threshold_overview' / 'index.html'}"
    assert (tmp_path / "all" / "sorted_threshold_fine" / "sorted.npz").exists()
    assert run("sort", silent, *LOOSE, "--results", tmp_path / "one").exit_code == 10


def test_a_batch_says_why_units_were_not_kept() -> None:
    def sorted_job(name: str, *reasons: Dropped, small: tuple[float, ...] = ()) -> Outcome:
        job = Job(Path(name), name, KILOSORT4, Path(f"sorted_{name}"), Path("inter"))
        nothing = dict.fromkeys(("length_s", "n_channels", "rate_hz", "snr", "amplitude_uv", "isi_violation"), 0)
        kept = 12 - sum(few.count for few in reasons)
        summary = Summary(12, kept, **nothing, std_norm=0.0, spark="", map="", dropped=reasons, small_snr=small)
        return Outcome(job, Sorted(None, 12, kept, summary=summary))

    snr, few = Dropped(5, "snr", "snr_min: at least 5"), Dropped(1, "spike_count", "spikes_min_first: at least 30")
    kept = sorted_job("a", snr, few), sorted_job("b")
    text, code = report_outcomes([*kept, sorted_job("c", snr, small=(3.9, 4.5, 4.0))])
    lines = text.splitlines()
    assert code == 0
    assert [" ".join(line.split()) for line in lines[:4]] == [
        "recording outcome units kept not kept results",
        "a done 6 of 12 5 by snr, 1 by spike_count",
        "b done 12 of 12",
        "c done 7 of 12 5 by snr",
    ]
    assert lines[-2] == "not kept: 10 by snr (snr_min: at least 5), 1 by spike_count (spikes_min_first: at least 30)"
    assert lines[-1].startswith(
        "3 small but clean units were dropped for the SNR alone (3.9 to 4.5). To keep them, set "
    )


def test_without_what_the_sorter_needs_nothing_is_started_and_no_folder_made(
    run: Callable[..., Result], saved: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from spikelab.spike_sorting.backends.threshold import ThresholdBackend

    def no_docker(self: ThresholdBackend) -> None:
        raise errors.DockerEnvironmentError("the daemon does not answer", reason="daemon_down")

    monkeypatch.setattr(ThresholdBackend, "check_installed", no_docker)
    done = run("sort", saved("a", duration_s=2.0), saved("b", duration_s=2.0), *LOOSE, "--results", tmp_path / "all")
    assert done.exit_code == 11
    assert done.stderr.splitlines()[-1] == "error: the daemon does not answer"  # once for both
    assert not (tmp_path / "all").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_being_asked_to_end_leaves_the_folders_in_order(
    saved: Callable[..., Path], tmp_path: Path, number: signal.Signals
) -> None:
    slow = (
        "import signal, time\n"
        "from spikelab.cli import main\n"
        "from spikelab.spike_sorting.backends.threshold import ThresholdBackend\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "def sort(*args):\n"
        "    print('sorting', flush=True)\n"
        "    while True: time.sleep(0.1)\n"  # a signal that comes just before a sleep is seen after it
        "ThresholdBackend.sort = sort\n"
        "main()\n"
    )
    arguments = ["sort", saved("culture", duration_s=2.0), *LOOSE, "--results", tmp_path / "out"]
    with subprocess.Popen(
        [sys.executable, "-c", slow, *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "sorting\n"
        process.send_signal(number)
        _, complaint = process.communicate(timeout=60)
    assert process.returncode == {signal.SIGTERM: 143, signal.SIGINT: 130}[number]
    assert "interrupted; the same command continues where it stopped" in complaint
    assert json.loads((tmp_path / "out" / "run.json").read_text())["status"] == "interrupted"
    assert not list((tmp_path / "out").rglob(".*"))


def test_quiet_leaves_warnings_and_the_table(run: Callable[..., Result], saved: Callable[..., Path]) -> None:
    path = saved("culture", duration_s=1.5)
    warnings.simplefilter("default", UserWarning)  # as it is for users
    done = run("sort", path, *LOOSE, "-q", "--results", path.parent / "out")
    assert done.exit_code == 0, done.output
    assert done.stderr.startswith("warning: the recording is only 1.5 s long")
    assert len(done.stderr.splitlines()) == 1
    assert "done" in done.stdout


@pytest.mark.parametrize(
    ("before", "after", "level"),
    [(["-q"], [], 30), ([], ["-q"], 30), (["-v"], [], 10), (["-q"], ["-v"], 10), ([], [], 20)],
)
def test_the_log_is_chosen_before_or_behind_the_command(
    run: Callable[..., Result], before: list[str], after: list[str], level: int, tmp_path: Path
) -> None:
    done = run(*before, "export", tmp_path, "--to", "npz", *after)
    assert "is no results folder" in done.stderr
    assert logging.getLogger("spikelab").level == level


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--set", "snr_mim=3"], "snr_min"),
        (["--set", "isi_violation_method=x"], "must be one of"),
        (["--set", "snr_min"], "expected FIELD=VALUE"),
        (["--sorter", "nothing"], "Unknown sorter"),
        (["--sorter", "rt_sort", "--set", "rt_sort_params={loose_tresh = 0.1}"], "loose_thresh"),
        (["--config", "missing.toml"], "missing.toml"),
    ],
)
def test_mistakes_are_usage_errors(run: Callable[..., Result], arguments: list[str], message: str) -> None:
    done = run("sort", "recording.h5", "--sorter", "threshold", *arguments)
    assert done.exit_code == 2, done.output
    assert message in done.output


def test_show_config_round_trips(run: Callable[..., Result], tmp_path: Path) -> None:
    from spikelab.spike_sorting.settings.toml import config_from_toml

    shown = run("show-config", "--sorter", "kilosort4", "--set", "snr_min=7", "--set", "fr_min=none")
    assert shown.exit_code == 0
    (tmp_path / "run.toml").write_text(shown.stdout)
    assert config_from_toml(tmp_path / "run.toml") == KILOSORT4.override(snr_min=7, fr_min=None)
    assert tomllib.loads(run("show-config", "--config", tmp_path / "run.toml").stdout)["curation"]["snr_min"] == 7


def test_settings_are_described_for_a_terminal(run: Callable[..., Result], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    lines = run("show-config", "--describe").stdout.splitlines()
    at = lines.index("  snr_min")
    assert lines[at + 1].startswith("      Smallest signal-to-noise ratio")
    assert any("Default: 5.0" in line for line in lines[at : at + 4])
    assert "  rt_sort_probe (in TOML: probe)" in lines
    assert max(map(len, lines)) <= 80
    assert not any("|" in line or "`" in line for line in lines)


def test_inspect_lists_what_is_there(run: Callable[..., Result], saved: Callable[..., Path], tmp_path: Path) -> None:
    done = run("inspect", saved("culture", duration_s=3.0))
    assert done.exit_code == 0
    assert "20000" in done.stdout
    missing = run("inspect", tmp_path / "nothing.h5")
    assert missing.exit_code == 3
    assert "nothing.h5" in missing.stderr


def test_inspect_draws_the_electrodes_and_reads_no_traces(
    run: Callable[..., Result], saved: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = saved("culture", duration_s=3.0)
    monkeypatch.setattr("spikeinterface.core.BaseRecording.get_traces", None)
    done = run("inspect", path, "--picture", tmp_path / "map.png")
    assert done.exit_code == 0
    assert "electrodes of culture:" in done.stdout
    assert "x 0 to 1400 um" in done.stdout
    assert "A: 8 electrodes, sorted together" in done.stdout
    assert "assumed" not in done.stdout
    assert (tmp_path / "map.png").read_bytes().startswith(b"\x89PNG")
    assert run("inspect", path, path, "--picture", tmp_path / "map.png").exit_code == 2


def test_inspect_says_what_is_assumed(run: Callable[..., Result], saved: Callable[..., Path], tmp_path: Path) -> None:
    from probeinterface import Probe, write_probeinterface

    probe = Probe(ndim=2)  # in mm, without wiring, two sides in one place
    places = np.tile(np.column_stack([np.zeros(4), 0.03 * np.arange(4)]), (2, 1))
    sides = np.repeat(["front", "back"], 4)
    probe.set_contacts(places, shapes="circle", shape_params={"radius": 5}, contact_sides=sides)
    write_probeinterface(tmp_path / "probe.json", probe)
    done = run("inspect", saved("culture", duration_s=3.0), "--probe", tmp_path / "probe.json")
    assert done.exit_code == 0
    assert "A: side front (4), B: side back (4)" in done.stdout
    assumed = [line for line in done.stdout.splitlines() if line.startswith("assumed: ")]
    for words in ("in the order of the 8 channels", "taken to be in mm, which makes it 30 um", "side by side, 200 um"):
        assert any(words in line for line in assumed)


def test_doctor_lists_sorters(run: Callable[..., Result]) -> None:
    done = run("doctor")
    assert done.exit_code == 0
    assert "spikeinterface:tridesclous2" in done.stdout
    assert "kilosort2" in done.stdout
    (row,) = [line for line in done.stdout.splitlines() if line.startswith("rt_sort")]
    assert row.split()[1:3] == ["ok", "on"]  # the CPU or a GPU
    assert "CPU" in row


def test_doctor_lists_what_other_packages_bring_along_and_why_one_does_not_load(
    run: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    package = ModuleType("some_package")
    package.fine = unit_metric("Number of spikes.")(len)
    monkeypatch.setitem(sys.modules, "some_package", package)
    here = {"spikelab.sorters": {"old": "some_package:Gone"}, "spikelab.metrics": {"fine": "some_package:fine"}}
    here["spikelab.metrics"]["odd"] = "some_package:__name__"
    for registry in (of_sorters, of_metrics):
        group = registry.ENTRY_POINT_GROUP
        found = [EntryPoint(name, value, group) for name, value in here[group].items()]
        monkeypatch.setattr(registry, "_plugins", partial(dict, {point.name: point for point in found}))
    monkeypatch.setattr(_doctor, "ROWS", (_doctor._sorters, _doctor._metrics))
    rows = {row.partition("  ")[0]: row.split(maxsplit=1)[1] for row in run("doctor").stdout.splitlines() if row}
    assert "BROKEN  The plugin sorter 'old' of the package 'some_package' (some_package:Gone) cannot be" in rows["old"]
    assert rows["metric fine"].endswith("ok      Number of spikes. Of the package some_package")
    assert "BROKEN  The metric 'odd' of the package 'some_package'" in rows["metric odd"]
    assert "hdsort" in rows["spikeinterface:..."]  # that is not installed, and that the shell completes


def test_a_warning_in_the_log_is_marked(capsys: pytest.CaptureFixture[str]) -> None:
    log_to_terminal(logging.INFO)
    logging.getLogger("spikelab.test").warning("look at this")
    logging.getLogger("spikelab.test").info("done")
    first, second = capsys.readouterr().err.splitlines()
    assert first[8:] == " warning: look at this"
    assert second[8:] == " done"


def test_doctor_calls_docker_without_a_daemon_absent_and_not_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_doctor.shutil, "which", lambda _: "/usr/bin/docker")
    monkeypatch.setattr(_doctor, "_run", lambda _: (_doctor.BROKEN, "no daemon"))
    ((name, state, details),) = _doctor._docker()
    assert (name, state) == ("docker", _doctor.ABSENT)
    assert "no daemon" in details
    assert "only the docker presets need it" in details


def test_doctor_warns_of_the_other_distribution_of_that_name(
    run: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    def installed(*names: str) -> str:
        monkeypatch.setattr(importlib.metadata, "version", lambda name: "0.1.2" if name in names else version(name))
        monkeypatch.setattr(_doctor, "ROWS", (_doctor._namesake,))
        return run("doctor").stdout

    def version(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    assert "distribution" not in installed("spikelab-sorting")
    warned = installed("spikelab-sorting", "spikelab")
    assert "distribution spikelab" in warned
    assert "BROKEN" in warned
    assert "0.1.2 is installed as well" in warned
    assert "pip uninstall spikelab spikelab-sorting" in warned


def test_demo_finds_most_neurons(run: Callable[..., Result], tmp_path: Path) -> None:
    done = run("demo", "--folder", tmp_path, "--duration", 10, "--sorter", "threshold")
    assert done.exit_code == 0, done.output
    assert "mean accuracy" in done.stdout
    assert (tmp_path / "results" / "sorted.npz").exists()
    assert (tmp_path / "results" / "sort_with_threshold.out").exists()


def test_export_and_import_say_where_it_went(run: Callable[..., Result], saved: Callable[..., Path]) -> None:
    path = saved("culture", duration_s=4.0)
    results = path.parent / "out"
    run("sort", path, *LOOSE, "--results", results)
    done = run("export", results, "--to", "phy", "--units", "all")
    assert done.exit_code == 0, done.output
    assert done.stdout.splitlines()[-1] == f"written to {results / 'export' / 'phy'}"
    assert "phy template-gui" in done.stdout
    assert "written again from" in done.stderr  # the traces: delete_inter is the default
    back = run("import", results, results / "export" / "phy", "--from", "phy")
    assert back.exit_code == 0, back.output
    assert back.stdout.splitlines() == [
        "5 units kept, 0 of them new",
        f"written to {results / 'sorted_spikedata_phy.npz'}",
    ]
    again = run("export", results, "--to", "phy")
    assert again.exit_code == 3
    assert "--overwrite" in again.stderr
    target = path.parent / "mine.npz"
    assert run("export", results, target, "--to", "npz", "--units", "phy").stdout.endswith(f"written to {target}\n")


def test_mistakes_in_an_export_are_explained(run: Callable[..., Result], tmp_path: Path) -> None:
    unknown = run("export", tmp_path, "--to", "plexon")
    assert unknown.exit_code == 2
    assert "analyzer  SpikeInterface SortingAnalyzer" in unknown.output
    assert run("export", tmp_path, "--to", "npz", "--units", "best").exit_code == 2
    assert run("import", tmp_path, tmp_path, "--from", "klusters").exit_code == 2
    nothing = run("export", tmp_path, "--to", "npz")
    assert nothing.exit_code == 3
    assert "no results folder" in nothing.stderr
    (tmp_path / "bad.toml").write_text("subject = ")
    bad = run("export", tmp_path, "--to", "nwb", "--metadata", tmp_path / "bad.toml")
    assert (bad.exit_code, "no valid TOML" in bad.stderr) == (3, True)


def test_help_and_version_are_instant_and_load_nothing_heavy() -> None:
    code = (
        "import sys, spikelab, spikelab.cli, spikelab.spike_sorting.config\n"
        "heavy = {'numpy', 'spikeinterface', 'torch', 'matplotlib', 'numba', 'scipy', 'pandas'} & set(sys.modules)\n"
        "print(sorted(heavy))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    version = subprocess.run(
        [sys.executable, "-m", "spikelab", "--version"], capture_output=True, text=True, check=True
    )
    assert __version__ in version.stdout


def test_settings_are_toml_values_or_words() -> None:
    parsed, faults = parse_settings(
        ["a=1", "b=2.5", "c=true", "d=none", "e=well000", "f=[[0, 5]]", "g=", "h={NT = 3}", "i=False", "j"]
    )
    assert faults == ["--set j: expected FIELD=VALUE"]
    assert parsed == {
        "a": 1, "b": 2.5, "c": True, "d": None, "e": "well000", "f": [[0, 5]], "g": "", "h": {"NT": 3}, "i": False,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.InsufficientActivityError("", sorter="x"), 10),
        (errors.DockerEnvironmentError("", reason="daemon_down"), 11),
        (errors.GPUOutOfMemoryError("", sorter="x"), 12),
        (errors.EmptyWaveformMetricsError(""), 10),
        (ValueError(), 3),
        (FileNotFoundError(), 3),
        (RuntimeError(), 1),
        (
            errors.SortBatchError(
                "", [ValueError(), errors.SaturatedSignalError("")], results=[], failures=[], not_attempted=[]
            ),
            3,
        ),
    ],
)
def test_exit_codes(error: Exception, code: int) -> None:
    assert code_for(error) == code


def test_most_severe_code() -> None:
    assert [most_severe(codes) for codes in ([], [10], [10, 3], [3, 1, 10], [1, 12], [12, 11])] == [0, 10, 3, 1, 12, 11]


def test_a_list_that_cannot_be_sorted_is_refused_before_anything_starts(
    run: Callable[..., Result], tmp_path: Path
) -> None:
    path = tmp_path / "list.toml"
    path.write_text('[[recording]]\nfile = "missing.h5"\nsorter = "threshold"\nconfig = { snr_mim = 3 }\n')
    for more in ([], ["--plan", tmp_path / "plan"]):
        done = run("batch", path, *more)
        assert done.exit_code == 2
        assert "entry 1 (missing.h5), file: there is no file or folder" in done.stderr
        assert "entry 1 (missing.h5), config: Unknown parameter 'snr_mim' (did you mean 'snr_min'" in done.stderr
    assert list(tmp_path.iterdir()) == [path]
    assert run("batch", path, "--workers", 2, "--plan", tmp_path).exit_code == 2


def test_plan_sort_one_and_status(run: Callable[..., Result], saved: Callable[..., Path], tmp_path: Path) -> None:
    saved("culture", duration_s=3.0)
    path = tmp_path / "list.toml"
    config = "{ spikes_min_first = 5, spikes_min_second = 5, n_jobs = 1 }"
    path.write_text(f'[[recording]]\nfile = "culture"\nsorter = "threshold"\nresults = "out"\nconfig = {config}\n')
    planned = run("batch", path, "--plan", tmp_path / "plan")
    assert planned.exit_code == 0, planned.output
    assert "spikelab sort-one JOB" in planned.stdout
    assert "1 to come" in run("status", tmp_path / "plan").stdout
    done = run("sort-one", tmp_path / "plan" / "jobs" / "0_culture.toml")
    assert done.exit_code == 0, done.output
    assert "5 of 5" in done.stdout
    assert "1 done" in run("status", tmp_path / "plan").stdout
    assert "1 done" in run("status", tmp_path / "out").stdout
    assert run("sort-one", path).exit_code == 3
    assert run("status", tmp_path / "culture").exit_code == 3
