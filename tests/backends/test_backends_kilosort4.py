"""Kilosort 4 on the CPU: the backend against Kilosort called directly on the same binary. Minutes."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from spikelab.spike_sorting.backends.kilosort4 import Kilosort4Backend
from spikelab.spike_sorting.data import BinaryRecording, SpikeTrains

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("kilosort") is None, reason="kilosort is not installed"),
]

# Kilosort itself, in a process of its own, without SpikeInterface or anything of ours.
DIRECT = """
import json, sys
import numpy as np, torch
from kilosort import run_kilosort
job = json.loads(sys.argv[1])
x, y = np.array(job["locations"]).T.astype("float32")
probe = dict(chanMap=np.arange(len(x)), xc=x, yc=y, kcoords=np.zeros(len(x)), n_chan=len(x))
_, st, clu, *_ = run_kilosort(settings=job["settings"], probe=probe, filename=job["path"], results_dir=job["out"],
                              device=torch.device("cpu"))
np.savez(job["spikes"], frames=st[:, 0], clusters=clu)
"""


def directly(binary: BinaryRecording, params: dict, folder: Path) -> SpikeTrains:
    settings = {
        "n_chan_bin": binary.n_channels,
        "fs": binary.sampling_frequency,
        "highpass_cutoff": params["highpass_cutoff"],
        "cluster_init_seed": params["cluster_init_seed"],
        "nblocks": 0,
    }
    job = {
        "locations": binary.locations.tolist(),
        "settings": settings,
        "path": str(binary.path),
        "out": str(folder / "direct"),
        "spikes": str(folder / "direct.npz"),
    }
    subprocess.run([sys.executable, "-c", DIRECT, json.dumps(job)], check=True, capture_output=True)
    with np.load(folder / "direct.npz") as spikes:
        frames, clusters = spikes["frames"].astype(np.int64), spikes["clusters"]
    return SpikeTrains.from_dict({int(c): frames[clusters == c] for c in np.unique(clusters)})


def agreement(one: np.ndarray, other: np.ndarray) -> float:
    """Spikes in common (within one frame) over all spikes."""
    nearest = np.abs(one[:, None] - other[None, :]).min(axis=1)
    common = int((nearest <= 1).sum())
    return common / (len(one) + len(other) - common)


def test_same_spikes_as_kilosort_itself(small_recording: BinaryRecording, make_config, tmp_path: Path) -> None:
    given = {"torch_device": "cpu", "do_correction": False}
    backend = Kilosort4Backend(make_config("kilosort4", given))
    sorting = backend.sort(small_recording.to_spikeinterface(), None, tmp_path / "x.dat", tmp_path / "out")
    ours = SpikeTrains.from_spikeinterface(sorting)
    params = json.loads((tmp_path / "out" / "run" / "job.json").read_text(encoding="utf-8"))["params"]
    theirs = directly(small_recording, params, tmp_path)
    assert ours.n_units == theirs.n_units
    assert ours.n_units >= 2
    for train in theirs.samples:
        assert max(agreement(train, other) for other in ours.samples) > 0.95
    assert "kilosort" not in sys.modules
