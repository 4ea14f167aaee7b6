"""The wheel holds the bundled models, and they run from it without torch."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
USE = """
import sys
sys.modules["torch"] = None
import numpy as np
from spikelab.spike_sorting.rt_sort.detection import model
from spikelab.spike_sorting.rt_sort.detection.peaks import detect_peaks
assert model.__file__.startswith(sys.argv[1]), model.__file__
traces = np.random.default_rng(0).normal(0, 8, (3000, 2)).astype(np.float32)
for probe in model.BUNDLED:
    print(len(detect_peaks(traces, model.ModelSpikeSorter.load_bundled(probe), 20_000.0)))
"""


def test_bundled_models_are_in_the_wheel(tmp_path: Path) -> None:
    pytest.importorskip("hatchling")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, cwd=ROOT, check=True, timeout=120, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    site = tmp_path / "site"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
        names = archive.namelist()
    for probe in ("mea", "neuropixels"):
        for name in ("init_dict.json", "state_dict.pt", "model_card.md"):
            assert f"spikelab/spike_sorting/rt_sort/detection/models/{probe}/{name}" in names
    environment = os.environ | {"PYTHONPATH": str(site)}
    command = [sys.executable, "-c", USE, str(site)]
    subprocess.run(command, cwd=tmp_path, env=environment, check=True, timeout=240)
