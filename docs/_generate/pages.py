"""Pages of the documentation that are made from the code."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from spikelab.system import files

if TYPE_CHECKING:
    from collections.abc import Sequence


def write_page(text: str, arguments: Sequence[str]) -> None:
    """Write a page to the file that the first argument names, or to the standard output where there is none."""
    if not arguments:
        sys.stdout.write(text)
        return
    files.write_text(Path(arguments[0]), text)
