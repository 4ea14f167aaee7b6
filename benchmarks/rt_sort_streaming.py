"""RT-Sort while the recording runs: seconds of computing per step of 5 ms.

Sequences are found in the first 20 s of a recording; the next 10 s are pushed step by step. Writes
``rt_sort_streaming.md``::

    python -m benchmarks.rt_sort_streaming
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np

from benchmarks.measuring import measure
from benchmarks.reporting import RESULTS, machine, markdown, write
from benchmarks.rt_sort_recipes import STREAMS
from benchmarks.rt_sort_recordings import make
from benchmarks.rt_sort_tasks import TASKS

STEP_MS = 5.0
LEARN_S = 20.0
FIRST_STEPS = 200  # not counted: memory is touched for the first time, and the first 50 ms have no noise level


def main() -> None:
    """Measure, and write the report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--channels", default=",".join(map(str, STREAMS)), help="(default: %(default)s)")
    parser.add_argument("--threads", default="1,2", help="of the numerical libraries (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="(default: %(default)s)")
    parser.add_argument("--scratch", type=Path, help="where recordings are made, and stay to be used again")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the report")
    args = parser.parse_args()
    lines = []
    with tempfile.TemporaryDirectory() as temporary:
        scratch = args.scratch or Path(temporary)
        for channels in map(int, args.channels.split(",")):
            folder = make(STREAMS[channels], args.seed, scratch)
            lines += [_line(channels, folder, threads) for threads in map(int, args.threads.split(","))]
    header = ["channels", "threads", "sequences", "spikes/s", "p50, ms", "p99, ms", "max, ms", "mean / 5 ms"]
    what = f"Steps of {STEP_MS:g} ms at 20 kHz, filtered frames; wall time of each step. {machine()}."
    write(args.out / "rt_sort_streaming.md", ["# RT-Sort while the recording runs", what, markdown(header, lines)])


def _line(channels: int, folder: Path, threads: int) -> list[str]:
    result = folder / "stream.npz"
    paths = {"recording": str(folder), "result": str(result)}
    probe = STREAMS[channels].probe
    how = {"probe": probe, "learn_s": LEARN_S, "step_ms": STEP_MS, "n_jobs": threads}
    measure("stream", module=TASKS, threads=threads, **how, **paths)
    with np.load(result) as data:
        steps_ms, spikes, sequences = data["seconds"][FIRST_STEPS:] * 1e3, data["spikes"], int(data["sequences"])
    rate = spikes.sum() / (len(spikes) * STEP_MS / 1e3)
    times = [np.percentile(steps_ms, 50), np.percentile(steps_ms, 99), steps_ms.max()]
    cells = [str(channels), str(threads), str(sequences), f"{rate:.0f}", *(f"{value:.2f}" for value in times)]
    return [*cells, f"{steps_ms.mean() / STEP_MS:.0%}"]


if __name__ == "__main__":
    main()
