"""Fixtures that every test module may use."""

from __future__ import annotations

import gc
import logging
import os
import signal
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import hypothesis
import pytest
from click.testing import CliRunner, Result

if "PYTEST_XDIST_WORKER" in os.environ:  # the workers fill the cores; threads of numpy's that wait for one spin
    os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
sys.path.insert(0, str(Path(__file__).parent))
from simulated import Simulated, save_recording, simulate

# Other processes may hold the machine up; a slow example is not a failure.
hypothesis.settings.register_profile("patient", deadline=None)
hypothesis.settings.load_profile("patient")

_n_frozen = 0  # modules loaded when the collector was last told to leave alone what there is
SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    """Keep what modules and pytest hold from the garbage collector.

    SpikeInterface collects twice for each recording that it writes, which takes a second each among all that is loaded.
    """
    global _n_frozen
    if len(sys.modules) != _n_frozen:
        gc.collect()
        gc.freeze()
        _n_frozen = len(sys.modules)


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Recordings in memory leave their folders where the process is, and tests run side by side."""
    folder = tmp_path_factory.mktemp("cwd")
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real recordings beside the checkout; skips, visibly, where they are not there."""
    folder = SHARED / "data"
    if not folder.is_dir():
        pytest.skip(f"real recordings are not at {folder}")
    return folder


@pytest.fixture(scope="session")
def simulated() -> Simulated:
    """Eight seconds of eight channels with five units; the same for all tests."""
    return simulate()


@pytest.fixture
def saved(tmp_path: Path) -> Callable[..., Path]:
    """A function that writes a simulated recording as a SpikeInterface folder and returns its path."""

    def save(name: str = "culture", folder: Path | None = None, **kwargs: object) -> Path:
        return save_recording(simulate(**kwargs).recording, (folder or tmp_path) / name)  # type: ignore[arg-type]

    return save


@pytest.fixture(autouse=True)
def _global_state_as_it_was() -> Iterator[None]:
    """Take down what a command sets up in the process it runs in: its log, filters of warnings, signal handlers."""
    logger = logging.getLogger("spikelab")
    handlers, level, propagate = list(logger.handlers), logger.level, logger.propagate
    names = (signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM))
    signals = {name: signal.getsignal(name) for name in names}
    with warnings.catch_warnings():
        yield
    logger.handlers, logger.level, logger.propagate = handlers, level, propagate
    for name, handler in signals.items():
        if signal.getsignal(name) is not handler:
            signal.signal(name, handler)


@pytest.fixture
def run() -> Callable[..., Result]:
    """Call a command in this process."""
    from spikelab.cli import cli

    return lambda *arguments: CliRunner().invoke(cli, [str(argument) for argument in arguments])
