"""Runs tests on mutants: a copy of the package, and a forked process for each mutant with all libraries loaded."""

from __future__ import annotations

import compileall
import contextlib
import gc
import importlib
import importlib.metadata
import importlib.util
import os
import py_compile
import random
import resource
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from .operators import Mutant, mutants_of
from .targets import EQUIVALENT, PACKAGE, ROOT, files, guards_of

LIBRARIES = (
    "numpy", "scipy.signal", "scipy.optimize", "scipy.stats", "scipy.spatial", "numba", "pandas", "h5py",
    "sklearn.metrics", "spikeinterface.core", "probeinterface", "tqdm", "psutil", "filelock", "tomli_w",
    "hypothesis.extra.numpy", "pytest",
)  # fmt: skip
PASSED, FAILED = 0, (1, 2)
SECONDS_FREE, TIMES_AS_LONG = 20, 5  # of CPU time, before a mutant counts as endless
MOST_MEMORY = 8 * 2**30
KILLED, SURVIVED, ENDLESS = "killed", "survived", "endless"


@dataclass(frozen=True)
class Verdict:
    """What became of a mutant."""

    mutant: Mutant
    outcome: str
    seconds: float
    diff: str


@dataclass
class Score:
    """What became of all of them."""

    verdicts: list[Verdict] = field(default_factory=list)

    def count(self, outcome: str) -> int:
        return sum(verdict.outcome == outcome for verdict in self.verdicts)

    @property
    def share(self) -> float:
        """Killed, endless ones included, in all."""
        return 1 - self.count(SURVIVED) / max(1, len(self.verdicts))

    def text(self) -> str:
        seconds = sum(verdict.seconds for verdict in self.verdicts)
        counts = ", ".join(f"{self.count(outcome)} {outcome}" for outcome in (KILLED, ENDLESS, SURVIVED))
        survivors = [
            f"{verdict.mutant.path}:{verdict.mutant.line}\n{verdict.diff}"
            for verdict in self.verdicts
            if verdict.outcome == SURVIVED
        ]
        total = f"{len(self.verdicts)} mutants: {counts}; score {100 * self.share:.1f} %, {seconds:.0f} s of CPU time"
        return "\n".join([*survivors, total])


def sample(n: int, seed: int, only: tuple[str, ...] = (), lines: tuple[int, int] = (1, 10**9)) -> list[Mutant]:
    """Draw statements, and one mutant of each: a long table of numbers counts as much as a comparison.

    All mutants of all statements if `n` is 0. In random order: the score of those so far is that of a smaller sample.
    """
    rng = random.Random(seed)
    statements: dict[tuple[str, int], list[Mutant]] = {}
    for file in files():
        if only and Path(file).stem not in only and file not in only:
            continue
        source = (PACKAGE / file).read_bytes()
        for mutant in mutants_of(file, source):
            if lines[0] <= mutant.line <= lines[1] and not _is_equivalent(mutant, source):
                statements.setdefault((file, mutant.statement), []).append(mutant)
    if n == 0:
        return [mutant for group in statements.values() for mutant in group]
    drawn = rng.sample(sorted(statements), min(n, len(statements)))
    return [rng.choice(statements[key]) for key in drawn]


def _is_equivalent(mutant: Mutant, source: bytes) -> bool:
    before, _, after = mutant.diff(source).partition("\n    + ")
    return (mutant.path, before.removeprefix("    - "), after) in EQUIVALENT


class Runner:
    """Runs test modules in forked processes, on a copy of the package in `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.source = folder / "src"
        shutil.copytree(ROOT / "src", self.source, ignore=shutil.ignore_patterns("__pycache__"))
        compileall.compile_dir(self.source, quiet=2, invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)
        self.limits: dict[tuple[tuple[str, ...], bool], float] = {}
        self._load()

    def _load(self) -> None:
        """Load what all tests need, once: a fork has it at once. The package itself is not among it."""
        os.environ |= {"PYTHONPATH": str(self.source), "NUMBA_CACHE_DIR": str(self.folder / "numba")}
        for name in (*LIBRARIES, "torch"):
            if name != "torch" or importlib.util.find_spec(name):
                importlib.import_module(name)
        for plugin in importlib.metadata.entry_points(group="pytest11"):
            plugin.load()
        if any(name.split(".")[0] == "spikelab" for name in sys.modules):
            raise RuntimeError("A library has loaded spikelab: mutants would not be seen")
        gc.collect()
        gc.freeze()

    def judge(self, mutant: Mutant) -> Verdict:
        """Run the tests of its file until one fails."""
        target = self.source / PACKAGE.relative_to(ROOT / "src") / mutant.path
        source = target.read_bytes()
        tests = guards_of(mutant.path)
        diff, seconds, outcome = mutant.diff(source), 0.0, SURVIVED
        for paths, is_interpreted in ((tests.interpreted, True), (() if mutant.kernel else tests.compiled, False)):
            if outcome == SURVIVED and paths:
                limit = self.limit(paths, is_interpreted)
                with _mutated(target, mutant):
                    outcome, used = self.run(paths, is_interpreted, limit)
                seconds += used
        return Verdict(mutant, outcome, seconds, diff)

    def limit(self, paths: tuple[str, ...], is_interpreted: bool) -> float:
        """CPU time that the tests may take; they are run once without a mutant, which they have to pass."""
        if (paths, is_interpreted) not in self.limits:
            times = []
            for _ in range(1 if is_interpreted else 2):  # the first compiles
                outcome, seconds = self.run(paths, is_interpreted, 600)
                times.append(seconds)
                if outcome != SURVIVED:
                    raise RuntimeError(f"Without a mutant, {' '.join(paths)} fails:\n{self.output()[-5000:]}")
            self.limits[paths, is_interpreted] = SECONDS_FREE + TIMES_AS_LONG * times[-1]
            print(f"{' '.join(paths)}: {times[-1]:.1f} s", flush=True)
        return self.limits[paths, is_interpreted]

    def output(self) -> str:
        return (self.folder / "output").read_text(errors="replace")

    def run(self, paths: tuple[str, ...], is_interpreted: bool, limit: float) -> tuple[str, float]:
        """Whether tests notice, and the CPU time they took."""
        child = os.fork()
        if child == 0:
            self._child(paths, is_interpreted, limit)
        deadline = time.monotonic() + 10 * limit  # for tests that wait for ever
        while True:
            pid, status, usage = os.wait4(child, os.WNOHANG)
            if pid:
                break
            if time.monotonic() > deadline:
                os.killpg(child, signal.SIGKILL)
            time.sleep(0.02)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child, signal.SIGKILL)
        code = os.waitstatus_to_exitcode(status)
        if code not in (PASSED, *FAILED) and code > 0:
            raise RuntimeError(f"pytest could not run {' '.join(paths)} ({code}):\n{self.output()[-5000:]}")
        outcome = SURVIVED if code == PASSED else KILLED if code in FAILED else ENDLESS
        return outcome, usage.ru_utime + usage.ru_stime

    def _child(self, paths: tuple[str, ...], is_interpreted: bool, limit: float) -> None:
        """Run pytest and leave; never returns."""
        code = 70
        try:
            os.setsid()
            seconds = int(limit) + 1
            resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 5))
            resource.setrlimit(resource.RLIMIT_DATA, (MOST_MEMORY, MOST_MEMORY))
            output = os.open(self.folder / "output", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(output, 1)
            os.dup2(output, 2)
            import numba
            import pytest

            numba.config.DISABLE_JIT = is_interpreted
            os.environ |= {"NUMBA_DISABLE_JIT": str(int(is_interpreted)), "PYTHONDONTWRITEBYTECODE": "1"}
            sys.dont_write_bytecode = True
            sys.path.insert(0, str(self.source))
            options = ["-x", "-q", "--no-header", "--tb=short", "-p", "no:cacheprovider", "-p", "no:xdist"]
            options += ["-W", "ignore::pytest.PytestAssertRewriteWarning"]  # plugins are loaded already
            base = self.folder / "pytest"
            code = int(
                pytest.main([*options, "-m", "not slow", f"--basetemp={base}", *paths], plugins=[_NoShrinking()])
            )
        except BaseException:  # noqa: BLE001 - said in the output, which the parent shows
            traceback.print_exc()
        finally:  # whatever happens: the fork must not go on as its parent
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)


class _NoShrinking:
    """Ends at the first example of hypothesis that fails, always with the same examples."""

    def pytest_sessionstart(self) -> None:
        from hypothesis import Phase, settings

        phases = (Phase.explicit, Phase.generate)
        settings.register_profile("mutation", parent=settings.default, phases=phases, derandomize=True, database=None)
        settings.load_profile("mutation")


@contextlib.contextmanager
def _mutated(path: Path, mutant: Mutant) -> Iterator[None]:
    """The mutant instead of a file, and no byte code that hides it."""
    source, stat = path.read_bytes(), path.stat()
    code = Path(importlib.util.cache_from_source(str(path)))
    kept = code.read_bytes()
    code.unlink()
    path.write_bytes(mutant.applied(source))
    try:
        yield
    finally:
        path.write_bytes(source)
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
        code.write_bytes(kept)
