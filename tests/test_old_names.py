"""Names of modules that users may have met keep working for one release, with a warning."""

from __future__ import annotations

import importlib
import sys

import pytest

import spikelab.spike_sorting.exchange.formats.nwb as nwb
from spikelab.spike_sorting.data import BinaryRecording, SpikeTrains


@pytest.fixture(autouse=True)
def _forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("spikelab.spike_sorting.handoffs")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delitem(sys.modules, "spikelab.spike_sorting._types", raising=False)


def test_types_are_those_of_data() -> None:
    with pytest.warns(DeprecationWarning, match=r"is now spikelab\.spike_sorting\.data"):
        old = importlib.import_module("spikelab.spike_sorting._types")
    assert old.SpikeTrains is SpikeTrains
    assert old.BinaryRecording is BinaryRecording


def test_handoffs_are_the_formats() -> None:
    with pytest.warns(DeprecationWarning, match=r"is now spikelab\.spike_sorting\.exchange\.formats"):
        old = importlib.import_module("spikelab.spike_sorting.handoffs.nwb")
    assert old is nwb
