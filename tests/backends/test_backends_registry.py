"""Sorters by name: built in, of plugins, of SpikeInterface, unknown."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import EntryPoint
from typing import TYPE_CHECKING

import pytest

from spikelab.spike_sorting._exceptions import SorterNotInstalledError
from spikelab.spike_sorting.backends import get_backend_class, list_sorters, refresh_sorters, registry
from spikelab.spike_sorting.backends.kilosort2 import Kilosort2Backend
from spikelab.spike_sorting.backends.kilosort4 import Kilosort4Backend
from spikelab.spike_sorting.backends.rt_sort import RTSortBackend
from spikelab.spike_sorting.backends.threshold import ThresholdBackend

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from spikelab.spike_sorting.backends.base import SorterBackend


@pytest.fixture(autouse=True)
def _found_anew() -> Iterator[None]:
    refresh_sorters()
    yield
    refresh_sorters()


def plugins(monkeypatch: pytest.MonkeyPatch, **points: str) -> None:
    found = [EntryPoint(name, value, registry.ENTRY_POINT_GROUP) for name, value in points.items()]
    monkeypatch.setattr(registry, "entry_points", lambda group: found if group == "spikelab.sorters" else [])


def test_names() -> None:
    assert {"kilosort2", "kilosort4", "rt_sort", "threshold"} <= set(list_sorters())


@pytest.mark.parametrize(
    ("name", "cls"),
    [
        ("kilosort2", Kilosort2Backend),
        ("kilosort4", Kilosort4Backend),
        ("rt_sort", RTSortBackend),
        ("threshold", ThresholdBackend),
    ],
)
def test_classes(name: str, cls: type[SorterBackend]) -> None:
    assert get_backend_class(name) is cls
    assert cls.sorter_label == name


def test_unknown_sorter_lists_those_there_are() -> None:
    with pytest.raises(ValueError, match=r"Unknown sorter 'kilosort5'.*kilosort2.*threshold.*Did you mean 'kilosort"):
        get_backend_class("kilosort5")
    with pytest.raises(ValueError, match="Unknown sorter 'xyz'") as caught:
        get_backend_class("xyz")
    assert "Did you mean" not in str(caught.value)


def test_spikeinterface_sorters() -> None:
    cls = get_backend_class("spikeinterface:simple")
    assert (cls.sorter_label, cls.__mro__[1].__name__) == ("simple", "SpikeInterfaceBackend")
    with pytest.raises(ValueError, match=r"Unknown sorter 'spikeinterface:tridesclous3'.*simple.*tridesclous2'"):
        get_backend_class("spikeinterface:tridesclous3")


def test_missing_dependency_of_a_built_in_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry.BUILT_IN, "rt_sort", "no_such_package.module:RTSortBackend")
    with pytest.raises(ModuleNotFoundError, match="no_such_package"):
        get_backend_class("rt_sort")


def test_broken_plugin_names_its_fix_and_breaks_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    plugins(monkeypatch, broken="no_such_package.sorter:Backend", wrong="nowhere:Nothing", kilosort4="a:B")
    assert list_sorters() == ["kilosort2", "kilosort4", "rt_sort", "broken", "wrong"]
    assert get_backend_class("kilosort4") is Kilosort4Backend
    with pytest.raises(SorterNotInstalledError, match=r"'broken'.*No module named 'no_such_package'.*pip install"):
        get_backend_class("broken")
    with pytest.raises(SorterNotInstalledError):
        get_backend_class("wrong")


def test_plugin_that_is_no_backend_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    plugins(monkeypatch, wrong="pathlib:Path")
    with pytest.raises(SorterNotInstalledError, match="is no SorterBackend"):
        get_backend_class("wrong")


def test_import_is_light() -> None:
    heavy = "spikeinterface torch kilosort numba matplotlib scipy sklearn"
    code = f"""
import sys
from spikelab.spike_sorting.backends import list_sorters
list_sorters()
print([name for name in {heavy.split()!r} if name in sys.modules])
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_a_plugin_that_is_installed_meanwhile_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    assert "newcomer" not in list_sorters()
    installed = tmp_path / "newcomer-1.dist-info"
    installed.mkdir()
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: newcomer\nVersion: 1\n")
    (installed / "entry_points.txt").write_text("[spikelab.sorters]\nnewcomer = a:B\n")
    refresh_sorters()
    assert "newcomer" in list_sorters()
