"""RT-Sort while the recording runs: computing per step of 5 ms, and what filtering without the future costs.

Time: sequences are found in the first 20 s of a recording; the next 10 s are pushed step by step. Accuracy: sequences
are found in a recording that was filtered forwards and backwards, and applied to it and to the counts in the file.
Writes ``rt_sort_streaming.md``::

    python -m benchmarks.rt_sort_streaming
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.measuring import measure
from benchmarks.reporting import RESULTS, machine, markdown, write
from benchmarks.rt_sort_recipes import RECIPES, STREAMS
from benchmarks.rt_sort_recordings import load_facts, load_truth, make
from benchmarks.rt_sort_scoring import score
from benchmarks.rt_sort_tasks import TASKS
from spikelab.spike_sorting.data import SpikeTrains
from spikelab.spike_sorting.filters.stream import LOOK_AHEAD_MS, weights

if TYPE_CHECKING:
    from numpy.typing import NDArray

STEP_MS = 5.0
LEARN_S = 20.0
FIRST_STEPS = 200  # not counted: memory is touched for the first time
LOOK_AHEADS_MS = (0.25, 0.5, 1.0, 2.0, 3.0, 5.0)
BAND_HZ = (300.0, 6000.0)
NEAR_MS = 0.1


def main() -> None:
    """Measure, and write the report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--channels", default=",".join(map(str, STREAMS)), help="(default: %(default)s)")
    parser.add_argument("--threads", default="1,2", help="of the stream (default: %(default)s)")
    parser.add_argument("--families", default="grid,hard", help="for the accuracy (default: %(default)s)")
    parser.add_argument("--seeds", default="101,1", help="for the accuracy; 101 was tuned on (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="for the time (default: %(default)s)")
    parser.add_argument("--templates", type=Path, help="measured footprints (default: those of ../shared/data)")
    parser.add_argument("--scratch", type=Path, help="where recordings are made, and stay to be used again")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the report")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        scratch = args.scratch or Path(temporary)
        parts = [
            "# RT-Sort while the recording runs",
            f"{machine()}.",
            *_times(args, scratch),
            *_accuracy(args, scratch),
        ]
    write(args.out / "rt_sort_streaming.md", parts)


def _times(args: argparse.Namespace, scratch: Path) -> list[str]:
    lines = []
    threads = [int(n) for n in args.threads.split(",")]
    for channels in map(int, args.channels.split(",")):
        lines += _lines(channels, make(STREAMS[channels], args.seed, scratch, args.templates), threads)
    header = [
        "channels", "threads", "frames", "sequences", "spikes/s", "latency, ms", "p50, ms", "p99, ms", "max, ms",
        "CPU p50, ms", "CPU p99, ms", "CPU mean / 5 ms",
    ]  # fmt: skip
    what = (
        f"Computing per step of {STEP_MS:g} ms at 20 kHz: wall time of each step, and CPU time of all threads, which a "
        "busy machine lengthens less. Filtered: frames as a recording's, band-passed. Raw: counts of the amplifier, "
        "int16, which the stream filters. Filter: that alone. Latency: from the peak of a spike until it is returned, "
        "at most, without computing."
    )
    return ["## Time", what, markdown(header, lines)]


def _lines(channels: int, folder: Path, threads: list[int]) -> list[list[str]]:
    result = folder / "stream.npz"
    paths = {"recording": str(folder), "result": str(result)}
    how = {"probe": STREAMS[channels].probe, "learn_s": LEARN_S, "step_ms": STEP_MS, "n_jobs": threads}
    measure("stream", module=TASKS, **how, **paths)
    with np.load(result) as data:
        found = dict(data)
    rate = found["spikes"].sum() / (len(found["spikes"]) * STEP_MS / 1e3)
    about = [str(int(found["sequences"])), f"{rate:.0f}"]
    latency = dict(zip(("filtered", "raw"), found["latency_ms"], strict=True))
    rows = [
        [str(channels), str(n), frames, *about, f"{late:.1f}", *_cells(found[f"{frames}_{n}"])]
        for n in threads
        for frames, late in latency.items()
    ]
    return [*rows, [str(channels), "1", "filter", "", "", "", *_cells(found["filter_1"])]]


def _cells(took: NDArray[np.float64]) -> list[str]:
    wall, cpu = took[FIRST_STEPS:].T * 1e3
    times = [np.percentile(wall, 50), np.percentile(wall, 99), wall.max(), np.percentile(cpu, 50)]
    return [f"{value:.2f}" for value in [*times, np.percentile(cpu, 99)]] + [f"{cpu.mean() / STEP_MS:.0%}"]


def _accuracy(args: argparse.Namespace, scratch: Path) -> list[str]:
    lines = []
    for family in args.families.split(","):
        for seed in map(int, args.seeds.split(",")):
            lines += _compared(family, seed, make(RECIPES[family], seed, scratch, args.templates))
    header = [
        "recording", "seed", "filter", "off by", "latency, ms", "accuracy", "SNR >= 5", "well", "false + twice",
        "spikes as offline",
    ]  # fmt: skip
    what = (
        "Sequences found in the recording filtered forwards and backwards, and their spikes in: the same traces "
        "(offline); the counts in the file, filtered forwards and then with weights on the next milliseconds (ahead; "
        f"the default is {LOOK_AHEAD_MS:g} ms); the same filtered forwards only. Off by: root mean square of the "
        "difference from filtering backwards too, for white noise. Latency: at most, without computing. As offline: "
        f"spikes within {NEAR_MS:g} ms of one of the same unit offline, over all of both. Seeds from 101 on were tuned "
        "on."
    )
    return ["## Accuracy of unfiltered frames", what, markdown(header, lines)]


def _compared(family: str, seed: int, folder: Path) -> list[list[str]]:
    recipe = RECIPES[family]
    found = folder / "streamed"
    found.mkdir(exist_ok=True)
    ahead = list(LOOK_AHEADS_MS)
    measure(
        "stream_accuracy",
        module=TASKS,
        recording=str(folder),
        probe=recipe.probe,
        look_ahead_ms=ahead,
        folder=str(found),
    )
    truth, units = load_truth(folder), load_facts(folder)["units"]
    offline = SpikeTrains.load(found / "offline.npz")
    with np.load(found / "latency.npz") as data:
        latency = float(data["ms"])
    rows = [("offline", "0%", None), ("forwards only", "", 0.0)]
    for ms in ahead:
        _, difference = weights(*BAND_HZ, recipe.fs, round(ms * recipe.fs / 1e3))
        rows.append((f"{ms:g} ms ahead", f"{difference:.1%}", ms))
    lines = []
    for name, off, late in rows:
        file = {"offline": "offline", "forwards only": "forwards"}.get(name, f"ahead_{late:g}" if late else "")
        trains = SpikeTrains.load(found / f"{file}.npz")
        result = score(truth, trains.to_spikeinterface(recipe.fs), units)
        lines.append([
            family, str(seed), name, off, "" if late is None else f"{latency + late:.1f}", f"{result.mean:.3f}",
            f"{result.mean_visible:.3f}", f"{result.well_detected} of {len(units)}", str(result.excess),
            f"{_shared(trains, offline, NEAR_MS * recipe.fs / 1e3):.1%}",
        ])  # fmt: skip
    return lines


def _shared(trains: SpikeTrains, others: SpikeTrains, near: float) -> float:
    """Spikes of both with a partner of the same unit, over all of both."""
    one, two = (dict(zip(some.unit_ids.tolist(), some.samples, strict=True)) for some in (trains, others))
    nothing = np.empty(0, dtype=np.int64)
    pairs = [(one.get(unit, nothing), two.get(unit, nothing)) for unit in one.keys() | two.keys()]
    paired = sum(_paired(first, second, near) + _paired(second, first, near) for first, second in pairs)
    return paired / max(1, sum(len(first) + len(second) for first, second in pairs))


def _paired(train: NDArray[np.int64], other: NDArray[np.int64], near: float) -> int:
    padded = np.concatenate([[-np.inf], other, [np.inf]])
    after = np.searchsorted(padded, train)
    return int(np.sum(np.minimum(padded[after] - train, train - padded[after - 1]) <= near))


if __name__ == "__main__":
    main()
