"""Pictures of pages, taken by a browser."""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
WIDTH, HEIGHT = 1200, 2400
MARGIN = 24
COLOURS = 64


def browser() -> str | None:
    """Return a browser that can take pictures, None where there is none."""
    return next((path for name in BROWSERS if (path := shutil.which(name))), None)


def photograph(page: Path, picture: Path, parts: Sequence[str] = (), height: int = HEIGHT) -> bool:
    """Write what a browser shows of a page as PNG, cut where its contents end; False where there is no browser.

    Sections whose ids are in `parts` are shown, by default all; `height` in pixels is the most.
    """
    from PIL import Image, ImageChops

    program = browser()
    if program is None:
        return False
    hidden = "".join(f":not(#{part})" for part in parts)
    style = f"<style>section{hidden}, nav, footer {{ display: none !important }}</style></head>" if parts else "</head>"
    shown = page.with_name(f".{page.stem}_shown.html")  # beside the page: its links are relative
    shown.write_text(page.read_text(encoding="utf-8").replace("</head>", style, 1), encoding="utf-8")
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", f"--window-size={WIDTH},{height}"]
    command = [program, *options, f"--screenshot={picture}", shown.resolve().as_uri()]
    try:
        subprocess.run(command, check=True, capture_output=True, timeout=120)
    finally:
        shown.unlink()
    whole = Image.open(picture).convert("RGB")
    background = Image.new("RGB", whole.size, whole.getpixel((0, 0)))
    box = ImageChops.difference(whole, background).getbbox() or (0, 0, *whole.size)
    end = min(box[3] + MARGIN, whole.height)
    whole.crop((0, 0, whole.width, end)).quantize(COLOURS).save(picture, optimize=True)
    return True
