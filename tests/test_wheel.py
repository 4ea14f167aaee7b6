"""The wheel has what the package needs where there is no clone: RT-Sort's detection models."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
LOAD = """
import json, sys
import spikelab
from spikelab.spike_sorting.rt_sort import ModelSpikeSorter
from spikelab.spike_sorting.rt_sort.detection.model import BUNDLED
for probe in BUNDLED:
    assert ModelSpikeSorter.load_bundled(probe).layers
print(json.dumps({"file": spikelab.__file__, "probes": BUNDLED, "torch": "torch" in sys.modules}))
"""


@pytest.mark.skipif(importlib.util.find_spec("hatchling") is None, reason="hatchling builds the wheel")
def test_wheel_has_the_detection_models(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path), str(ROOT)]
    subprocess.run(build, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    installed = tmp_path / "installed"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(installed)
    done = subprocess.run(
        [sys.executable, "-c", LOAD],
        check=True, capture_output=True, text=True, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(installed)},
    )  # fmt: skip
    told = json.loads(done.stdout)
    assert Path(told["file"]).is_relative_to(installed)
    assert told["probes"] == ["mea", "neuropixels"]
    assert not told["torch"]
