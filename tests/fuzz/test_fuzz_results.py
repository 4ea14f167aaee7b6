"""Results that were damaged: the same call heals them, to the byte, or names the file; so does who only reads them.

Every file of a results and an intermediate folder may be cut, emptied, spoilt, deleted, exchanged for another or for a
folder, or hold JSON of other types.
"""

from __future__ import annotations

import json
import logging
import random
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from harness import Case, damage_bytes, damage_json, failures, run_cases, table

from simulated import save_recording, simulate
from spikelab import SpikeData
from spikelab.spike_sorting import sort_recording
from spikelab.spike_sorting.run.results import Results

OUT, INTER = "out", "inter"
# What a run writes anew whatever is there, or carries the time of day; and the traces, which are looked at when
# something needs them.
WRITTEN_ANEW = (
    ".dat",
    "run.json",
    "report.html",
    ".log",
    "sorted.mat",
    "manifest.json",
    "files.json",
    "owner.json",
    ".toml",
    ".out",
)


def sort(folder: Path, recording: Path) -> SpikeData:
    return sort_recording(
        [recording],
        sorter="threshold",
        results_folders=[folder / OUT],
        intermediate_folders=[folder / INTER],
        delete_inter=False,
        create_figures=False,
        save_raw_pkl=True,
        n_jobs=1,
        spikes_min_first=5,
        spikes_min_second=5,
    )[0]


class Sorted:
    """A sort that was left alone, and copies of it that are not."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "undamaged"
        self.recording = save_recording(simulate(duration_s=2.0).recording, folder / "culture")
        sort(self.folder, self.recording)
        sort(self.folder, self.recording)  # nothing runs; what differs from call to call is written
        self.files = sorted(path.relative_to(self.folder) for path in self.folder.rglob("*") if path.is_file())
        self.bytes = {
            path: (self.folder / path).read_bytes() for path in self.files if not path.name.endswith(WRITTEN_ANEW)
        }

    def case(self, seed: int, use: Callable[[Path], str | None], files: list[Path]) -> Case:
        rng = random.Random(seed)
        path = rng.choice(files)
        how, damage = rng.choice(ways(path, self.files, rng))
        names = (path.name, str(path.parent), path.stem, how.rpartition("/")[2])
        return Case(f"{seed}: {path} {how}", partial(self.make, path, damage), use, names)

    def make(self, path: Path, damage: Callable[[Path], None], folder: Path) -> Path:
        shutil.copytree(self.folder, folder, dirs_exist_ok=True)
        damage(folder / path)
        return folder

    def healed(self, folder: Path) -> str | None:
        """Make the same call, and compare."""
        sort(folder, self.recording)
        for path, content in self.bytes.items():
            if not (folder / path).is_file():
                return f"{path} is not there"
            if (folder / path).read_bytes() != content:
                return f"{path} differs"
        rubbish = list(folder.rglob(".*"))
        return f"{rubbish} are left" if rubbish else None

    def read(self, path: Path, folder: Path) -> str | None:
        """Only read the results; nothing may be believed that is not what was written."""
        if path.suffix in (".npz", ".pkl") and path.name != "sorted.npz" and len(path.parts) == 2:
            try:
                return difference(SpikeData.load(folder / path), SpikeData.load(self.folder / path))
            except OSError as error:  # of the operating system, as for any file that is not there
                if error.filename != str(folder / path):
                    raise
                return None
        results, expected = Results.open(folder / OUT), Results.open(self.folder / OUT)
        wrong = difference(results.units, expected.units)
        wrong = wrong or difference(results.curation.sd_curated, expected.curation.sd_curated)
        if results.traces is None:
            return wrong
        return wrong or (None if results.traces.read_bytes() == expected.traces.read_bytes() else "other traces")


def difference(found: SpikeData, expected: SpikeData) -> str | None:
    for name in ("unit_ids", "metadata", "length"):
        if repr(getattr(found, name)) != repr(getattr(expected, name)):
            return f"{name} differs"
    for a, b in zip(found.train, expected.train, strict=True):
        if not np.array_equal(a, b):
            return "spikes differ"
    for one, other in zip(found.neuron_attributes, expected.neuron_attributes, strict=True):
        if one.keys() != other.keys() or not all(np.array_equal(one[name], other[name]) for name in one):
            return "attributes differ"
    return None


def ways(path: Path, files: list[Path], rng: random.Random) -> list[tuple[str, Callable[[Path], None]]]:
    """How a file can be damaged."""
    seed, other = rng.randrange(2**31), rng.choice([file for file in files if file != path])
    found: list[tuple[str, Callable[[Path], None]]] = [
        ("spoilt", partial(spoil, seed)),
        ("spoilt", partial(spoil, seed)),
        ("emptied", lambda file: file.write_bytes(b"")),
        ("cut", lambda file: file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])),
        ("deleted", Path.unlink),
        ("a folder", a_folder),
        (f"exchanged for {other}", partial(exchange, path, other)),
    ]
    return found + 3 * [("of other types", partial(retype, seed))] if path.suffix == ".json" else found


def spoil(seed: int, file: Path) -> None:
    file.write_bytes(damage_bytes(file.read_bytes() or b"x", random.Random(seed)))


def a_folder(file: Path) -> None:
    file.unlink()
    file.mkdir()


def exchange(path: Path, other: Path, file: Path) -> None:
    there = file.parents[len(path.parts) - 1] / other
    first, second = file.read_bytes(), there.read_bytes()
    file.write_bytes(second)
    there.write_bytes(first)


def retype(seed: int, file: Path) -> None:
    rng = random.Random(seed)
    content: Any = json.loads(file.read_text() or "{}")  # the mark of a folder that is not complete is empty
    for _ in range(rng.choice((1, 1, 3))):
        content = damage_json(content, rng)
    file.write_text(json.dumps(content).encode("utf-8", "surrogatepass").decode("utf-8", "replace"))


@pytest.fixture(scope="module")
def undamaged(tmp_path_factory: pytest.TempPathFactory) -> Sorted:
    logging.getLogger("spikelab").addHandler(logging.NullHandler())
    return Sorted(tmp_path_factory.mktemp("results"))


def seeds(few: int, many: int) -> list[Any]:
    """A few in every run of the tests, all in the slow ones."""
    return [pytest.param(range(few), id="few"), pytest.param(range(few, many), id="many", marks=pytest.mark.slow)]


@pytest.mark.parametrize("numbers", seeds(10, 200))
def test_the_same_call_heals_or_names_the_file(undamaged: Sorted, tmp_path: Path, numbers: range) -> None:
    cases = [undamaged.case(seed, undamaged.healed, undamaged.files) for seed in numbers]
    outcomes = run_cases(cases, tmp_path)
    assert not failures(outcomes), table(outcomes)
    # What cannot be healed: a folder with the name of a file, which may be somebody's, and a folder without our mark.
    refused = [outcome for outcome in outcomes if outcome.kind != "ok"]
    assert all("a folder" in outcome.name or "owner.json" in outcome.name for outcome in refused), refused


@pytest.mark.parametrize("numbers", seeds(15, 200))
def test_who_reads_is_told(undamaged: Sorted, tmp_path: Path, numbers: range) -> None:
    read = [path for path in undamaged.files if path.suffix in (".json", ".npz", ".npy", ".pkl", ".toml", ".dat")]
    cases = []
    for seed in numbers:
        path = random.Random(1000 + seed).choice(read)
        cases.append(undamaged.case(seed, partial(undamaged.read, path), [path]))
    outcomes = run_cases(cases, tmp_path)
    assert not failures(outcomes), table(outcomes)
