"""Settings, lists of recordings, job files and records of runs, damaged at random: refused in words, or read aright."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tomli_w
from harness import Case, damage_json, damage_text, failures, run_cases, table

SETTINGS = """\
[recording]
freq_min = 300
freq_max = 6000
stream_id = "none"
rec_chunks_s = [[0.0, 5.0], [7.5, 9.0]]

[sorter]
sorter_name = "threshold"
sorter_params = { detect_threshold = 5.0, names = ["a", "b"] }

[curation]
snr_min = 4.5
fr_min = "none"

[execution]
total_memory = "4G"
n_jobs = 2
"""
LIST = """\
[defaults]
sorter = "threshold"
results = "results"
config = { snr_min = 4, n_jobs = 1 }

[[recording]]
file = "day1.dat"

[[recording]]
file = "day[23].dat"
config = { snr_min = 8 }
results = "others"
"""
ROWS = """\
file,stream,sorter,results,config
day1.dat,,threshold,one,snr_min=4; n_jobs=1
"day2.dat",,threshold,two,"snr_min=8;fr_min=none"
,,,,
day3.dat,,threshold,three,
"""
RECORD: dict[str, Any] = {
    "status": "running",
    "stage": "sorting",
    "attempts": [{"error": None, "wall_s": 3.0}],
    "host": {"node": "elsewhere"},
    "process": {"pid": 3, "machine": "elsewhere", "numbers": "", "started": 1.0},
    "started": "2026-11-29T10:00:00+0000",
    "finished": "2026-11-29T10:30:00+0000",
    "error": {"class": "ValueError", "message": "bad"},
    "stages": {"recording": {"wall_s": 3.5}, "sorting": {"wall_s": 60.0}},
}
# What a file may be instead of a file.
ODD_FILES: tuple[Callable[[Path], object], ...] = (
    lambda path: path.mkdir(),
    lambda path: os.mkfifo(path),
    lambda path: path.symlink_to(path.name),
    lambda path: path.symlink_to("/dev/zero"),
    lambda path: path.write_bytes(b"\0" * 1000),
)
ODD_ROWS = (
    "=",
    '"',
    ";;;;",
    "\r",
    "\r\r\n",
    ",,,,,,,,",
    "\0",
    '"a"b',
    "x" * 200_000,
    "\ufeff",
    "~nobody/x.dat",
    "a\nb",
)


def _write(path: Path, content: bytes, rng: random.Random) -> Path:
    """Write the file, now and then something else in its place."""
    if rng.random() < 0.06:
        rng.choice(ODD_FILES)(path)
    else:
        path.write_bytes(content)
    return path


def _damaged(text: str, parsed: Any, rng: random.Random, dump: Callable[[Any], str]) -> bytes:
    """Spoil the text, or one value in what it holds."""
    if rng.random() < 0.4:
        try:
            return dump(damage_json(parsed, rng)).encode()
        except (TypeError, ValueError, AttributeError):  # a value that the format does not have
            pass
    return damage_text(text, rng)


def _dump_json(value: Any) -> str:
    return json.dumps(value, indent=0)


def settings_case(seed: int) -> Case:
    import tomllib

    rng = random.Random(f"settings {seed}")
    content = _damaged(SETTINGS, tomllib.loads(SETTINGS), rng, tomli_w.dumps)

    def use(path: Path) -> str | None:
        from spikelab.cli._settings import what_is_wanted
        from spikelab.spike_sorting import config_from_toml, config_to_toml

        config = what_is_wanted(None, path).config
        return None if config_from_toml(config_to_toml(config)) == config else "not what it was when written and read"

    # A setting's own message names the setting.
    names = ("run.toml", "[", "'", "Unknown", "must")
    return Case(f"settings {seed}", lambda folder: _write(folder / "run.toml", content, rng), use, names)


def _recordings(folder: Path) -> None:
    for day in (1, 2, 3):
        (folder / f"day{day}.dat").write_bytes(b"\0" * 64)


def list_case(seed: int) -> Case:
    import tomllib

    rng = random.Random(f"list {seed}")
    as_table = seed % 2 == 0
    name = "list.toml" if as_table else "list.csv"
    if as_table:
        content = _damaged(LIST, tomllib.loads(LIST), rng, tomli_w.dumps)
    elif rng.random() < 0.4:
        lines = ROWS.splitlines(keepends=True)
        at = rng.randrange(len(lines))
        cells = lines[at].split(",")
        cells[rng.randrange(len(cells))] = rng.choice(ODD_ROWS)
        content = "".join([*lines[:at], ",".join(cells), *lines[at + 1 :]]).encode()
    else:
        content = damage_text(ROWS, rng)

    def make(folder: Path) -> Path:
        _recordings(folder)
        return _write(folder / name, content, rng)

    def use(path: Path) -> str | None:
        from spikelab.spike_sorting.distributed import read_manifest

        jobs = read_manifest(path)
        folders = {job.results for job in jobs}
        return None if jobs and len(folders) == len(jobs) else "no jobs, or two in one folder"

    return Case(f"list {seed}", make, use)


@pytest.mark.parametrize(("name", "text"), [("list.toml", LIST), ("list.csv", ROWS)])
def test_the_lists_that_are_damaged_are_right_themselves(name: str, text: str, tmp_path: Path) -> None:
    from spikelab.spike_sorting.distributed import read_manifest

    _recordings(tmp_path)
    (tmp_path / name).write_text(text, encoding="utf-8")
    jobs = read_manifest(tmp_path / name)
    assert [job.name for job in jobs] == ["day1", "day2", "day3"]
    assert [job.config.curation.snr_min for job in jobs] == ([4, 8, 8] if name == "list.toml" else [4, 8, 5.0])


def job_case(seed: int) -> Case:
    rng = random.Random(f"job {seed}")

    def make(folder: Path) -> Path:
        import tomllib

        from spikelab.spike_sorting.batch.jobfile import write_job
        from spikelab.spike_sorting.config import KILOSORT4
        from spikelab.spike_sorting.run.jobs import Job

        _recordings(folder)
        path = folder / "0_day1.toml"
        config = KILOSORT4.override(snr_min=4.5, sorter_params={"batch_size": 30_000})
        write_job(Job(folder / "day1.dat", "day1", config, folder / "r", folder / "i"), path)
        text = path.read_text()
        path.unlink()
        return _write(path, _damaged(text, tomllib.loads(text), rng, tomli_w.dumps), rng)

    def use(path: Path) -> str | None:
        from spikelab.spike_sorting.batch.jobfile import read_job

        job = read_job(path)
        return None if isinstance(job.name, str) and job.results.is_absolute() else "a job without a name or folder"

    return Case(f"job {seed}", make, use)


def record_case(seed: int) -> Case:
    rng = random.Random(f"record {seed}")
    kind = ("run.json", "batch.json")[seed % 4 == 0]

    def make(folder: Path) -> Path:
        (folder / "r").mkdir()
        batch = {"jobs": [{"name": "day1", "results": str(folder / "r")}]}
        held = RECORD if kind == "run.json" else batch
        texts = {"run.json": _dump_json(RECORD), "batch.json": _dump_json(batch)}
        places = {"run.json": folder / "r" / "run.json", "batch.json": folder / "batch.json"}
        for name, path in places.items():
            if name != kind:
                path.write_text(texts[name])
        _write(places[kind], _damaged(texts[kind], held, rng, _dump_json), rng)
        return folder

    def use(path: Path) -> str | None:
        from spikelab.cli import _batch

        header, *rows, blank, counts = _batch.status(path).splitlines()
        told = header.startswith("recording") and rows and not blank and counts[:1].isdigit()
        return None if told else "a recording is not told of"

    return Case(f"record {seed}", make, use, names=("",))


KINDS = {
    "settings": (settings_case, 80),
    "lists": (list_case, 120),
    "jobs": (job_case, 60),
    "records": (record_case, 40),
}


def _prepare() -> int:
    import spikelab.cli._batch
    import spikelab.cli._settings
    import spikelab.spike_sorting.distributed  # noqa: F401

    return 0


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_damaged_texts_are_refused_in_words(kind: str, tmp_path: Path) -> None:
    case, n = KINDS[kind]
    outcomes = run_cases([case(seed) for seed in range(n)], tmp_path, prepare=_prepare)
    assert not failures(outcomes), table(outcomes)
    assert len(outcomes) == n


def test_a_sample_of_damaged_texts_is_refused_in_words(tmp_path: Path) -> None:
    """Of other seeds than the long run has."""
    cases = [case(seed) for case, n in KINDS.values() for seed in range(1000, 1000 + n // 10)]
    outcomes = run_cases(cases, tmp_path, timeout_s=60.0, prepare=_prepare)
    assert not failures(outcomes), table(outcomes)
