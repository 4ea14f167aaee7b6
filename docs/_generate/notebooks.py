"""Pages of the notebooks, with what their cells print and draw: ``python -m docs._generate.notebooks docs/notebooks``.

The notebooks themselves are kept without output. They need no Jupyter here: every cell is run in one namespace.
"""

from __future__ import annotations

import argparse
import ast
import io
import json
import logging
import os
import sys
import tempfile
import warnings
from contextlib import chdir, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

SOURCES = Path(__file__).resolve().parents[1] / "notebooks"
NAMES = ("first_sort", "results_to_science")
DPI = 80


@dataclass
class Cell:
    """A cell of a notebook, and what it printed and drew (PNG)."""

    kind: str  # markdown or code
    source: str
    text: str = ""
    pictures: list[bytes] = field(default_factory=list)


def read(notebook: Path) -> list[Cell]:
    """Read the cells, without any output that is stored."""
    content = json.loads(notebook.read_text(encoding="utf-8"))
    return [Cell(cell["cell_type"], "".join(cell["source"])) for cell in content["cells"]]


def run(notebook: Path, folder: Path) -> list[Cell]:
    """Run all cells in `folder`, one after the other, and keep what they print and draw."""
    import matplotlib as mpl

    mpl.use("Agg")
    cells, names = read(notebook), {"__name__": "__main__"}
    printed = io.StringIO()  # one for all cells: a log handler made in the first goes on writing to it
    handlers, level = list(logging.root.handlers), logging.root.level
    logging.root.handlers.clear()  # or basicConfig in a cell does nothing
    try:
        with chdir(folder), redirect_stdout(printed), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "FigureCanvasAgg is non-interactive", UserWarning)  # of plt.show()
            for number, cell in enumerate(cells):
                if cell.kind == "code":
                    _run_cell(cell, f"{notebook.name}, cell {number}", names)
                    cell.text, cell.pictures = printed.getvalue(), _figures()
                    printed.seek(0)
                    printed.truncate()
    finally:
        logging.root.handlers[:] = handlers
        logging.root.setLevel(level)
    return cells


def _run_cell(cell: Cell, where: str, names: dict[str, Any]) -> None:
    """Run the statements; of an expression at the end print the value, as Jupyter does."""
    tree = ast.parse(cell.source, where)
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, where, "exec"), names)
    if last is not None:
        value = eval(compile(ast.Expression(last.value), where, "eval"), names)
        if value is not None:
            sys.stdout.write(f"{value!r}\n")


def _figures() -> list[bytes]:
    import matplotlib.pyplot as plt

    pictures = []
    for number in plt.get_fignums():
        stream = io.BytesIO()
        plt.figure(number).savefig(stream, dpi=DPI)
        pictures.append(stream.getvalue())
    plt.close("all")
    return pictures


def write_page(cells: list[Cell], name: str, folder: Path) -> None:
    """Write a page and its pictures, ``NAME.md`` and ``NAME_1.png``, ..."""
    parts: list[str] = []
    n_pictures = 0
    for cell in cells:
        if cell.kind == "markdown":
            parts.append(cell.source)
            continue
        parts.append(f"```python\n{cell.source}\n```")
        if cell.text.strip():
            parts.append(f"```text\n{cell.text.rstrip()}\n```")
        for picture in cell.pictures:
            n_pictures += 1
            (folder / f"{name}_{n_pictures}.png").write_bytes(picture)
            parts.append(f"![What the cell draws]({name}_{n_pictures}.png)")
    note = f"*This page is a notebook: `docs/notebooks/{name}.ipynb` of the repository, run when the pages were built.*"
    (folder / f"{name}.md").write_text("\n\n".join([parts[0], note, *parts[1:]]) + "\n", encoding="utf-8")


def main() -> None:
    """Run every notebook in one scratch folder, and write its page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where the pages go")
    folder = parser.parse_args().folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    os.environ.setdefault("MPLBACKEND", "Agg")
    with tempfile.TemporaryDirectory() as scratch:
        for name in NAMES:
            write_page(run(SOURCES / f"{name}.ipynb", Path(scratch)), name, folder)


if __name__ == "__main__":
    main()
