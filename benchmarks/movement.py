"""Sorting of tissue that moves: each sorter's own following, ``motion="correct"`` before it, and neither.

Writes ``results/movement.md`` and ``results/movement.json``, in which rows that are there are not measured again::

    python -m benchmarks.movement --families ramp40,step40,breathe40 --seeds 1,2,3 --sorters rt_sort,tridesclous2,lupin

The ceiling is the same neurons on tissue that lies still (`drift0`).
"""

from __future__ import annotations

import argparse
import json
import tempfile
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.reporting import RESULTS, machine, markdown, write
from benchmarks.rt_sort_recipes import COURSES, DRIFT
from benchmarks.rt_sort_recordings import load_recording, make
from benchmarks.rt_sort_scoring import score_folder
from benchmarks.rt_sort_tasks import SEED
from benchmarks.troubles import shortened
from spikelab.system.resources import cpu_seconds

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from spikeinterface import BaseRecording, BaseSorting

    from spikelab.spike_sorting.data import BinaryRecording
    from spikelab.spike_sorting.recording.motion.measuring import Movement

NONE, OWN, CORRECT = "none", "own", "correct"
# RT-Sort follows its units whatever is done before it; Kilosort 4, which has a following of its own, wants a GPU.
WAYS = {"rt_sort": (OWN, CORRECT), "tridesclous2": (NONE, OWN, CORRECT), "lupin": (NONE, OWN, CORRECT)}
EVERY_S = 0.1


@dataclass(frozen=True)
class Row:
    """One sort.

    Attributes
    ----------
    accuracy : float
        Mean over units with an SNR of at least 5.
    excess : int
        False units, and units found twice.
    course_rms_um : float or None
        Of the measured course from the true one, both without their medians: of the one that the recording was
        corrected by, or else, where the sorter is RT-Sort, of the estimate. None where none was measured.
    moved_um : float or None
        How far the tissue is said to have moved.
    measure_cpu_s, sort_cpu_s : float
        Of opening, correcting and writing the recording, and of the sort.
    length : float
        Of the recording, as a share of what its recipe says.
    """

    family: str
    seed: int
    sorter: str
    way: str
    accuracy: float
    found: int
    excess: int
    course_rms_um: float | None
    moved_um: float | None
    measure_cpu_s: float
    sort_cpu_s: float
    length: float = 1.0


def measured(family: str, seed: int, sorter: str, way: str, folder: Path) -> Row:
    """Open and write the recording in `folder`, sort it, compare."""
    from spikelab.spike_sorting.config import RecordingConfig
    from spikelab.spike_sorting.recording import open_recording, write_binary
    from spikelab.spike_sorting.recording.motion.measuring import measure_binary, movements_of

    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        began = cpu_seconds()
        config = RecordingConfig(motion="correct" if way == CORRECT else None)
        opened = open_recording(load_recording(folder), config)
        binary, _ = write_binary(opened, Path(scratch) / "traces.dat", n_jobs=1, total_memory="4G", seed=SEED)
        written = cpu_seconds()
        found = _sorted(binary, sorter, way, Path(scratch))
        ended = cpu_seconds()
        estimated = measure_binary(binary, n_jobs=1) if sorter == "rt_sort" and way == OWN else []
    rms, moved = _course_error(opened, movements_of(opened) or estimated, folder)
    scored = score_folder(folder, found.remove_empty_units())
    return Row(
        family, seed, sorter, way, round(scored.mean_visible, 4), scored.found, scored.excess, rms, moved,
        round(written - began, 1), round(ended - written, 1),
    )  # fmt: skip


def _sorted(binary: BinaryRecording, sorter: str, way: str, scratch: Path) -> BaseSorting:
    if sorter == "rt_sort":
        from spikelab.spike_sorting.config import RT_SORT_NEUROPIXELS
        from spikelab.spike_sorting.rt_sort import detect_sequences

        params = RT_SORT_NEUROPIXELS.rt_sort.params or {}
        return detect_sequences(binary, probe="neuropixels", num_processes=1, **params).sort_offline(binary, n_jobs=1)
    from spikeinterface.core import set_global_job_kwargs
    from spikeinterface.sorters import run_sorter

    set_global_job_kwargs(n_jobs=1, progress_bar=False)
    own: dict[str, Any] = {"apply_motion_correction": way == OWN, "apply_preprocessing": False, "seed": SEED}
    return run_sorter(sorter, binary.to_spikeinterface(), folder=scratch / "run", verbose=False, **own)


def _course_error(
    opened: BaseRecording, movements: Sequence[Movement], folder: Path
) -> tuple[float | None, float | None]:
    """Compare a measured course with the true one, every tenth of a second."""
    measured_course = movements[0].course if movements else None
    if measured_course is None:
        return None, None
    times = np.arange(EVERY_S / 2, opened.get_duration(), EVERY_S)
    depths = np.unique(opened.get_channel_locations()[:, 1])
    true = np.zeros((len(times), len(depths)))
    if (folder / "course.npz").is_file():
        with np.load(folder / "course.npz") as course:
            ways = [np.interp(times, course["times_s"], way) for way in course["moved_um"].T]
            nearest = np.abs(course["depths_um"] - depths[:, None]).argmin(axis=1)
            true = np.stack([ways[index] for index in nearest], axis=1)
    error = measured_course.at(times, depths) - true
    error -= np.median(error, axis=0)
    return round(float(np.sqrt((error**2).mean())), 2), movements[0].summary["moved_um"]


def _rows(args: argparse.Namespace, known: Sequence[Row], scratch: Path) -> Iterator[Row]:
    done = {(row.family, row.seed, row.sorter, row.way): row for row in known if row.length == args.length}
    for seed in args.seeds:
        for family in [DRIFT.name, *args.families]:
            folder = make(shortened(family, args.length), seed, scratch, args.templates)
            for sorter in args.sorters:
                # Tissue that lies still is also corrected: that must cost nothing.
                for way in [way for way in WAYS[sorter] if not args.ways or way in args.ways]:
                    key = (family, seed, sorter, way)
                    yield done[key] if key in done else replace(measured(*key, folder), length=args.length)


def table(rows: Sequence[Row]) -> str:
    """Lay out means over the seeds; the ceiling is the best way with tissue that lies still."""
    best: dict[tuple[str, int, float], float] = {}
    for row in rows:
        if row.family == DRIFT.name:
            key = (row.sorter, row.seed, row.length)
            best[key] = max(row.accuracy, best.get(key, 0.0))
    lines = []
    for family, sorter, way, length in dict.fromkeys((r.family, r.sorter, r.way, r.length) for r in rows):
        own = [r for r in rows if (r.family, r.sorter, r.way, r.length) == (family, sorter, way, length)]
        courses = [row.course_rms_um for row in own if row.course_rms_um is not None]
        below = [best[key] - row.accuracy for row in own if (key := (row.sorter, row.seed, length)) in best]
        excess, accuracy = sum(row.excess for row in own), np.mean([row.accuracy for row in own])
        course = f"{np.mean(courses):.1f}" if courses else ""
        cpu = [
            f"{np.mean(seconds):.1f}" for seconds in zip(*((r.measure_cpu_s, r.sort_cpu_s) for r in own), strict=True)
        ]
        seeds = ", ".join(str(row.seed) for row in own)
        under = f"{np.mean(below):.3f}" if below else ""
        lines.append(
            [
                family,
                f"{DRIFT.seconds * length:g}",
                sorter,
                way,
                f"{accuracy:.3f}",
                under,
                str(excess),
                course,
                *cpu,
                seeds,
            ]
        )
    header = [
        "family",
        "s",
        "sorter",
        "movement",
        "accuracy",
        "below the ceiling",
        "false + twice",
        "course off by (um RMS)",
    ]
    return markdown([*header, "CPU s to write", "CPU s to sort", "seeds"], lines)


def main() -> None:
    """Measure what is missing, and write the report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--families", type=lambda text: text.split(","), default=["ramp40", "step40", "breathe40"])
    parser.add_argument("--seeds", type=lambda text: [int(seed) for seed in text.split(",")], default=[1, 2, 3])
    parser.add_argument("--sorters", type=lambda text: text.split(","), default=list(WAYS))
    parser.add_argument("--ways", type=lambda text: text.split(","), help="only these (default: all of the sorter)")
    parser.add_argument("--length", type=float, default=1.0, help="of the recordings, as a share of the usual length")
    parser.add_argument("--templates", type=Path, help="measured footprints (default: those of ../shared/data)")
    parser.add_argument("--scratch", type=Path, help="where recordings are, and stay")
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args()
    path = args.out / "movement.json"
    known = [Row(**row) for row in json.loads(path.read_text(encoding="utf-8"))] if path.is_file() else []
    rows = list(known)
    with tempfile.TemporaryDirectory() as temporary:
        for row in _rows(args, known, args.scratch or Path(temporary)):
            if row not in rows:
                rows.append(row)
                print(row, flush=True)
                path.write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n", encoding="utf-8")
    families, sorters = [DRIFT.name, *(recipe.name for recipe in COURSES)], list(WAYS)
    rows.sort(
        key=lambda row: (sorters.index(row.sorter), families.index(row.family), row.way != NONE, row.way, row.seed)
    )
    title = "# Tissue that moves along a column of 64 electrodes"
    about = (
        "The same neurons (real footprints, at 30 kHz) on tissue that lies still (`drift0`), or moves by so many "
        "micrometres: settling (`ramp`), at once (`step`), or at 0.2 Hz (`breathe`). Movement `none`: the sorter is "
        "not told and does not follow; `own`: it follows by itself; `correct`: the recording is corrected before it by "
        f"`motion`. Accuracy is the mean over units with an SNR of at least 5. One core. {machine()}."
    )
    write(args.out / "movement.md", [title, about, table(rows)])


if __name__ == "__main__":
    main()
