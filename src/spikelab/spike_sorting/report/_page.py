"""From values to a page: one file that needs nothing else, and that is written again only when it would differ."""

from __future__ import annotations

import hashlib
import json
import re
import zlib
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spikelab import __version__
from spikelab.spike_sorting.report import _words
from spikelab.system import files

if TYPE_CHECKING:
    from jinja2 import Environment

TEMPLATES = Path(__file__).parent / "templates"
MARK = '<meta name="spikelab-made-from" content="{}">'
HEAD_BYTES = 1000  # the mark stands in them


@cache
def _environment() -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    environment.filters |= {
        "figure": _words.figure,
        "duration": _words.duration,
        "memory": _words.memory,
        "plural": _words.plural,
        "drawn": Markup,
    }
    environment.globals |= {"version": __version__, "include_raw": _include_raw}
    return environment


def _include_raw(name: str) -> str:
    """A style sheet or script as it is."""
    from markupsafe import Markup

    return Markup((TEMPLATES / name).read_text(encoding="utf-8"))


def render(template: str, **values: Any) -> str:
    """The page that `template` makes of `values`."""
    return _environment().get_template(template).render(**values)


def digest(content: Any) -> str:
    """Identity of what a page is made from."""
    text = json.dumps([__version__, content], sort_keys=True, default=str)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def is_made_from(page: Path, made_from: str) -> bool:
    """Whether `page` is there, undamaged, and was made from the same."""
    try:
        content = page.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return False
    found = re.search(MARK.format(f"{made_from}-([0-9a-f]{{8}})").encode(), content[:HEAD_BYTES])
    return found is not None and found[1].decode() == _checksum(content[: found.start()] + content[found.end() :])


def write_page(page: Path, text: str, made_from: str) -> None:
    """Write a page that was rendered from `made_from`, with its checksum in its mark."""
    before, mark, after = text.partition(MARK.format(made_from))
    sealed = MARK.format(f"{made_from}-{_checksum((before + after).encode())}") if mark else ""
    files.write_text(page, before + sealed + after)


def _checksum(content: bytes) -> str:
    return f"{zlib.crc32(content):08x}"
