"""Memory and time of RT-Sort on long and on wide recordings, from the filtered binary to the spikes.

A long recording is many takes of `stream_256` (30 s), with the same neurons and other spikes and noise: where noise
comes back exactly, it is taken for neurons. Writes ``rt_sort_memory.md``::

    python -m benchmarks.rt_sort_memory
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.measuring import measure
from benchmarks.reporting import RESULTS, machine, markdown, write
from benchmarks.rt_sort_recipes import RECIPES, STREAMS
from benchmarks.rt_sort_recordings import make
from benchmarks.rt_sort_tasks import TASKS

if TYPE_CHECKING:
    from benchmarks.rt_sort_recipes import Recipe

LONG, WIDE = STREAMS[256], RECIPES["wide"]


def main() -> None:
    """Measure, and write the report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", default="2,10", help="of the long recordings (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=1, help="(default: %(default)s)")
    parser.add_argument("--templates", type=Path, help="measured footprints (default: those of ../shared/data)")
    parser.add_argument("--scratch", type=Path, help="where recordings are made, and stay to be used again")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the report")
    args = parser.parse_args()
    sizes = [(LONG, round(float(minutes) * 60 / LONG.seconds)) for minutes in args.minutes.split(",")]
    with tempfile.TemporaryDirectory(dir=args.scratch) as temporary:
        scratch = Path(temporary)
        lines = [_line(recipe, times, args, scratch) for recipe, times in [*sizes, (WIDE, 1)]]
    header = [
        "channels", "seconds", "units", "spikes", "CPU s", "x real time", "MiB added", "MiB peak", "MiB written",
    ]  # fmt: skip
    what = (
        f"`detect_sequences` and `sort_offline` with {args.threads} thread(s), from the filtered binary on disk "
        "(int16). Added: peak of the process less what it held before (imports, compiled code). Peak: all of the "
        "process. Written: by the process, to any file."
    )
    write(args.out / "rt_sort_memory.md", ["# RT-Sort: memory", f"{machine()}.", what, markdown(header, lines)])


def _line(recipe: Recipe, times: int, args: argparse.Namespace, scratch: Path) -> list[str]:
    takes = [replace(recipe, name=f"{recipe.name}_take_{k}", take=k) for k in range(times)]
    recordings = [make(take, 1, args.scratch or scratch, args.templates) for take in takes]
    warm_up = make(recipe.warm_up, 0, args.scratch or scratch, args.templates)
    folder = scratch / f"{recipe.name}_{times}"
    folder.mkdir()
    measure("filtered", module=TASKS, recordings=[str(path) for path in recordings], folder=str(folder))
    small = scratch / "warm_up"
    measure("filtered", module=TASKS, recordings=[str(warm_up)], folder=str(small))
    how = {"probe": recipe.probe, "n_jobs": args.threads, "folder": str(folder), "warm_up": str(small)}
    cost = measure("sort_binary", module=TASKS, **how)
    with np.load(folder / "found.npz") as data:
        found = {name: int(data[name]) for name in data.files}
    seconds = times * recipe.seconds
    channels = json.loads((folder / "binary.json").read_text(encoding="utf-8"))["n_channels"]
    shutil.rmtree(folder)
    shutil.rmtree(small)
    return [
        str(channels), f"{seconds:g}", str(found["units"]), str(found["spikes"]), f"{cost.cpu:.0f}",
        f"{seconds / cost.cpu:.1f}", f"{cost.added_mib:.0f}", f"{cost.peak_mib:.0f}", f"{found['written'] / 2**20:.1f}",
    ]  # fmt: skip


if __name__ == "__main__":
    main()
