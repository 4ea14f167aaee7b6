"""Damage inputs by a seed, and try each in a child: what is told, and what is raw, hangs, swells or crashes.

::

    cases = [Case(f"maxwell {seed}", make=lambda folder: ..., use=lambda path: ...) for seed in range(400)]
    outcomes = run_cases(cases, tmp_path)
    assert not failures(outcomes), table(outcomes)

``make(folder)`` writes the damaged input and returns its path; ``use(path)`` does with it what a user would, and
returns what is silently wrong as a text, else None. Damage is a function of content and `random.Random`:
:func:`damage_bytes`, :func:`damage_text`, :func:`damage_json`.
"""

from __future__ import annotations

import copy
import faulthandler
import json
import linecache
import os
import random
import resource
import select
import shutil
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

MAX_PEAK_BYTES = 800 << 20
"""Most that a case may add to the resident size its process has before; 1 GiB together with a fresh process's 200 MiB.

The process is a fork of the tests', which other tests may have left at any size."""
LIMIT_BYTES = 3 << 30
"""What a case may have of address space besides, so that the machine lives on; who meets it has swollen."""
OK, REFUSED = "ok", "refused"
RAW, WRONG, HANG, MEMORY, CRASH, BROKEN = "raw", "wrong", "hang", "memory", "crash", "broken"
GOOD = (OK, REFUSED)
# What the documentation promises for an input that is wrong, besides the classified failures.
CLEAR = (
    "ValueError",
    "TypeError",
    "FileNotFoundError",
    "FileExistsError",
    "PermissionError",
    "ManifestError",
    "UsageError",
)


@dataclass(frozen=True)
class Case:
    """One damaged input and what is done with it.

    `names`: one of them has to be in the message of an error; by default the name of what `make` has written.
    """

    name: str
    make: Callable[[Path], Path]
    use: Callable[[Path], str | None]
    names: tuple[str, ...] = ()


@dataclass(frozen=True)
class Outcome:
    """What became of a case: one of the kinds above, the message, the memory it added at its peak and its time."""

    name: str
    kind: str
    text: str = ""
    peak_bytes: int = 0
    seconds: float = 0.0


def failures(outcomes: Sequence[Outcome]) -> list[Outcome]:
    return [outcome for outcome in outcomes if outcome.kind not in GOOD]


def table(outcomes: Sequence[Outcome]) -> str:
    """Counts of all kinds, and a line for each failure."""
    counts = ", ".join(f"{kind} {n}" for kind, n in Counter(outcome.kind for outcome in outcomes).most_common())
    peak = max((outcome.peak_bytes for outcome in outcomes), default=0)
    lines = [f"{outcome.kind}: {outcome.name}: {outcome.text[:400]}" for outcome in failures(outcomes)]
    return "\n".join([f"{len(outcomes)} cases: {counts}; largest peak {peak / 2**20:.0f} MiB", *lines])


# Running


def run_cases(
    cases: Sequence[Case], folder: Path, *, timeout_s: float = 120.0, batch: int = 25, prepare: Callable[[], None] = int
) -> list[Outcome]:
    """Run the cases, `batch` of them in each fork of this process; one that ends a fork does not end the others.

    `timeout_s` is that of one case; `prepare` is called once, here, to import and compile what all cases need.
    """
    prepare()
    outcomes: list[Outcome] = []
    while len(outcomes) < len(cases):
        waiting = cases[len(outcomes) : len(outcomes) + batch]
        outcomes += _run_batch(waiting, folder, timeout_s)
    return outcomes


def _run_batch(cases: Sequence[Case], folder: Path, timeout_s: float) -> list[Outcome]:
    """Outcomes of the cases up to the first that ends the child."""
    reading, writing = os.pipe()
    said = folder / "stderr.txt"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # threads of BLAS: they have no lock that a case needs
        pid = os.fork()
    if pid == 0:
        os.close(reading)
        _child(cases, folder, said, writing)
    os.close(writing)
    outcomes: list[Outcome] = []
    with os.fdopen(reading, "rb") as pipe:
        hung = False
        while len(outcomes) < len(cases):
            if not select.select([pipe], [], [], timeout_s)[0]:
                os.kill(pid, signal.SIGKILL)
                hung = True
                break
            line = pipe.readline()
            if not line:
                break
            outcomes.append(Outcome(**json.loads(line)))
    status = os.waitpid(pid, 0)[1]
    if len(outcomes) < len(cases):
        name, last = cases[len(outcomes)].name, said.read_text(errors="replace")[:600]
        end = os.waitstatus_to_exitcode(status)
        text = f"after {timeout_s:g} s" if hung else f"exit code {end}"
        outcomes.append(Outcome(name, HANG if hung else CRASH, f"{text}: {last}"))
    return outcomes


def _child(cases: Sequence[Case], folder: Path, said: Path, writing: int) -> None:
    """Run cases one after another, a line of JSON each; never returns."""
    code = 1
    try:
        with said.open("wb") as stderr:
            os.dup2(stderr.fileno(), 2)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        sys.stdout, sys.stderr = open(1, "w", closefd=False), open(2, "w", closefd=False)  # noqa: SIM115
        faulthandler.enable(sys.stderr)
        for number in (signal.SIGALRM, signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_REAL, 0)
        limit = _status_bytes("VmSize") + LIMIT_BYTES
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        warnings.simplefilter("ignore")
        for case in cases:
            os.ftruncate(2, 0)
            os.lseek(2, 0, os.SEEK_SET)
            line = json.dumps(asdict(_run_case(case, folder))) + "\n"
            with os.fdopen(os.dup(writing), "wb") as pipe:
                pipe.write(line.encode())
        code = 0
    except BaseException:  # noqa: BLE001  the fork must not go on with pytest
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def _run_case(case: Case, folder: Path) -> Outcome:
    own = Path(tempfile.mkdtemp(dir=folder))
    os.chdir(own)
    began = time.monotonic()
    try:
        try:
            path = case.make(own)
        except Exception:  # noqa: BLE001  the test's own fault, whatever it is
            return Outcome(case.name, BROKEN, traceback.format_exc()[-600:])
        _forget_peak()
        before = _status_bytes("VmRSS")
        kind, text = _use(case, path)
        peak = _status_bytes("VmHWM") - before
        if peak > MAX_PEAK_BYTES:
            kind, text = MEMORY, f"{peak / 2**20:.0f} MiB; {kind}: {text}"
        return Outcome(case.name, kind, text, peak, time.monotonic() - began)
    finally:
        os.chdir(folder)
        shutil.rmtree(own, ignore_errors=True)


def _use(case: Case, path: Path) -> tuple[str, str]:
    try:
        wrong = case.use(path)
    except BaseException as error:  # noqa: BLE001  whatever it is, it is what the case is for
        text = f"{type(error).__name__}: {error}"
        if any(isinstance(cause, MemoryError) for cause in causes(error)):
            return MEMORY, text
        return (REFUSED, text) if is_clear(error, case.names or (path.name,)) else (RAW, text + _where(error))
    return (OK, "") if wrong is None else (WRONG, wrong)


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """The error and what it was raised from or during."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def is_clear(error: BaseException, names: Sequence[str]) -> bool:
    """Whether our code raised the error, of a class that is promised, with one of `names` in its message."""
    from spikelab.spike_sorting import SpikeSortingClassifiedError

    promised = isinstance(error, SpikeSortingClassifiedError) or type(error).__name__ in CLEAR
    return promised and _raised_by_us(error) and any(name in str(error) for name in names)


def _raised_by_us(error: BaseException) -> bool:
    """Whether the innermost line of the traceback is a ``raise`` in spikelab."""
    frames = traceback.extract_tb(error.__traceback__)
    if not frames or f"{os.sep}spikelab{os.sep}" not in frames[-1].filename:
        return False
    first, last = frames[-1].lineno or 0, frames[-1].end_lineno or 0
    lines = [linecache.getline(frames[-1].filename, number).strip() for number in range(first, last + 1)]
    return any(line.startswith("raise") for line in lines)


def _where(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    return "" if not frames else f" [{Path(frames[-1].filename).name}:{frames[-1].lineno}]"


def _status_bytes(field: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024
    raise LookupError(field)


def _forget_peak() -> None:
    """Let VmHWM begin again at what is resident now."""
    Path("/proc/self/clear_refs").write_text("5")


# Damage to bytes


def _block(content: bytes, rng: random.Random) -> tuple[int, int]:
    start = rng.randrange(len(content))
    return start, min(len(content), start + rng.choice((1, 8, 64, 512, 4096)))


def cut(content: bytes, rng: random.Random) -> bytes:
    return content[: rng.randrange(len(content))]


def empty(content: bytes, rng: random.Random) -> bytes:
    return b""


def flip_bits(content: bytes, rng: random.Random) -> bytes:
    spoilt = bytearray(content)
    for _ in range(rng.choice((1, 3, 20))):
        spoilt[rng.randrange(len(spoilt))] ^= 1 << rng.randrange(8)
    return bytes(spoilt)


def change_bytes(content: bytes, rng: random.Random) -> bytes:
    spoilt = bytearray(content)
    for _ in range(rng.choice((1, 3, 20))):
        spoilt[rng.randrange(len(spoilt))] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)))
    return bytes(spoilt)


def zero_block(content: bytes, rng: random.Random) -> bytes:
    start, end = _block(content, rng)
    return content[:start] + bytes(end - start) + content[end:]


def fill_block(content: bytes, rng: random.Random) -> bytes:
    start, end = _block(content, rng)
    return content[:start] + b"\xff" * (end - start) + content[end:]


def repeat_block(content: bytes, rng: random.Random) -> bytes:
    start, end = _block(content, rng)
    return content[:end] + content[start:end] + content[end:]


def insert_block(content: bytes, rng: random.Random) -> bytes:
    start, end = _block(content, rng)
    return content[:start] + rng.randbytes(end - start) + content[start:]


def delete_block(content: bytes, rng: random.Random) -> bytes:
    start, end = _block(content, rng)
    return content[:start] + content[end:]


def swap_blocks(content: bytes, rng: random.Random) -> bytes:
    size = min(rng.choice((8, 64, 512, 4096)), len(content) // 2)
    first, second = sorted((rng.randrange(len(content) - size + 1), rng.randrange(len(content) - size + 1)))
    if first + size > second:
        return change_bytes(content, rng)
    a, b = content[first : first + size], content[second : second + size]
    return content[:first] + b + content[first + size : second] + a + content[second + size :]


Damage = Callable[[bytes, random.Random], bytes]
# Those that leave every other byte where it is, and those that do not.
IN_PLACE: tuple[Damage, ...] = (flip_bits, change_bytes, zero_block, fill_block, swap_blocks)
BYTE_DAMAGES: tuple[Damage, ...] = (*IN_PLACE, cut, empty, repeat_block, insert_block, delete_block)


def damage_bytes(
    content: bytes, rng: random.Random, damages: Sequence[Damage] = BYTE_DAMAGES, region: tuple[int, int] | None = None
) -> bytes:
    """Spoil `content`, or what lies in `region` of it, so that it differs."""
    start, end = region or (0, len(content))
    if start >= end:
        return content
    while True:
        spoilt = rng.choice(damages)(content[start:end], rng)
        if spoilt != content[start:end]:
            return content[:start] + spoilt + content[end:]


def damage_file(
    path: Path, rng: random.Random, damages: Sequence[Damage] = BYTE_DAMAGES, region: tuple[int, int] | None = None
) -> None:
    path.write_bytes(damage_bytes(path.read_bytes(), rng, damages, region))


# Damage to text and to what it holds

ODD_VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 3, 2**31, -(2**63), 10**30, 0.5, -0.0, 1e-300, 1e300, float("nan"), float("inf"),
    float("-inf"), "", " ", "x", "0", "nan", "../x", "/", "\0", "a" * 5000, "\u202e\u00e9\U0001f9e0", "\udcff", [], {},
    [[]], [None], [1, "a"], {"a": 1}, [[1, 2], [3]], list(range(1000)),
)  # fmt: skip
ODD_WORDS = (
    "nan",
    "inf",
    "-1",
    "0",
    "1e999",
    "9" * 40,
    "true",
    "null",
    '"',
    "[",
    "{",
    "\\",
    "\0",
    "'",
    "#",
    "=",
    ",",
    ";",
)


def damage_json(value: Any, rng: random.Random) -> Any:
    """Return `value` (dict, list and plain values) with one place of another type, gone, doubled or renamed."""
    changed = copy.deepcopy(value)
    places = list(_places(changed))
    if not places:
        return copy.deepcopy(rng.choice(ODD_VALUES))
    holder, key = rng.choice(places)
    what = rng.choice(("other", "other", "other", "gone", "twice", "renamed"))
    if what == "gone":
        del holder[key]
    elif what == "twice" and isinstance(holder, list):
        holder.insert(key, copy.deepcopy(holder[key]))
    elif what == "renamed" and isinstance(holder, dict):
        holder[str(key) + rng.choice(("_", " ", "x"))] = holder.pop(key)
    else:
        holder[key] = copy.deepcopy(rng.choice(ODD_VALUES))
    return changed


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every holder and key in a tree."""
    keys = value.keys() if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in keys:
        yield value, key
        yield from _places(value[key])


def damage_text(text: str, rng: random.Random) -> bytes:
    """Spoil a text as people, editors and transfers do; what comes out may be no text at all."""
    lines = text.splitlines(keepends=True) or [""]
    i = rng.randrange(len(lines))
    words = [k for k in range(len(text)) if text[k].isalnum()] or [0]
    at = rng.choice(words)
    ways: tuple[Callable[[], bytes], ...] = (
        lambda: "".join(lines[:i] + lines[i + 1 :]).encode(),
        lambda: "".join([*lines[: i + 1], lines[i], *lines[i + 1 :]]).encode(),
        lambda: (text[:at] + text[at + 1 :]).encode(),
        lambda: (text[:at] + rng.choice(ODD_WORDS) + text[at:]).encode(),
        lambda: (text[:at] + rng.choice(ODD_WORDS) + text[at + 1 :]).encode(),
        lambda: text[:at].encode(),
        lambda: b"\xef\xbb\xbf" + text.encode(),
        lambda: text.encode("utf-16"),
        lambda: text[:at].encode() + b"\xff\xfe\xe9" + text[at:].encode(),
        lambda: text.replace("\n", "\r\n").encode() + b"\x1a",
        lambda: text[:at].encode() + b"[" * 100_000,
        lambda: text[:at].encode() + b'{"a":' * 20_000,
        lambda: (text[:at] + "9" * 5000 + text[at:]).encode(),
        lambda: damage_bytes(text.encode() or b"x", rng),
    )
    return rng.choice(ways)()
