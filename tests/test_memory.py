"""What ``total_memory`` promises: the least is said, less is refused, and a sort in a process of its own keeps it."""

import json
import re
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from probeinterface import Probe, write_probeinterface
from tests.simulated import save_recording, simulate

from spikelab.spike_sorting import sort_recording
from spikelab.spike_sorting._exceptions import HostOutOfMemoryError
from spikelab.spike_sorting.backends import get_backend_class
from spikelab.spike_sorting.config import preset_for
from spikelab.spike_sorting.rt_sort.memory import learning_bytes, require
from spikelab.spike_sorting.run import sort_one
from spikelab.spike_sorting.stages import checks
from spikelab.spike_sorting.stages.checks import least_memory
from spikelab.system import memory
from spikelab.system.memory import parse_memory

MB = 10**6
FS = 20_000.0


def least(sorter: str, n_channels: int, n_samples: int = 400_000, spikes: tuple[int, ...] | None = None, **settings):
    backend = get_backend_class(sorter)(preset_for(sorter).override(**settings))
    return least_memory(backend, n_samples, n_channels, FS, spike_counts=spikes)


def test_the_least_is_libraries_and_the_largest_step() -> None:
    # One worker writes 10 million samples at a time, of 16 bytes each: more than tallies of noise, 64 MiB, take.
    assert least("threshold", 1000) == memory.LIBRARIES_BYTES + 160 * MB
    # Two seconds of few channels.
    assert least("threshold", 64) == memory.LIBRARIES_BYTES + 16 * 64 * 40_000
    assert least("threshold", 64, n_samples=10) < least("threshold", 64)
    # 2 ms before and after: 81 frames. Templates and deviations, and the templates twice on their way into files.
    window = 1 + sum(int(getattr(preset_for("threshold").waveform, name) * 20) for name in ("ms_before", "ms_after"))
    units = least("threshold", 1000, spikes=(100,) * 300)
    assert units == memory.LIBRARIES_BYTES + 4 * 4 * 300 * window * 1000 + 150 * 30_000


@pytest.mark.parametrize("sorter", ["threshold", "rt_sort", "kilosort4"])
def test_more_of_anything_never_takes_less(sorter: str) -> None:
    assert least(sorter, 64) <= least(sorter, 384) <= least(sorter, 1000)
    assert least(sorter, 64, 1000) <= least(sorter, 64, 10**6) <= least(sorter, 64, 10**8)
    assert least(sorter, 64, spikes=(10,) * 10) <= least(sorter, 64, spikes=(10,) * 500)
    kept = least(sorter, 64, spikes=(1000,) * 500, streaming_waveforms=False)
    assert kept > least(sorter, 64, spikes=(1000,) * 500)


def test_the_page_says_the_least() -> None:
    page = (Path(__file__).parents[1] / "docs" / "howto" / "docker_and_clusters.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\d+) \| (\d+) MB \| (\d+) MB \|$", page, flags=re.MULTILINE)
    assert len(rows) == 3
    for channels, *amounts in rows:
        for sorter, amount in zip(("threshold", "rt_sort"), amounts, strict=True):
            assert f"{amount}M" == memory.format_memory(least(sorter, int(channels)))


def test_rt_sort_knows_more_once_there_are_groups() -> None:
    size = (400_000, 1000, FS, None)
    assert least("rt_sort", 1000) >= learning_bytes(*size, 100, 0)
    assert learning_bytes(*size, 400, 0) - learning_bytes(*size, 200, 0) > 200 * 51 * 1000 * 4
    assert learning_bytes(*size, 0, 10**6) - learning_bytes(*size, 0, 0) == 70 * 10**6
    require(10, None, "anything")
    require(10, 10, "anything")
    with pytest.raises(ValueError, match="total_memory=331M is less than the least, 332M, that 9 groups take"):
        require(2 * MB, MB, "9 groups")


def test_too_little_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    recording = save_recording(simulate(duration_s=2.0).recording, tmp_path / "culture")
    needed = memory.format_memory(least("threshold", 8, 40_000))
    with pytest.raises(ValueError, match=rf"total_memory=100M is less than .* 8 channels .* at least '{needed}'"):
        sort_recording([recording], sorter="threshold", total_memory="100M")
    assert not list(tmp_path.rglob("traces.dat*"))
    assert len(sort_recording([recording], sorter="threshold", total_memory=needed)) == 1


def test_a_machine_with_too_little_is_no_fault_of_the_setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sort_one, "available_memory", lambda: 200 * MB)
    recording = save_recording(simulate(duration_s=2.0).recording, tmp_path / "culture")
    with pytest.raises(
        HostOutOfMemoryError, match=r"8 channels .* of what this machine has available a sort uses 160M"
    ):
        sort_recording([recording], sorter="threshold")


def test_more_units_than_there_is_memory_for_are_refused_and_the_sorting_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recording = save_recording(simulate(duration_s=2.0).recording, tmp_path / "culture")
    settings = {"sorter": "threshold", "create_figures": False}
    real = checks.least_memory

    def counted(*arguments, spike_counts=None, **named):  # as if each unit were ten thousand
        more = None if spike_counts is None else spike_counts * 10_000
        return real(*arguments, spike_counts=more, **named)

    monkeypatch.setattr(checks, "least_memory", counted)
    with pytest.raises(ValueError, match=r"the waveforms of \d+ units on 8 channels take.*what was sorted is kept"):
        sort_recording([recording], total_memory="300M", **settings)
    monkeypatch.undo()
    assert len(sort_recording([recording], total_memory="300M", **settings)) == 1
    record = json.loads((tmp_path / "sorted_threshold_culture" / "run.json").read_text())
    assert record["stages"]["sorting"]["loaded"]


@pytest.mark.parametrize(("total", "asked"), [("400M", 700 * MB), ("16G", 20_000 * MB)])
def test_a_batch_system_is_asked_for_as_much_as_makes_all_of_it_usable(total: str, asked: int) -> None:
    assert memory.requested_memory(total) == asked
    assert memory.USABLE_SHARE * asked >= parse_memory(total)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems give memory back by themselves, or not at all")
def test_what_is_free_goes_back_to_the_system() -> None:
    kept = [np.ones(100_000 // 8) for _ in range(1000)]  # 100 MB in small pieces, which the C library keeps
    last = np.ones(100_000 // 8)
    del kept
    memory.release()
    assert anonymous_bytes("self") is not None
    before = anonymous_bytes("self")
    kept = [np.ones(100_000 // 8) for _ in range(1000)]
    assert anonymous_bytes("self") > before + 80 * MB
    del kept
    memory.release()
    assert anonymous_bytes("self") < before + 20 * MB
    assert last.all()


CHILD = """
import json, sys, warnings
warnings.simplefilter("ignore")
from spikelab.spike_sorting import sort_recording
folder, settings = sys.argv[1], json.loads(sys.argv[2])
loose = dict.fromkeys(("fr_min", "snr_min", "std_norm_max", "spikes_min_first", "spikes_min_second"))
sort_recording([folder + "/a.bin"], probe_path=folder + "/p.json", sampling_frequency=20000.0, dtype="int16",
               gain_to_uv=1.0, n_jobs=2, create_figures=True, recompute_recording=True, **loose, **settings)
"""


def anonymous_bytes(pid: int | str) -> int | None:
    """What the system cannot take back from a process; None where there is none any more."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        return next(1024 * int(line.split()[1]) for line in lines if line.startswith("RssAnon"))
    except (OSError, StopIteration):
        return None


def peak_of(folder: Path, settings: dict) -> tuple[int, str]:
    """Peak of a sort in a process of its own, in bytes, and the last line of what it says when it is refused."""
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(folder), json.dumps(settings)], stderr=subprocess.PIPE, text=True
    )
    peaks = [0]

    def look() -> None:
        while (now := anonymous_bytes(child.pid)) is not None:
            peaks[0] = max(peaks[0], now)
            time.sleep(0.003)

    watch = threading.Thread(target=look)
    watch.start()
    said = child.communicate()[1].strip().splitlines() or [""]
    watch.join()
    return peaks[0], said[-1] if child.returncode else ""


def scene(folder: Path, n_channels: int, n_units: int, seconds: int = 12) -> Path:
    """A headerless file of noise with spikes on a grid, and its probe file."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    columns = int(np.ceil(np.sqrt(n_channels)))
    places = np.stack(np.meshgrid(np.arange(columns) * 17.5, np.arange(columns) * 17.5), -1).reshape(-1, 2)[:n_channels]
    t = np.arange(-1.5, 1.5, 0.05)
    shapes = []
    for root in rng.choice(n_channels, n_units, replace=False):
        course = -np.exp(-((t / rng.uniform(0.12, 0.25)) ** 2)) + 0.3 * np.exp(-(((t - 0.45) / 0.25) ** 2))
        apart = np.linalg.norm(places - places[root], axis=1)
        shapes.append((rng.uniform(80, 250) * course[:, None] * np.exp(-((apart / 30) ** 2))).astype("f4"))
    with (folder / "a.bin").open("wb") as file:
        for _ in range(seconds):
            traces = 5 * rng.standard_normal((int(FS), n_channels), dtype="f4")
            for shape in shapes:
                for frame in rng.choice(int(FS) - 60, 6, replace=False):
                    traces[frame : frame + 60] += shape
            np.rint(traces).astype("i2").tofile(file)
    probe = Probe(ndim=2)
    probe.set_contacts(places, shapes="circle", shape_params={"radius": 5})
    probe.set_device_channel_indices(np.arange(n_channels))
    write_probeinterface(folder / "p.json", probe)
    return folder


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.skipif(sys.platform != "linux", reason="measured in /proc")
@pytest.mark.parametrize("sorter", ["threshold", "rt_sort"])
@pytest.mark.parametrize(("n_channels", "n_units"), [(64, 12), (384, 60), (1000, 150)])
def test_a_sort_keeps_total_memory(
    tmp_path: Path, sorter: str, n_channels: int, n_units: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = scene(tmp_path / "scene", n_channels, n_units)
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "cache"))  # the first run on a machine takes most
    settings = {"sorter": sorter, "num_channels": n_channels}
    total = least(sorter, n_channels, int(12 * FS))
    for _ in range(4):  # what is refused says what would do
        peak, refused = peak_of(folder, settings | {"total_memory": total})
        print(f"{sorter} {n_channels} channels, total_memory {total / MB:.0f} MB: {peak / MB:.0f} MB {refused}")
        assert peak <= total
        if not refused:
            break
        assert refused.startswith("ValueError: total_memory=")
        total = parse_memory(refused.split("at least '")[1].split("'")[0])
    assert not refused
    for larger in (2 * total, 16_000 * MB):
        peak, refused = peak_of(folder, settings | {"total_memory": larger})
        print(f"{sorter} {n_channels} channels, total_memory {larger / MB:.0f} MB: {peak / MB:.0f} MB {refused}")
        assert peak <= larger
        assert not refused
