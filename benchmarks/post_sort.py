"""What happens after the sorter: CPU seconds of our stages and of SpikeInterface's SortingAnalyzer.

One run measures both on the same recording (64 channels, 120 s, 25 units, 20 kHz, seeded), one thread each, medians
over several repeats, and writes ``benchmarks/results/post_sort.md``::

    python benchmarks/post_sort.py
"""

from __future__ import annotations

import argparse
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from threadpoolctl import threadpool_limits

from spikelab.spike_sorting._types import BinaryRecording, Epoch, SpikeTrains, Waveforms
from spikelab.spike_sorting.config import SortingPipelineConfig

if TYPE_CHECKING:
    from collections.abc import Callable

HERE = Path(__file__).resolve().parent
GAIN_UV = 0.1
ONE_JOB = {"n_jobs": 1, "progress_bar": False}
Seconds = tuple[float, float, float]  # median, least, most
WRITE = "spikelab: filter and write the binary"
WAVEFORMS = "spikelab: waveforms and metrics"
FILES = "spikelab: waveforms and metrics with per-unit waveform files"
RESULTS = "spikelab: SpikeData, curation, result files"
ANALYZER = "SpikeInterface: SortingAnalyzer on the filtered binary"
ANALYZER_LAZY = "SpikeInterface: SortingAnalyzer on a lazily filtered recording"
CONDITIONS = (
    "20 kHz, int16, seeded; at most 300 waveforms per unit, 2 ms before and after the peak. Everything in one run. "
    "Ours centres every spike and averages on all channels; the analyzer averages the spikes where they are, on the "
    "channels near each unit (sparse, in memory): random_spikes, waveforms, templates (average, std), noise_levels, "
    "quality_metrics (snr, isi_violation, firing_rate)."
)
COLD = """
import resource, sys, pickle
start = resource.getrusage(resource.RUSAGE_SELF)
from spikelab.spike_sorting.config import WaveformConfig
from spikelab.spike_sorting.waveforms import compute_waveforms
binary, trains = pickle.load(open(sys.argv[1], "rb"))
compute_waveforms(binary, trains, WaveformConfig(), seed=1, n_jobs=1, total_memory="4G")
end = resource.getrusage(resource.RUSAGE_SELF)
print(end.ru_utime + end.ru_stime - start.ru_utime - start.ru_stime)
"""


def cpu_seconds() -> float:
    """CPU time of this process and its children so far."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def make_recording(folder: Path, channels: int, seconds: float, units: int) -> tuple[BinaryRecording, SpikeTrains]:
    """Generate with SpikeInterface, write as int16 of 0.1 uV."""
    from spikeinterface.core import generate_ground_truth_recording

    recording, sorting = generate_ground_truth_recording(
        durations=[seconds],
        sampling_frequency=20_000.0,
        num_channels=channels,
        num_units=units,
        generate_probe_kwargs={"num_columns": 8, "xpitch": 30, "ypitch": 30},
        generate_sorting_kwargs={"firing_rates": 10, "refractory_period_ms": 4.0},
        noise_kwargs={"noise_levels": 5.0, "strategy": "tile_pregenerated"},
        seed=42,
    )
    n_samples, path = recording.get_num_samples(), folder / "traces.dat"
    with path.open("wb") as file:
        for start in range(0, n_samples, 20_000):
            traces = recording.get_traces(start_frame=start, end_frame=min(start + 20_000, n_samples))
            np.round(traces / GAIN_UV).clip(-32768, 32767).astype("<i2").tofile(file)
    binary = BinaryRecording(
        path=path,
        n_samples=n_samples,
        n_channels=channels,
        sampling_frequency=20_000.0,
        gain_uv=GAIN_UV,
        channel_ids=tuple(map(str, range(channels))),
        locations=np.asarray(recording.get_channel_locations(), dtype=np.float64),
        electrodes=None,
        epochs=(Epoch(0, n_samples),),
    )
    return binary, SpikeTrains.from_spikeinterface(sorting)


def our_waveforms(binary: BinaryRecording, trains: SpikeTrains, folder: Path | None) -> Waveforms:
    """Centre, average, noise, metrics; the per-unit files where a folder is given."""
    from spikelab.spike_sorting.waveforms import compute_waveforms

    config = SortingPipelineConfig().waveform
    return compute_waveforms(binary, trains, config, seed=1, n_jobs=1, total_memory="4G", waveforms_folder=folder)


def our_results(binary: BinaryRecording, waveforms: Waveforms, folder: Path) -> None:
    """Build the SpikeData, curate in two rounds, write npz and pickles."""
    from spikelab.spike_sorting.compilation import build_spikedata, compile_results
    from spikelab.spike_sorting.curation import curate_two_rounds

    config = SortingPipelineConfig()
    everything = build_spikedata(binary, waveforms, config)
    outcome = curate_two_rounds(everything, config.curation)
    compile_results(outcome.sd_curated, everything, binary, config, folder)


def analyzer(recording: Any, trains: SpikeTrains) -> Any:
    """What a SpikeInterface user runs for the same numbers: sparse, in memory."""
    from spikeinterface.core import create_sorting_analyzer

    sorting = trains.to_spikeinterface(recording.get_sampling_frequency())
    result = create_sorting_analyzer(sorting, recording, format="memory", sparse=True, job_kwargs=ONE_JOB)
    extensions = {
        "random_spikes": {"max_spikes_per_unit": 300, "seed": 1},
        "waveforms": {"ms_before": 2.0, "ms_after": 2.0},
        "templates": {"operators": ["average", "std"]},
        "noise_levels": {},
        "quality_metrics": {"metric_names": ["snr", "isi_violation", "firing_rate"]},
    }
    result.compute(extensions, **ONE_JOB)
    return result


def measure(work: Callable[[], Any], repeats: int) -> Seconds:
    """Median, least and most CPU seconds of `repeats` calls, after one that warms up."""
    work()
    spent = []
    for _ in range(repeats):
        start = cpu_seconds()
        work()
        spent.append(cpu_seconds() - start)
    return statistics.median(spent), min(spent), max(spent)


def cold_start(binary: BinaryRecording, trains: SpikeTrains, scratch: Path, *, compiled: bool) -> float:
    """CPU seconds of a new process from its first import to its result, with or without compiled kernels on disk."""
    import pickle

    job, cache = scratch / "job.pkl", scratch / "numba"
    job.write_bytes(pickle.dumps((binary, trains)))
    command = [sys.executable, "-c", COLD, str(job)]
    environment = os.environ | {"NUMBA_CACHE_DIR": str(cache / ("warm" if compiled else f"cold{time.time_ns()}"))}
    for _ in range(1 + compiled):
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return float(done.stdout)


def table(rows: dict[str, Seconds], notes: list[str]) -> str:
    """Write the measurements as Markdown."""
    lines = [
        "# After the sorter: CPU seconds, one thread",
        "",
        *notes,
        "",
        "| | median | least | most |",
        "|---|---|---|---|",
    ]
    lines += [f"| {name} | {median:.2f} | {low:.2f} | {high:.2f} |" for name, (median, low, high) in rows.items()]
    return "\n".join(lines) + "\n"


def run(args: argparse.Namespace, scratch: Path) -> str:
    """Measure everything in `scratch`; return the table."""
    from spikelab.spike_sorting.recording import open_recording, write_binary

    binary, trains = make_recording(scratch, args.channels, args.seconds, args.units)
    plain = binary.to_spikeinterface()
    filtered = open_recording(plain, SortingPipelineConfig().recording)
    waveforms = our_waveforms(binary, trains, None)
    steps: dict[str, Callable[[], Any]] = {
        WRITE: lambda: write_binary(filtered, scratch / "filtered.dat", n_jobs=1, total_memory="4G", seed=1),
        WAVEFORMS: lambda: our_waveforms(binary, trains, None),
        FILES: lambda: our_waveforms(binary, trains, scratch / "files"),
        RESULTS: lambda: our_results(binary, waveforms, scratch / "results"),
        ANALYZER: lambda: analyzer(plain, trains),
        ANALYZER_LAZY: lambda: analyzer(filtered, trains),
    }
    rows = {name: measure(work, args.repeats) for name, work in steps.items()}
    for compiled, name in ((True, "kernels on disk"), (False, "kernels compiled anew")):
        spent = [cold_start(binary, trains, scratch, compiled=compiled) for _ in range(min(3, args.repeats))]
        label = f"spikelab: waveforms in a new process, imports and {name}"
        rows[label] = statistics.median(spent), min(spent), max(spent)
    size = f"{args.channels} channels, {args.seconds:g} s, {args.units} units, {sum(map(len, trains.samples))} spikes"
    return table(rows, [f"{size}, {args.repeats} repeats after a warm-up. {CONDITIONS}", "", *summary(rows)])


def summary(rows: dict[str, Seconds]) -> list[str]:
    """Say what the table means, and on what it was measured."""
    packages = ", ".join(f"{name} {version(name)}" for name in ("numpy", "numba", "spikeinterface"))
    ours, theirs = rows[FILES][0] + rows[RESULTS][0], rows[ANALYZER][0]
    lazy_ours, lazy_theirs = ours + rows[WRITE][0], rows[ANALYZER_LAZY][0]
    return [
        f"- From a filtered binary: all our stages {ours:.2f} s, the analyzer {theirs:.2f} s.",
        f"- From a recording that is still to be filtered: ours {lazy_ours:.2f} s, the analyzer {lazy_theirs:.2f} s.",
        f"- Python {platform.python_version()}, {packages}, {platform.machine()}.",
    ]


def main() -> None:
    """Parse, measure, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--channels", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=120.0)
    parser.add_argument("--units", type=int, default=25)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path, default=HERE / "results" / "post_sort.md")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, threadpool_limits(1):
        text = run(args, Path(folder))
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
