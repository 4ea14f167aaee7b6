"""What happens after the sorter: CPU seconds of our stages and of SpikeInterface's SortingAnalyzer.

One run measures both on the same recording (64 channels, 120 s, 25 units, 20 kHz, seeded), one thread each, medians
over several repeats, and writes ``benchmarks/results/post_sort.md``::

    python benchmarks/post_sort.py
"""

from __future__ import annotations

import os

for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ[_variable] = "1"  # before NumPy is loaded

import argparse
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from spikelab.spike_sorting._types import BinaryRecording, Epoch, SpikeTrains, Waveforms
from spikelab.spike_sorting.config import SortingPipelineConfig

HERE = Path(__file__).resolve().parent
GAIN_UV = 0.1
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


def analyzer(binary: BinaryRecording, trains: SpikeTrains) -> Any:
    """What a SpikeInterface user runs for the same numbers: sparse, in memory."""
    from spikeinterface.core import create_sorting_analyzer

    recording, sorting = binary.to_spikeinterface(), trains.to_spikeinterface(binary.sampling_frequency)
    result = create_sorting_analyzer(sorting, recording, format="memory", sparse=True, n_jobs=1, progress_bar=False)
    extensions = {
        "random_spikes": {"max_spikes_per_unit": 300, "seed": 1},
        "waveforms": {"ms_before": 2.0, "ms_after": 2.0},
        "templates": {"operators": ["average", "std"]},
        "noise_levels": {},
        "quality_metrics": {"metric_names": ["snr", "isi_violation", "firing_rate"]},
    }
    result.compute(extensions, n_jobs=1, progress_bar=False)
    return result


def measure(work: Callable[[], Any], repeats: int) -> tuple[float, float, float]:
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


def table(rows: list[tuple[str, tuple[float, float, float]]], notes: list[str]) -> str:
    """Write the measurements as Markdown."""
    lines = [
        "# After the sorter: CPU seconds, one thread",
        "",
        *notes,
        "",
        "| | median | least | most |",
        "|---|---|---|---|",
    ]
    lines += [f"| {name} | {median:.2f} | {low:.2f} | {high:.2f} |" for name, (median, low, high) in rows]
    return "\n".join(lines) + "\n"


def run(args: argparse.Namespace, scratch: Path) -> str:
    """Measure everything in `scratch`; return the table."""
    binary, trains = make_recording(scratch, args.channels, args.seconds, args.units)
    waveforms = our_waveforms(binary, trains, None)
    steps: dict[str, Callable[[], Any]] = {
        "spikelab: waveforms and metrics": lambda: our_waveforms(binary, trains, None),
        "spikelab: the same, with per-unit waveform files": lambda: our_waveforms(binary, trains, scratch / "files"),
        "spikelab: SpikeData, curation, result files": lambda: our_results(binary, waveforms, scratch / "results"),
        "SpikeInterface: SortingAnalyzer": lambda: analyzer(binary, trains),
    }
    rows = [(name, measure(work, args.repeats)) for name, work in steps.items()]
    for compiled, name in ((True, "kernels on disk"), (False, "kernels compiled anew")):
        seconds = [cold_start(binary, trains, scratch, compiled=compiled) for _ in range(min(3, args.repeats))]
        rows.append(
            (
                f"spikelab: waveforms in a new process, imports and {name}",
                (statistics.median(seconds), min(seconds), max(seconds)),
            )
        )
    spikes = sum(map(len, trains.samples))
    notes = [
        f"{args.channels} channels, {args.seconds:g} s, {args.units} units, {spikes} spikes, 20 kHz, int16, seeded; at most "
        "300 waveforms per unit, 2 ms before and after the peak.",
        f"{args.repeats} repeats after a warm-up, all in one run. Python {platform.python_version()}, "
        + ", ".join(f"{name} {version(name)}" for name in ("numpy", "numba", "spikeinterface"))
        + f", {platform.machine()}.",
        "",
        "Ours centres every spike and averages on all channels; the analyzer averages uncentred spikes on the channels "
        "near each unit (sparse).",
    ]
    return table(rows, notes)


def main() -> None:
    """Parse, measure, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--channels", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=120.0)
    parser.add_argument("--units", type=int, default=25)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path, default=HERE / "results" / "post_sort.md")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        text = run(args, Path(folder))
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
