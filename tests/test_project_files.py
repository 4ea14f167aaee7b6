"""What stands around the code agrees with it: versions, workflow, hooks, forms, the first line of a failed make."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

import spikelab

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
PYTHONS = ["3.11", "3.12", "3.13", "3.14"]


def read(name: str) -> Any:
    return yaml.safe_load((ROOT / name).read_text(encoding="utf-8"))


def recipe(target: str) -> list[str]:
    """The commands of a target of the Makefile, without the environment before each program."""
    found = re.search(rf"^{target}:.*\n((?:\t.*\n)+)", MAKEFILE, re.MULTILINE)
    assert found is not None
    return [line.strip().removeprefix("$(VENV)/bin/") for line in found[1].splitlines()]


def git(*arguments: str) -> list[str]:
    try:
        done = subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True, text=True, check=False)
    except OSError:
        pytest.skip("no git")
    if done.returncode:
        pytest.skip("not a clone")
    return done.stdout.split()


def test_a_tag_is_the_version() -> None:
    versions = [tag.removeprefix("v") for tag in git("tag", "--points-at", "HEAD") if re.match(r"v\d", tag)]
    assert versions in ([], [spikelab.__version__])


def test_changelog_and_citation_have_the_version() -> None:
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    heading = re.search(r"^## (?:Unreleased \((.+)\)|\[?([\d.]+)\]?.*)$", changelog, re.MULTILINE)
    assert heading is not None
    assert spikelab.__version__ in heading.groups()
    assert read("CITATION.cff")["version"] == spikelab.__version__


def test_citation_has_what_its_format_requires() -> None:
    citation = read("CITATION.cff")
    assert {"cff-version", "message", "title", "authors"} <= set(citation)
    assert citation["authors"] == PROJECT["authors"] == [{"name": "spikelab developers"}]
    assert citation["license"] == PROJECT["license"]


def test_classifiers_exist_and_are_the_pythons_of_the_workflow() -> None:
    classifiers = pytest.importorskip("trove_classifiers").classifiers
    assert set(PROJECT["classifiers"]) <= classifiers
    named = [line.rpartition(" ")[2] for line in PROJECT["classifiers"] if re.search(r":: 3\.\d+$", line)]
    assert named == PYTHONS
    assert PROJECT["requires-python"] == f">={PYTHONS[0]}"


def test_the_workflow_has_three_systems_all_pythons_and_the_oldest_versions() -> None:
    workflow = read(".github/workflows/tests.yml")
    assert set(workflow[True]) == {"push", "pull_request"}  # YAML 1.1 reads `on` as true
    jobs = workflow["jobs"]
    matrix = jobs["test"]["strategy"]["matrix"]
    assert matrix["python"] == PYTHONS
    assert [name.partition("-")[0] for name in matrix["os"]] == ["ubuntu", "macos", "windows"]
    for job in jobs.values():
        assert [key for step in job["steps"] for key in step if key not in ("uses", "with", "run")] == []
    of = {name: "\n".join(step.get("run", "") for step in job["steps"]) for name, job in jobs.items()}
    assert "make lint" in of["lint"]
    assert "--resolution lowest-direct" in of["oldest"]
    tests = recipe("tests")[0].removeprefix("python ")
    assert tests in of["test"]
    assert tests in of["oldest"]
    for extra in re.findall(r'-e "\.\[(.+?)\]"', "\n".join(of.values())):
        assert set(extra.split(",")) <= set(PROJECT["optional-dependencies"])


def test_hooks_are_the_commands_of_make_lint() -> None:
    (repo,) = read(".pre-commit-config.yaml")["repos"]
    assert repo["repo"] == "local"  # no network
    hooks = [Path(hook["entry"].split()[0]).name for hook in repo["hooks"]]
    assert sorted({*hooks}) == sorted({line.split()[0] for line in recipe("lint")})


@pytest.mark.parametrize("form", ["bug", "feature"])
def test_forms_are_what_they_have_to_be(form: str) -> None:
    content = read(f".github/ISSUE_TEMPLATE/{form}.yml")
    assert {"name", "description", "body"} <= set(content)
    ids = [field["id"] for field in content["body"]]
    assert len(ids) == len(set(ids))
    for field in content["body"]:
        assert field["type"] in ("textarea", "input")
        assert field["attributes"]["label"]


@pytest.mark.skipif(shutil.which("make") is None or sys.platform == "win32", reason="there is no make")
@pytest.mark.parametrize(("version", "told"), [(None, "missing"), ("3.10.1", "Python 3.10.1")])
def test_make_says_first_which_python_it_needs(tmp_path: Path, version: str | None, told: str) -> None:
    python = tmp_path / "python"
    if version is not None:
        python.write_text(f'#!/bin/sh\n[ "$1" = --version ] && echo Python {version}\n', encoding="utf-8")
        python.chmod(0o755)
    for target in ("demo", "test", "lint"):
        command = ["make", "-s", "-C", str(ROOT), target, f"VENV={tmp_path / 'venv'}", f"PYTHON={python}"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode != 0
        assert f"spikelab needs Python 3.11 or newer, and {python} is {told};" in done.stdout.splitlines()[0]
        assert not (tmp_path / "venv").exists()


@pytest.mark.skipif(shutil.which("make") is None or sys.platform == "win32", reason="there is no make")
def test_make_says_so_of_an_environment_that_is_there_already(tmp_path: Path) -> None:
    python = tmp_path / "bin" / "python"
    python.parent.mkdir()
    python.write_text('#!/bin/sh\n[ "$1" = --version ] && echo Python 3.10.1\n', encoding="utf-8")
    python.chmod(0o755)
    for target in ("demo", "test"):
        command = ["make", "-s", "-C", str(ROOT), target, f"VENV={tmp_path}"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode != 0
        (line,) = done.stdout.splitlines()
        assert line.startswith(f"spikelab needs Python 3.11 or newer, and {python} is Python 3.10.1; remove the folder")
