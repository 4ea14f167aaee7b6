"""Pages of the documentation that are made from the code."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


def write_page(text: str, arguments: Sequence[str]) -> None:
    """Write a page to the file that the first argument names, or to the standard output where there is none."""
    if not arguments:
        sys.stdout.write(text)
        return
    target = Path(arguments[0])
    temporary = target.with_name(f"{target.name}.tmp")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(target)
