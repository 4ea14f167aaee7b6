"""The pictures of docs/tutorial.md: the figures that ``spikelab demo`` draws.

From the root of the repository::

    python -m examples.tutorial_pictures docs/images
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from pathlib import Path

from spikelab.demo import run_demo

FIGURES = ("quality_distributions", "all_templates_plot", "raster_pop_rate")


def main() -> None:
    """Run the demo, copy its figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where the pictures go")
    folder = parser.parse_args().folder
    with tempfile.TemporaryDirectory() as scratch:
        print(run_demo(Path(scratch) / "demo"))
        for name in FIGURES:
            shutil.copyfile(Path(scratch) / "demo" / "results" / "figures" / f"{name}.png", folder / f"demo_{name}.png")


if __name__ == "__main__":
    main()
