"""Pages of the documentation that are generated from the code."""

import sys
from pathlib import Path


def write_page(text: str) -> None:
    """Write a page to the file that the command line names, or to the standard output where it names none."""
    if sys.argv[1:]:
        Path(sys.argv[1]).write_text(text, encoding="utf-8", newline="\n")
    else:
        sys.stdout.write(text)
