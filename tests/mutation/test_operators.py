"""What is mutated, and what is left alone."""

from __future__ import annotations

from pathlib import Path

from mutation.operators import mutants_of
from mutation.targets import EQUIVALENT, GUARDS, PACKAGE, WAVEFORMS, files

SOURCE = b'''"""A module of 3 words."""
from __future__ import annotations
LIMIT = 4
FRAMES_AT_A_TIME = 10

@compiled
def kernel(values: Annotated[int, 7], most: int = 2) -> int:
    """Count 5 things."""
    total = 0
    for i in range(len(values)):
        if values[i] < most and not values[i] == 0:
            total += 1
    return total

def plain(x, n_jobs=1, *, times=2):
    if not x:
        raise ValueError(f"{x + 1} is 1 too many", 8)
    logger.info("%d", 9)
    x = x[1:]
    return np.floor(x / 2), abs(x)
'''


def changes(source: bytes) -> dict[tuple[int, str], bool]:
    """Line and text of every mutated line -> whether it is part of a kernel."""
    lines = {}
    for mutant in mutants_of("file.py", source):
        mutated = mutant.applied(source).decode().splitlines()
        lines[mutant.line, mutated[mutant.line - 1].strip()] = mutant.kernel
    return lines


def test_every_kind_of_change() -> None:
    assert set(changes(SOURCE)) == {
        (3, "LIMIT = 5"),
        (7, "def kernel(values: Annotated[int, 7], most: int = 3) -> int:"),
        (9, "total = 1"),
        (11, "if values[i] <= most and not values[i] == 0:"),
        (11, "if values[i] < most or not values[i] == 0:"),
        (11, "if values[i] < most and values[i] == 0:"),
        (11, "if values[i] < most and not values[i] != 0:"),
        (11, "if values[i] < most and not values[i] == 1:"),
        (12, "pass"),
        (12, "total -= 1"),
        (12, "total += 2"),
        (15, "def plain(x, n_jobs=1, *, times=3):"),
        (16, "if x:"),
        (17, "pass"),
        (19, "pass"),
        (19, "x = x[2:]"),
        (20, "return np.ceil(x / 2), abs(x)"),
        (20, "return np.floor(x * 2), abs(x)"),
        (20, "return np.floor(x / 3), abs(x)"),
        (20, "return np.floor(x / 2), (x)"),
    }


def test_constants_beside_kernels_count_as_kernels() -> None:
    is_kernel = {line: kernel for (line, _), kernel in changes(SOURCE).items()}
    assert [line for line in sorted(is_kernel) if is_kernel[line]] == [3, 7, 9, 11, 12]


def test_a_diff_shows_the_lines_that_change() -> None:
    (mutant,) = (m for m in mutants_of("file.py", SOURCE) if m.text == "ceil")
    assert mutant.diff(SOURCE) == "    - return np.floor(x / 2), abs(x)\n    + return np.ceil(x / 2), abs(x)"


def test_every_file_is_guarded() -> None:
    for file in files():
        assert file in GUARDS or file.startswith(WAVEFORMS), file


def test_what_counts_as_equivalent_is_still_there() -> None:
    for path, before, _ in EQUIVALENT:
        assert before in Path(PACKAGE / path).read_text(), f"{path} has no line {before!r} any more"
