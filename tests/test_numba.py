"""Machine code on disk is never that of other sources, and nothing is swallowed while it is made."""

from __future__ import annotations

import ctypes
import importlib
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

import spikelab
from spikelab.spike_sorting.rt_sort.learning import _partition, _unimodal
from spikelab.system import compiling
from spikelab.system.compiling import compiled, contracted, ingredients, reraised_interrupts
from spikelab.system.progress import COMPILING, Once, Progress

CALLEE = """
from spikelab.system.compiling import compiled
LEVEL = 2.0
@compiled
def callee(x):
    return LEVEL * x
"""
CALLER = """
from spikelab.system.compiling import compiled
from kernels.callee import callee
from kernels.plain import OFFSET
@compiled
def caller(x):
    return callee(x) + OFFSET
"""


class Package:
    """A package of kernels on disk, imported anew after every change of a file."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "kernels"
        self.folder.mkdir()
        for name, text in (("__init__", ""), ("plain", "OFFSET = 1.0"), ("callee", CALLEE), ("caller", CALLER)):
            self.write(name, text)

    def write(self, name: str, text: str) -> None:
        path = self.folder / f"{name}.py"
        path.write_text(text)
        os.utime(path, (1e9, 1e9))  # not even the time tells

    def caller(self) -> ModuleType:
        for name in [name for name in sys.modules if name.partition(".")[0] == "kernels"]:
            del sys.modules[name]
        importlib.invalidate_caches()
        return importlib.import_module("kernels.caller")


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Package:
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    return Package(tmp_path)


@pytest.mark.parametrize(
    ("module", "before", "after", "expected"),
    [
        ("callee", "LEVEL = 2.0", "LEVEL = 5.0", 16.0),
        ("callee", "LEVEL * x", "LEVEL - x", 0.0),
        ("plain", "1.0", "4.0", 10.0),
    ],
)
def test_what_changes_in_another_module_is_compiled_anew(
    package: Package, module: str, before: str, after: str, expected: float
) -> None:
    assert package.caller().caller(3.0) == 7.0
    text = (package.folder / f"{module}.py").read_text()
    package.write(module, text.replace(before, after))
    changed = package.caller()
    assert changed.caller(3.0) == expected
    assert not changed.caller.stats.cache_hits
    package.write(module, text)
    again = package.caller()
    assert again.caller(3.0) == 7.0
    assert sum(again.caller.stats.cache_hits.values()) == 1  # the same sources: nothing is compiled


def test_files_that_were_cut_are_made_anew(package: Package) -> None:
    package.caller().caller(3.0)
    files = sorted(package.folder.rglob("*.nbc"))
    assert len(files) == 2
    for path in files:
        path.write_bytes(path.read_bytes()[:100])
    again = package.caller()
    assert again.caller(3.0) == 7.0
    assert not again.caller.stats.cache_hits
    assert all(path.stat().st_size > 100 for path in files)


def test_a_signature_has_a_file_of_its_own(package: Package) -> None:
    caller = package.caller().caller
    caller(3.0)
    caller(np.float32(3.0))
    assert len(list(package.folder.rglob("caller.caller*.nbc"))) == 2


def test_the_ingredients_of_a_kernel_reach_through_its_callees(monkeypatch: pytest.MonkeyPatch) -> None:
    before = ingredients(_partition.compare_pair)
    assert ingredients(_partition.compare_pair) == before
    monkeypatch.setattr(_unimodal, "LEVEL", 80.0)
    assert ingredients(_partition.compare_pair) != before


def double(x: float) -> float:
    return 2 * x


def test_options_are_ingredients() -> None:
    assert ingredients(compiled(double)) != ingredients(contracted(double))


def scaled_by(factors: np.ndarray) -> Callable[[float], float]:
    def scaled(x: float) -> float:
        return float(x * factors[1])

    return scaled


def test_what_a_closure_holds_is_an_ingredient() -> None:
    first, second = compiled(scaled_by(np.array([1.0, 2.0]))), compiled(scaled_by(np.array([1.0, 3.0])))
    assert ingredients(first) != ingredients(second)
    assert ingredients(first) == ingredients(compiled(scaled_by(np.array([1.0, 2.0]))))


def test_what_cannot_be_told_is_refused() -> None:
    settings = object()

    def kernel(x: float) -> object:
        return settings if x else None

    with pytest.raises(TypeError, match=r"kernel uses settings, a object: a kernel may use other kernels, numbers"):
        ingredients(compiled(kernel))


def test_without_a_place_for_machine_code_kernels_work() -> None:
    names: dict[str, Callable[[float], float]] = {}
    exec("def twice(x):\n    return 2 * x", names)  # numba has no place for code that is in no file
    assert compiled(names["twice"])(4.0) == 8.0


def test_every_kernel_of_the_package_says_what_it_is_made_of() -> None:
    root = Path(spikelab.__file__).parent
    files = [path for path in root.rglob("*.py") if "system.compiling import" in path.read_text(encoding="utf-8")]
    n_kernels = 0
    for path in files:
        module = importlib.import_module(".".join(("spikelab", *path.relative_to(root).with_suffix("").parts)))
        for value in vars(module).values():
            if isinstance(value, compiling.Dispatcher):
                assert len(ingredients(value)) == 64
                n_kernels += 1
    assert n_kernels > 50


def interrupt() -> None:
    raise KeyboardInterrupt


def test_what_ends_a_callback_is_raised_afterwards() -> None:
    callback = ctypes.CFUNCTYPE(None)(interrupt)
    done = []

    def compile_something() -> None:
        with reraised_interrupts():
            callback()
            done.append("the compiler goes on")

    hook = sys.unraisablehook
    with pytest.raises(KeyboardInterrupt):
        compile_something()
    assert done
    assert sys.unraisablehook is hook


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_other_errors_of_callbacks_go_their_way(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    monkeypatch.setattr(sys, "unraisablehook", lambda lost: seen.append(lost.exc_type))
    callback = ctypes.CFUNCTYPE(None)(lambda: 1 // 0)
    with reraised_interrupts():
        callback()
    assert seen == [ZeroDivisionError]


def test_ctrl_c_in_the_middle_of_the_compiler_is_not_lost(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        textwrap.dedent("""
        import signal
        from numba.core.codegen import CPUCodeLibrary

        def ctrl_c(module, buffer, _hook=CPUCodeLibrary._object_compiled_hook):
            signal.raise_signal(signal.SIGINT)
            _hook(module, buffer)

        CPUCodeLibrary._object_compiled_hook = ctrl_c
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
        from spikelab.system.compiling import compiled

        @compiled
        def double(x):
            return 2 * x

        try:
            double(1.0)
        except KeyboardInterrupt:
            print("interrupted")
        """)
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=True)
    assert done.stdout == "interrupted\n", done.stderr


def test_with_numba_switched_off_kernels_are_plain_functions() -> None:
    code = "from spikelab.system.compiling import compiled\ndef f(x): return x\nprint(compiled(f) is f)"
    environment = os.environ | {"NUMBA_DISABLE_JIT": "1"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout == "True\n", done.stderr


def test_the_time_to_compile_is_in_no_estimate(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr("spikelab.system.progress.time.monotonic", lambda: clock[0])
    once = Once()
    monkeypatch.setattr("spikelab.system.progress.COMPILING", once)
    work = Progress("sorting", total=10)
    clock[0] += 4
    work.update()
    with once.time():
        clock[0] += 50
        with once.time():  # a kernel that another kernel calls
            clock[0] += 10
        assert work.words() == "compiling, once"
    assert (once.seconds, work.elapsed_s, work.left_s) == (60.0, 4.0, pytest.approx(36.0))
    assert work.words() == "10 %, about 40 s left"


def test_it_is_said_that_kernels_are_compiled(package: Package, caplog: pytest.LogCaptureFixture) -> None:
    compiling._say_once.cache_clear()
    before = COMPILING.seconds
    with caplog.at_level("INFO"):
        assert package.caller().caller(3.0) == 7.0
        assert package.caller().caller(3.0) == 7.0
    assert [line for line in caplog.messages if line.startswith("compiling, once")] == caplog.messages[:1]
    assert COMPILING.seconds > before
