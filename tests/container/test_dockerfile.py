"""The image of the Dockerfile: its steps, which run as a shell script in a fresh environment, and a batch in it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tomllib
from fnmatch import fnmatch
from pathlib import Path

import pytest
from tests.container.steps import ROOT, instructions, script
from tests.docs.recordings import write_one

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
PAGE = (ROOT / "docs" / "howto" / "docker_and_clusters.md").read_text(encoding="utf-8")


def arguments_of(name: str) -> list[str]:
    return [arguments for found, arguments in instructions() if found == name]


def test_the_image_is_built_from_the_constraints_for_a_python_of_the_project() -> None:
    (base,) = arguments_of("FROM")
    version = re.fullmatch(r"python:(3\.\d+)-slim", base)
    assert version is not None
    assert f"Programming Language :: Python :: {version[1]}" in PROJECT["classifiers"]
    (install,) = [step for step in arguments_of("RUN") if "pip install" in step]
    extras = re.search(r'-c constraints\.txt "\.\[(.+)\]"$', install)
    assert extras is not None
    assert set(extras[1].split(",")) <= set(PROJECT["optional-dependencies"])
    assert json.loads(arguments_of("ENTRYPOINT")[0]) == ["spikelab"]


def test_what_is_copied_is_there_and_not_ignored() -> None:
    ignored = [line for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines() if line[:1] != "#"]
    assert ignored[0] == "*"
    copied = [source for step in arguments_of("COPY") for source in step.split()[:-1]]
    assert sorted(copied) == sorted(line[1:] for line in ignored if line.startswith("!"))
    assert all((ROOT / source).exists() for source in copied)
    # all that the build of the package reads
    assert {"pyproject.toml", PROJECT["readme"], *PROJECT["license-files"]} <= set(copied)
    assert not any(fnmatch(source, "**/__pycache__") for source in copied)


def test_every_instruction_is_a_step_of_the_script(tmp_path: Path) -> None:
    text = script(tmp_path)
    for step in arguments_of("RUN"):
        assert all(part in text for part in re.split(r"/(?:opt|data|tmp)\b", step))
    assert "/opt/" not in text.replace(f"{tmp_path}/", "")
    assert f"export NUMBA_CACHE_DIR={tmp_path}/opt/cache/numba" in text
    assert text.endswith('\nspikelab "$@"\n')


def test_the_page_has_the_commands_of_the_dockerfile() -> None:
    comment = re.findall(r"^#   (docker .*)$", (ROOT / "Dockerfile").read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert len(comment) == 2
    assert all(command in PAGE for command in comment)


BATCH = """
[defaults]
sorter = "rt_sort"
results = "results"
config = { n_jobs = 1, total_memory = "2G" }

[[recording]]
file = "day*.raw.h5"
"""


@pytest.mark.slow
@pytest.mark.timeout(3600)  # it installs
@pytest.mark.skipif(sys.platform == "win32" or shutil.which("bash") is None, reason="a shell script")
def test_the_steps_run_and_sort_a_batch(tmp_path: Path) -> None:
    """From an empty folder: install, demo, then two recordings of /data on one worker."""
    for name in ("opt", "data", "tmp"):
        (tmp_path / name).mkdir()
    for seed in range(2):
        write_one(tmp_path / "data" / f"day{seed + 1}.raw.h5", seed)
    (tmp_path / "data" / "list.toml").write_text(BATCH, encoding="utf-8")
    command = ["bash", "-c", script(tmp_path), "spikelab", "batch", "list.toml", "--workers", "1"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=3500, cwd=tmp_path)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    results = tmp_path / "data" / "results"
    for name in ("day1", "day2"):
        assert (results / f"sorted_rt_sort_{name}" / "report.html").is_file()
    assert list((tmp_path / "opt" / "cache" / "numba").rglob("*.nbc"))
    assert not list((tmp_path / "tmp").iterdir())
