"""What artefacts, converters that take turns, and stripes cost a sorter: untreated, treated, and without the trouble.

Writes ``results/troubles.md`` and ``results/troubles.json``, whose rows are not measured again::

    python -m benchmarks.troubles --families stim,stim_hard,probe_in_turn,probe_stripes --seeds 1,2,3

The ceiling is the same recording without the trouble, opened as always.
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
from benchmarks.rt_sort_disturbances import RAIL_MS
from benchmarks.rt_sort_recipes import RECIPES, REPORTING_SEEDS
from benchmarks.rt_sort_recordings import load_facts, load_recording, load_small, load_truth, make
from benchmarks.rt_sort_scoring import AFTER_PULSE_MS, Score, score, within
from benchmarks.rt_sort_tasks import SEED
from spikelab.system.resources import cpu_seconds

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from spikeinterface import BaseSorting

    from benchmarks.rt_sort_recipes import Recipe
    from spikelab.spike_sorting.data import BinaryRecording, IntArray

CEILING, UNTREATED = "ceiling", "untreated"
WITHOUT = {"stim": "stim_none", "stim_hard": "hard_static", "probe_in_turn": "probe", "probe_stripes": "probe"}
PLAIN: dict[str, Any] = {"artifacts": None, "phase_shift": False, "spatial_filter": None}
CHAIN: dict[str, Any] = {"phase_shift": True, "spatial_filter": "highpass"}
WAYS: dict[str, dict[str, dict[str, Any]]] = {
    "stim": {"artifacts = auto": {"artifacts": "auto"}},
    "stim_hard": {"artifacts = auto": {"artifacts": "auto"}},
    "probe_in_turn": {"phase shift": {"phase_shift": True}, "phase shift + spatial filter": CHAIN},
    "probe_stripes": {"phase shift + spatial filter": CHAIN, "spatial filter alone": {"spatial_filter": "highpass"}},
}
SORTERS = ("rt_sort", "tridesclous2")


@dataclass(frozen=True)
class Row:
    """One sort.

    Attributes
    ----------
    accuracy : float
        Mean over neurons with an SNR of at least 5 without the trouble; spikes within dead time do not count.
    excess : int
        False units, and units found twice.
    artefact_units : int
        Found units most of whose spikes lie within 5 ms after the start of a pulse.
    dead_s, lost_s : float
        Dead time, and time on the rail.
    prepare_cpu_s, sort_cpu_s : float
        Of opening and writing the recording, and of the sort.
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
    artefact_units: int
    dead_s: float
    lost_s: float
    prepare_cpu_s: float
    sort_cpu_s: float
    length: float = 1.0


def measured(family: str, seed: int, sorter: str, way: str, folders: dict[str, Path]) -> Row:
    """Open and write the recording, sort it, compare."""
    from spikelab.spike_sorting.config import RecordingConfig
    from spikelab.spike_sorting.data import dead_time_of
    from spikelab.spike_sorting.recording import open_recording, write_binary

    folder, fs = folders[CEILING if way == CEILING else UNTREATED], RECIPES[family].fs
    settings = PLAIN | WAYS[family].get(way, {})
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        began = cpu_seconds()
        opened = open_recording(load_recording(folder), RecordingConfig(**settings))
        binary, _ = write_binary(opened, Path(scratch) / "traces.dat", n_jobs=1, total_memory="4G", seed=SEED)
        written = cpu_seconds()
        found = sorted_by(sorter, binary, RECIPES[family].probe, Path(scratch))
        ended = cpu_seconds()
    dead = dead_time_of(opened)
    pulses = load_facts(folders[UNTREATED]).get("periods", {}).get("pulses", [])
    dead_of_all = lost_by_the_best(family, folders[UNTREATED]) if pulses else dead
    scored = scored_outside(folder, folders[CEILING], found, dead_of_all)
    return Row(
        family, seed, sorter, way, round(scored.mean_visible, 4), scored.found, scored.excess,
        artefact_units(found, pulses, fs),
        round(float((dead[:, 1] - dead[:, 0]).sum()) / fs, 4), round(len(pulses) * RAIL_MS / 1000, 4),
        round(written - began, 1), round(ended - written, 1),
    )  # fmt: skip


def lost_by_the_best(family: str, folder: Path) -> IntArray:
    """Dead time of the last way, in which no spike counts, however it was sorted: all ways are asked the same."""
    from spikelab.spike_sorting.config import RecordingConfig
    from spikelab.spike_sorting.data import dead_time_of
    from spikelab.spike_sorting.recording import open_recording

    settings = PLAIN | list(WAYS[family].values())[-1]
    return dead_time_of(open_recording(load_recording(folder), RecordingConfig(**settings)))


def sorted_by(sorter: str, binary: BinaryRecording, probe: str, scratch: Path) -> BaseSorting:
    """Sort filtered traces as the pipeline does."""
    if sorter == "rt_sort":
        from spikelab.spike_sorting.config import RT_SORT_MEA, RT_SORT_NEUROPIXELS
        from spikelab.spike_sorting.rt_sort import detect_sequences

        preset = RT_SORT_NEUROPIXELS if probe == "neuropixels" else RT_SORT_MEA
        rt_sort = detect_sequences(binary, probe=probe, num_processes=1, **(preset.rt_sort.params or {}))
        return rt_sort.sort_offline(binary, n_jobs=1).remove_empty_units()
    from spikeinterface.core import set_global_job_kwargs
    from spikeinterface.sorters import run_sorter

    set_global_job_kwargs(n_jobs=1, progress_bar=False)
    own: dict[str, Any] = {"apply_motion_correction": False, "apply_preprocessing": False, "seed": SEED}
    traces = binary.to_spikeinterface()
    return run_sorter(sorter, traces, folder=scratch / "run", verbose=False, **own).remove_empty_units()


def scored_outside(folder: Path, ceiling: Path, found: BaseSorting, dead: IntArray) -> Score:
    """Compare what lies outside of dead time; the SNR of the neurons is that in the recording without trouble."""
    left = [_outside(sorting, dead) for sorting in (load_truth(folder), found)]
    return score(*left, load_facts(ceiling)["units"], small=load_small(folder))


def _outside(sorting: BaseSorting, dead: IntArray) -> BaseSorting:
    from spikeinterface.core import NumpySorting

    from spikelab.spike_sorting.data.dead_time import in_dead_time

    trains = {unit: sorting.get_unit_spike_train(unit) for unit in sorting.unit_ids}
    kept = {unit: train[~in_dead_time(train, dead)] for unit, train in trains.items()}
    return NumpySorting.from_unit_dict(kept, sorting.get_sampling_frequency())


def artefact_units(found: BaseSorting, pulses: Sequence[tuple[int, int]], fs: float) -> int:
    """Count units most of whose spikes lie within 5 ms after the start of a pulse."""
    reach = round(AFTER_PULSE_MS * fs / 1000)
    after = [(start, start + reach) for start, _ in pulses]
    trains = [found.get_unit_spike_train(unit) for unit in found.unit_ids]
    return sum(bool(within(train, after).mean() > 0.5) for train in trains if len(train))


def _rows(args: argparse.Namespace, known: Sequence[Row], scratch: Path) -> Iterator[Row]:
    done = {(row.family, row.seed, row.sorter, row.way): row for row in known if row.length == args.length}
    for seed in args.seeds:
        for family in args.families:
            keys = [
                (family, seed, sorter, way)
                for sorter in args.sorters
                for way in (CEILING, UNTREATED, *WAYS[family])
                if not (args.ways and way not in args.ways)
            ]
            folders = {}
            if any(key not in done for key in keys):
                recipes = {UNTREATED: shortened(family, args.length), CEILING: shortened(WITHOUT[family], args.length)}
                folders = {name: make(recipe, seed, scratch, args.templates) for name, recipe in recipes.items()}
            for key in keys:
                if key not in done:
                    done[key] = _shared(key, done) or replace(measured(*key, folders), length=args.length)
                yield done[key]


def shortened(family: str, length: float) -> Recipe:
    """Give a recipe of a part of the length, with as many pulses per minute."""
    recipe = RECIPES[family]
    if length == 1:
        return recipe
    amplifier = replace(recipe.amplifier, pulses=round(recipe.amplifier.pulses * length))
    return replace(recipe, name=f"{family}_{length:g}", seconds=recipe.seconds * length, amplifier=amplifier)


def _shared(key: tuple[str, int, str, str], done: dict[tuple[str, int, str, str], Row]) -> Row | None:
    """Give the ceiling that was measured for another family, where no spikes are left out."""
    family, *rest = key
    others = [other for other in WITHOUT if WITHOUT[other] == WITHOUT[family] and (other, *rest) in done]
    if rest[-1] != CEILING or RECIPES[family].amplifier.pulses or not others:
        return None
    return replace(done[(others[0], *rest)], family=family)


def table(rows: Sequence[Row]) -> str:
    """Lay out means over the seeds."""
    ceilings = {(r.family, r.seed, r.sorter, r.length): r.accuracy for r in rows if r.way == CEILING}
    lines = []
    kinds = dict.fromkeys((row.family, row.sorter, row.way, row.length) for row in rows)
    for family, sorter, way, length in kinds:
        own = [r for r in rows if (r.family, r.sorter, r.way, r.length) == (family, sorter, way, length)]
        keys = [(family, row.seed, sorter, length) for row in own]
        below = [ceilings[key] - row.accuracy for key, row in zip(keys, own, strict=True) if key in ceilings]
        lost, dead = sum(row.lost_s for row in own), sum(row.dead_s for row in own)
        cpu = [np.mean(values) for values in zip(*((row.prepare_cpu_s, row.sort_cpu_s) for row in own), strict=True)]
        lines.append([
            family if way != CEILING else f"{WITHOUT[family]} (no {family})",
            f"{RECIPES[family].seconds * length:g}", sorter, way,
            f"{np.mean([row.accuracy for row in own]):.3f}",
            f"{np.mean(below):.3f} ({max(below):.3f})" if below and way != CEILING else "",
            str(sum(row.excess for row in own)), str(sum(row.artefact_units for row in own)) if lost else "",
            f"{dead / lost:.2f}" if dead and lost else "",
            *(f"{value:.1f}" for value in cpu), ", ".join(str(row.seed) for row in own),
        ])  # fmt: skip
    header = ["recording", "s", "sorter", "way", "accuracy", "below the ceiling (most)", "false + twice"]
    more = ["units of artefacts", "dead time / time on the rail", "CPU s to write", "CPU s to sort", "seeds"]
    return markdown([*header, *more], lines)


def main() -> None:
    """Measure what is missing, and write the report after every row."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--families", type=lambda text: text.split(","), default=list(WAYS))
    parser.add_argument("--seeds", type=lambda text: [int(seed) for seed in text.split(",")], default=REPORTING_SEEDS)
    parser.add_argument("--sorters", type=lambda text: text.split(","), default=list(SORTERS))
    parser.add_argument("--ways", type=lambda text: text.split(","), help="only these (default: all of the family)")
    parser.add_argument("--length", type=float, default=1.0, help="of the recordings, as a share of the usual length")
    parser.add_argument("--templates", type=Path, help="measured footprints (default: those of ../shared/data)")
    parser.add_argument("--scratch", type=Path, help="where recordings are, and stay")
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args()
    path = args.out / "troubles.json"
    rows = [Row(**row) for row in json.loads(path.read_text(encoding="utf-8"))] if path.is_file() else []
    with tempfile.TemporaryDirectory() as temporary:
        for row in _rows(args, list(rows), args.scratch or Path(temporary)):
            if row not in rows:
                rows.append(row)
                print(row, flush=True)
                path.write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n", encoding="utf-8")
    ways = {family: (CEILING, UNTREATED, *WAYS[family]) for family in WAYS}
    rows.sort(
        key=lambda row: (
            list(WAYS).index(row.family),
            row.length,
            row.sorter,
            ways[row.family].index(row.way),
            row.seed,
        )
    )
    title = "# Artefacts, converters that take turns, and stripes"
    about = (
        "`stim` and `stim_hard`: 30 times in 120 or 90 s all contacts are on the rail for 3 ms and come back with time "
        "constants of 5 to 20 ms, on SpikeInterface's generated ground truth with mains hum and on a mature culture. "
        "`probe_in_turn`: 96 channels of a Neuropixels 1.0 probe, sampled one after the other; `probe_stripes`: with "
        "16 uV of tones and noise common to all as well. `untreated`: filtered, and nothing else. The ceiling is the "
        "same recording without the trouble. Accuracy is the mean over neurons with an SNR of at least 5 there, "
        f"without the spikes in the dead time that is found by the last way. One core. {machine()}."
    )
    write(args.out / "troubles.md", [title, about, table(rows)])


if __name__ == "__main__":
    main()
