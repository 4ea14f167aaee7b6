"""The tests of RT-Sort and of the waveforms notice when the code is wrong."""

from __future__ import annotations

import subprocess
import sys

import pytest

from mutation.targets import ROOT

SEED = 15


@pytest.mark.slow
@pytest.mark.timeout(3 * 3600)
@pytest.mark.skipif(sys.platform != "linux", reason="forks")
def test_four_of_five_mutants_are_noticed() -> None:
    """What survives is printed; `python -m tests.mutation --help` says how to look closer."""
    command = [sys.executable, "-m", "tests.mutation", "--n", "240", "--seed", str(SEED), "--least", "80"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr[-5000:]
