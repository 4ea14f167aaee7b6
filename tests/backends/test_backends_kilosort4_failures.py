"""Kilosort 4 on recordings that it cannot sort, past the look at the data that usually stops them. Minutes.

A GPU is not needed: that its memory runs out is played by a function of PyTorch that fails as CUDA does.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from simulated import simulate_dense
from spikelab.spike_sorting import sort_recording
from spikelab.spike_sorting._exceptions import InsufficientActivityError
from spikelab.spike_sorting.backends.isolation.error import SorterProcessError
from spikelab.spike_sorting.backends.kilosort4 import Kilosort4Backend
from spikelab.spike_sorting.data import BinaryRecording

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("kilosort") is None, reason="kilosort is not installed"),
]

ON_CPU = {"torch_device": "cpu", "do_correction": False}
# A GPU on which a batch of more than 40 000 samples does not fit.
SMALL_GPU = """
import torch

fft = torch.fft.fft


def small_fft(x, *args, **kwargs):
    if x.shape[-1] > 40_000:
        raise torch.OutOfMemoryError(
            "CUDA out of memory. Tried to allocate 1.61 GiB. GPU 0 has a total capacity of 8.00 GiB of which 0 bytes "
            "is free."
        )
    return fft(x, *args, **kwargs)


torch.fft.fft = small_fft
"""

CASES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "silence": np.zeros_like,
    "rail": lambda counts: np.full_like(counts, np.iinfo(np.int16).max),
    "volts": lambda counts: (counts * 0.1 * 1e-6).astype(np.int16),
    "noise": lambda counts: np.round(np.random.default_rng(0).normal(0, 80, counts.shape)).astype(np.int16),
    "one second": lambda counts: counts[:20_000],
    "fifty milliseconds": lambda counts: counts[:1_000],
}


@pytest.mark.parametrize("case", CASES)
def test_nothing_to_sort(case: str, small_recording: BinaryRecording, make_binary, make_config, tmp_path: Path) -> None:
    counts = np.fromfile(small_recording.path, dtype=np.int16).reshape(-1, small_recording.n_channels)
    binary = make_binary(CASES[case](counts), tmp_path / "traces.dat", small_recording.locations)
    backend = Kilosort4Backend(make_config("kilosort4", ON_CPU))
    output = tmp_path / "out"
    output.mkdir()
    with pytest.raises(SorterProcessError) as caught:
        backend.sort(binary.to_spikeinterface(), None, tmp_path / "x.dat", output)
    error = backend.classify(output, caught.value)
    assert isinstance(error, InsufficientActivityError)
    assert error.sorter == "kilosort4"
    assert "a wrong gain, data type or probe gives the same error" in str(error)
    assert error.log_path is not None
    assert Path(error.log_path).is_file()


def test_memory_of_the_gpu_suffices_for_half_a_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recording = simulate_dense(duration_s=8.0, rate_hz=20.0).recording
    (tmp_path / "sitecustomize.py").write_text(SMALL_GPU, encoding="utf-8")
    path = [str(tmp_path), os.environ.get("PYTHONPATH", "")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, path)))
    out = tmp_path / "results"
    folders = {"results_folders": [out], "intermediate_folders": [tmp_path / "inter"]}
    sort_recording([recording], sorter="kilosort4", sorter_params=ON_CPU, n_jobs=1, **folders)
    first, second = json.loads((out / "run.json").read_text(encoding="utf-8"))["attempts"]
    assert first["error"].startswith("GPUOutOfMemoryError")
    assert (second["sorter_params"], second["error"]) == ({**ON_CPU, "batch_size": 30_000}, None)
