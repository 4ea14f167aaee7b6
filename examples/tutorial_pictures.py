"""The pictures of docs/tutorial.md: the report and the figures of ``spikelab demo``.

From the root of the repository::

    python -m examples.tutorial_pictures docs/images
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import tempfile
from pathlib import Path

from spikelab.demo import run_demo

FIGURES = ("quality_distributions", "all_templates_plot", "raster_pop_rate")
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
WINDOW = "1100,1350"


def photograph(page: Path, picture: Path) -> None:
    """Write what a browser shows of a page, with 64 colours."""
    from PIL import Image

    browser = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if browser is None:
        print(f"{picture} stays as it is: none of {', '.join(BROWSERS)} is installed")
        return
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", f"--window-size={WINDOW}"]
    subprocess.run([browser, *options, f"--screenshot={picture}", page.resolve().as_uri()], check=True)
    Image.open(picture).convert("RGB").quantize(64).save(picture, optimize=True)


def main() -> None:
    """Run the demo, copy its figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where the pictures go")
    folder = parser.parse_args().folder
    with tempfile.TemporaryDirectory() as scratch:
        print(run_demo(Path(scratch) / "demo"))
        photograph(Path(scratch) / "demo" / "results" / "report.html", folder.resolve() / "demo_report.png")
        for name in FIGURES:
            shutil.copyfile(Path(scratch) / "demo" / "results" / "figures" / f"{name}.png", folder / f"demo_{name}.png")


if __name__ == "__main__":
    main()
