"""``python -m tests.mutation``: which small wrong changes of the code the tests do not notice.

::

    python -m tests.mutation --n 200 --seed 1                    over all files
    python -m tests.mutation --module merging --n 30             one file
    python -m tests.mutation --module events --lines 70-109 --n 0  every mutant of some lines
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")


def main() -> int:
    """Run; 1 if the score is below what is asked for."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.mutation", description="Mutation run over RT-Sort and waveforms"
    )
    parser.add_argument("--module", action="append", default=[], help="name of a file, such as merging; several times")
    parser.add_argument("--lines", default="1-1000000000", help="first and last line, such as 70-109")
    parser.add_argument("--n", type=int, default=200, help="mutants; 0 for all")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--least", type=float, default=0.0, help="score in per cent below which the exit code is 1")
    arguments = parser.parse_args()
    os.environ |= dict.fromkeys(ONE_THREAD, "1")  # before any library is loaded
    from .run import SURVIVED, Runner, Score, sample

    first, last = (int(part) for part in arguments.lines.split("-"))
    mutants = sample(arguments.n, arguments.seed, tuple(arguments.module), (first, last))
    score = Score()
    with tempfile.TemporaryDirectory(prefix="mutation-") as folder:
        runner = Runner(Path(folder))
        for mutant in mutants:
            verdict = runner.judge(mutant)
            score.verdicts.append(verdict)
            print(f"{verdict.outcome} {verdict.seconds:.1f} s {mutant.path}:{mutant.line}", flush=True)
            if verdict.outcome == SURVIVED:
                print(verdict.diff, flush=True)
    print(score.text(), flush=True)
    return int(100 * score.share < arguments.least)


if __name__ == "__main__":
    sys.exit(main())
