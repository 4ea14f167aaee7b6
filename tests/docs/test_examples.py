"""The examples in the docstrings of the public API run; every function and class of docs/api.md but the errors has one.

An example is a session of its own in a folder that holds the recordings and results that it names (see `recordings`).
"""

from __future__ import annotations

import doctest
import inspect
import re
import warnings
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from tests.docs.recordings import make_those_named
from tests.docs.test_blocks import HARMLESS

API = Path(__file__).resolve().parents[2] / "docs" / "api.md"


def found(path: str) -> Any:
    """The object at a dotted path."""
    module, _, name = path.rpartition(".")
    try:
        return getattr(import_module(module), name)
    except ModuleNotFoundError:
        return getattr(found(module), name)


def listed() -> list[str]:
    """Dotted paths of the functions and classes that the page documents, without the methods of classes."""
    paths = []
    for kind, path, options in re.findall(r"\.\. auto(\w+):: (\S+)\n((?: {3,}.*\n)*)", API.read_text(encoding="utf-8")):
        if kind != "module":
            paths.append(path)
            continue
        module = import_module(path)
        members = re.search(r":members:((?:.|\n)*?)(?:\n +:|\Z)", options)
        names = re.findall(r"\w+", members[1]) if members else []
        paths += [f"{path}.{name}" for name in names or getattr(module, "__all__", None) or own_names(module)]
    return paths


def own_names(module: Any) -> list[str]:
    return [
        name
        for name, value in vars(module).items()
        if not name.startswith("_") and getattr(value, "__module__", "") == module.__name__ and callable(value)
    ]


def docstrings(path: str) -> dict[str, str]:
    """Docstrings with examples: of the object itself and, for a class, of its methods."""
    value = found(path)
    members = {path: value}
    if inspect.isclass(value):
        kinds = [kind for kind in reversed(value.__mro__) if kind.__module__.startswith("spikelab")]  # bases first
        own = {name: member for kind in kinds for name, member in vars(kind).items() if not name.startswith("_")}
        members |= {f"{path}.{name}": member for name, member in own.items()}
    texts = {name: inspect.getdoc(member) or "" for name, member in members.items()}
    return {name: text for name, text in texts.items() if ">>>" in text}


PATHS = listed()


def test_every_function_and_class_has_an_example() -> None:
    assert len(PATHS) > 30
    missing = {path for path in PATHS if path not in docstrings(path) and "._exceptions." not in path}
    assert missing == set()


def test_every_method_of_spike_data_has_an_example() -> None:
    from spikelab import SpikeData

    public = {name for name in dir(SpikeData) if not name.startswith("_")}
    shown = {path.rpartition(".")[2] for path in docstrings("spikelab.SpikeData")}
    plain = {"N", "end_time", "unit_ids", "spike_counts", "to_pynapple"}  # a line says it; pynapple may be missing
    assert public - shown == plain


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Made once for all: to sort takes seconds."""
    return tmp_path_factory.mktemp("examples")


@pytest.mark.parametrize("path", [path for path in PATHS if docstrings(path)])
def test_the_examples_run(path: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    for name, text in docstrings(path).items():
        make_those_named(text, folder)
        names = dict(vars(inspect.getmodule(found(path))))
        session = doctest.DocTestParser().get_doctest(text, names, name, None, 0)
        shown: list[str] = []
        with warnings.catch_warnings():
            for message in HARMLESS:
                warnings.filterwarnings("ignore", message, UserWarning)
            runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE, verbose=False)
            runner.run(session, out=shown.append)
        assert not runner.failures, "".join(shown)
