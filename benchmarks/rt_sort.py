"""RT-Sort beside the sorters that SpikeInterface runs on a CPU, on recordings with known neurons.

Every sorter sorts every recording in a process of its own, on one core. Writes ``rt_sort.json`` with every row,
``rt_sort.md`` and ``rt_sort.png``, again after every row::

    python -m benchmarks.rt_sort
    python -m benchmarks.rt_sort --families hard --seeds 101 --sorters rt_sort --out /tmp/tuning --keep

``--families "" --join A/rt_sort.json B/rt_sort.json`` reports what other runs have measured.
``--before CHECKOUT`` measures RT-Sort as it is in another checkout too, as ``rt_sort_before``.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import subprocess
import tempfile
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import spikelab
from benchmarks.measuring import Cost, measure
from benchmarks.reporting import RESULTS, machine
from benchmarks.rt_sort_aims import BEFORE
from benchmarks.rt_sort_recipes import RECIPES, REPORTING_SEEDS
from benchmarks.rt_sort_recordings import load_facts, make
from benchmarks.rt_sort_report import draw, report
from benchmarks.rt_sort_scoring import Score, score_folder
from benchmarks.rt_sort_tasks import OURS, TASKS
from spikelab.spike_sorting.data import SpikeTrains

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

FAMILIES = ("grid", "column", "hard")
SORTERS = (OURS, "tridesclous2", "spykingcircus2", "lupin", "mountainsort5")


@dataclass(frozen=True)
class Row:
    """One sorter on one recording.

    Attributes
    ----------
    family, seed, digest : str, int, str
        The recording, and a digest of its traces.
    sorter, version, machine : str
    cost, score, curated, evident : Cost, Score, Score, Score or None
        `curated` is the score of what the default curation leaves, `evident` that of what curation by evidence leaves
        of ours. None where there is nothing to report.
    problem : str
        Why there is nothing.
    """

    family: str
    seed: int
    digest: str
    sorter: str
    version: str
    machine: str
    cost: Cost | None = None
    score: Score | None = None
    curated: Score | None = None
    evident: Score | None = None
    problem: str = ""

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Row:
        """Undo ``dataclasses.asdict``."""
        kinds = {"cost": Cost, "score": Score, "curated": Score, "evident": Score}
        parts = {name: kind(**values[name]) if values.get(name) else None for name, kind in kinds.items()}
        return cls(**{**values, **parts})

    @property
    def key(self) -> tuple[str, str, str]:
        """What a row depends on."""
        return self.digest, self.sorter, self.version


def main() -> None:
    """Sort, and report after every row."""
    args = _arguments()
    args.out.mkdir(parents=True, exist_ok=True)
    kept = [row for path in args.join for row in _read(path)]
    with tempfile.TemporaryDirectory() as temporary:
        rows: list[Row] = []
        for row in _rows(args, args.scratch or Path(temporary), {row.key: row for row in kept}):
            rows.append(row)
            done = {row.key for row in rows}
            _write([*rows, *(row for row in kept if row.key not in done)], args.out)
    if not args.families:
        _write(kept, args.out)


def _read(path: Path) -> list[Row]:
    return [Row.from_dict(row) for row in json.loads(path.read_text(encoding="utf-8"))]


def _write(rows: Sequence[Row], out: Path) -> None:
    (out / "rt_sort.json").write_text(json.dumps([asdict(row) for row in rows]), encoding="utf-8")
    report(rows, out / "rt_sort.md")
    draw(rows, out / "rt_sort.png")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--families", default=",".join(FAMILIES), help=f"of {', '.join(RECIPES)}")
    parser.add_argument("--seeds", default=",".join(map(str, REPORTING_SEEDS)), help="(default: %(default)s)")
    parser.add_argument("--sorters", default=",".join(SORTERS), help="also kilosort4 (default: %(default)s)")
    parser.add_argument("--templates", type=Path, help="measured footprints (default: those of ../shared/data)")
    parser.add_argument("--scratch", type=Path, help="where recordings are made, and stay to be used again")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the report")
    parser.add_argument("--before", type=Path, help="a checkout of the code as it was")
    parser.add_argument("--join", type=Path, nargs="*", default=[], help="rt_sort.json of other runs; repeats no row")
    parser.add_argument("--keep", action="store_true", help="rows in OUT/rt_sort.json of the same data and versions")
    args = parser.parse_args()
    if args.keep and (args.out / "rt_sort.json").is_file():
        args.join.insert(0, args.out / "rt_sort.json")
    return args


def _rows(args: argparse.Namespace, scratch: Path, kept: dict[tuple[str, str, str], Row]) -> Iterator[Row]:
    for family in filter(None, args.families.split(",")):
        for seed in map(int, args.seeds.split(",")):
            folder = make(RECIPES[family], seed, scratch, args.templates)
            for sorter in [*args.sorters.split(","), *([BEFORE] if args.before else [])]:
                source = args.before / "src" if sorter == BEFORE else None
                row = Row(family, seed, load_facts(folder)["digest"], sorter, _version(sorter, source), machine())
                yield kept[row.key] if row.key in kept else _measured(row, folder, args.templates, source)
            if args.scratch is None:
                shutil.rmtree(folder)  # all of them would be a hundred gigabytes


def _version(sorter: str, source: Path | None) -> str:
    """What the result may depend on: of ours the code and the models, of the others their packages."""
    if sorter in {OURS, BEFORE}:
        package = source / "spikelab" if source else Path(spikelab.__file__).parent
        root, digest = package / "spike_sorting" / "rt_sort", hashlib.sha256()
        for path in sorted(p for p in root.rglob("*") if p.is_file() and p.suffix in {".py", ".json", ".npz", ".pt"}):
            digest.update(path.read_bytes())
        return f"spikelab {spikelab.__version__} {digest.hexdigest()[:12]}"
    packages = {"mountainsort5": "mountainsort5", "kilosort4": "kilosort"}
    try:
        return f"{version(packages[sorter])}" if sorter in packages else f"spikeinterface {version('spikeinterface')}"
    except ModuleNotFoundError:
        return "not installed"


def _measured(row: Row, folder: Path, templates: Path | None, source: Path | None) -> Row:
    """Sort, curate, compare."""
    if row.version == "not installed":
        return replace(row, problem="not installed")
    recipe = RECIPES[row.family]
    warm_up = make(recipe.warm_up, 0, folder.parent, templates)
    spikes = folder / f"{row.sorter}.npz"
    sorter = OURS if row.sorter == BEFORE else row.sorter
    kinds = {"curated": False} | ({"evident": True} if row.sorter == OURS else {})
    results = {name: folder / f"{row.sorter}_{name}.npz" for name in kinds}
    try:
        paths = {"recording": str(folder), "warm_up": str(warm_up), "result": str(spikes)}
        cost = measure("sort", module=TASKS, source=source, sorter=sorter, probe=recipe.probe, **paths)
        for name, by_evidence in kinds.items():
            paths = {"recording": str(folder), "spikes": str(spikes), "result": str(results[name])}
            measure("curate", module=TASKS, source=source, by_evidence=by_evidence, **paths)
    except subprocess.CalledProcessError as error:
        return replace(row, problem=f"failed with exit code {error.returncode}")

    def scored(path: Path) -> Score:
        return score_folder(folder, SpikeTrains.load(path).to_spikeinterface(recipe.fs))

    return replace(row, cost=cost, score=scored(spikes), **{name: scored(path) for name, path in results.items()})


if __name__ == "__main__":
    main()
