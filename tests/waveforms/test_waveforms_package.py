from __future__ import annotations

import subprocess
import sys

import pytest

from spikelab.spike_sorting import waveforms


def test_the_package_is_light_until_it_is_used():
    code = (
        "import sys, spikelab.spike_sorting.waveforms; print('numba' in sys.modules, 'spikeinterface' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


def test_every_public_name_is_there():
    assert dir(waveforms) == sorted(waveforms.__all__)
    for name in waveforms.__all__:
        assert getattr(waveforms, name).__name__ == name
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = waveforms.nothing
