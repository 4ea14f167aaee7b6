"""The pictures of README.md, docs/tutorial.md and docs/report.md: the report and the figures of ``spikelab demo``.

From the root of the repository::

    python -m examples.tutorial_pictures docs/images
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from pathlib import Path

from docs._generate.photographs import photograph

from spikelab.demo import run_demo

FIGURES = ("quality_distributions", "all_templates_plot", "raster_pop_rate")
# Sections of the report, for README, landing page and docs/report.md, and for the tutorial.
REPORTS = {"report": ("curation", "probe", "quality"), "demo_report": ("curation", "probe", "quality", "activity")}


def main() -> None:
    """Run the demo, copy its figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where the pictures go")
    folder = parser.parse_args().folder
    with tempfile.TemporaryDirectory() as scratch:
        print(run_demo(Path(scratch) / "demo"))
        page = Path(scratch) / "demo" / "results" / "report.html"
        for name, parts in REPORTS.items():
            if not photograph(page, folder.resolve() / f"{name}.png", parts):
                print(f"{name}.png stays as it is: there is no browser")
        for name in FIGURES:
            shutil.copyfile(Path(scratch) / "demo" / "results" / "figures" / f"{name}.png", folder / f"demo_{name}.png")


if __name__ == "__main__":
    main()
