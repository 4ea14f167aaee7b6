"""How much memory the process takes, measured from outside of the code."""

import json
import os
import subprocess
import sys

import pytest

CHILD = """
import json, sys
from pathlib import Path
import numpy as np, psutil
from spikelab.system import resources as _resources
from spikelab.spike_sorting.data import BinaryRecording, Epoch, SpikeTrains
from spikelab.spike_sorting.config import WaveformConfig
from spikelab.spike_sorting.waveforms import compute_waveforms

def peak_memory_mib():
    status = Path("/proc/self/status")  # the other measure starts at the peak of the parent
    if not status.exists():
        return _resources.peak_memory_mib()
    line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 2**10

def added(n_samples, n_channels=100, n_units=1000):
    path = Path(sys.argv[1]) / f"{n_samples}.dat"
    with path.open("wb") as file:
        file.truncate(2 * n_samples * n_channels)
    binary = BinaryRecording(path, n_samples, n_channels, 20_000.0, 0.1, tuple(map(str, range(n_channels))),
                             np.zeros((n_channels, 2)), None, (Epoch(0, n_samples),))
    trains = SpikeTrains.from_dict({u: np.arange(100 + u, n_samples - 100, 20_000) for u in range(n_units)})
    compute_waveforms(binary, trains, WaveformConfig(), seed=1, n_jobs=2, total_memory=sys.argv[2])
    return peak_memory_mib() - before

before = 0
added(30_000, n_units=2)
before = psutil.Process().memory_info().rss / 2**20
added(400_000)  # what the allocator keeps for the next time is not a matter of length
print(json.dumps([added(400_000), added(2_000_000)]))
"""


@pytest.mark.parametrize("total_mib", [150, 300])
def test_total_memory_bounds_the_process_and_length_adds_nothing(tmp_path, total_mib):
    # Results take 62 MiB and a chunk up to 64; running sums would take 124 if they were allowed to.
    command = [sys.executable, "-c", CHILD, str(tmp_path), f"{total_mib}M"]
    # Arrays go back to the system when they are freed; else what glibc keeps of those up to 32 MiB is a matter of luck.
    environment = os.environ | {"MALLOC_MMAP_THRESHOLD_": str(2**20)}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    short, long = json.loads(done.stdout.splitlines()[-1])
    assert short < total_mib
    # Pages of the file count too, and how many of them are mapped around those that are read is the kernel's choice.
    assert long < 1.1 * short + 16
