"""Render a page from values: one file that needs nothing else."""

from __future__ import annotations

import hashlib
import json
import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spikelab import __version__
from spikelab.spike_sorting.curation.palette import Palette
from spikelab.spike_sorting.report import _words

if TYPE_CHECKING:
    from jinja2 import Environment

TEMPLATES = Path(__file__).parent / "templates"
MARK = '<meta name="spikelab-made-from" content="{}">'


@cache
def _environment() -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip

    def include_raw(name: str) -> str:
        """Include a style sheet or script unchanged."""
        return Markup((TEMPLATES / name).read_text(encoding="utf-8"))

    environment.filters |= {"number": _words.format_number, "plural": _words.plural, "drawn": Markup}
    environment.filters |= {"duration": _words.duration, "memory": _words.memory}
    environment.globals |= {"version": __version__, "include_raw": include_raw}
    return environment


def scripts() -> dict[str, str]:
    """Read the scripts of the pages, by the name of their file."""
    return {path.name: path.read_text(encoding="utf-8") for path in sorted(TEMPLATES.glob("*.js"))}


def render(template: str, **values: Any) -> str:
    """Render `template` with `values`; without a ``palette`` among them, in the colours of the defaults."""
    return _environment().get_template(template).render(**{"palette": Palette(), **values})


def sealed(page: str, source: Any) -> str:
    """Mark a page with the hash of its text and of the `source` that the text was rendered from."""
    return page.replace(MARK.format(""), MARK.format(_seal(page, source)), 1)


def is_current(path: Path, source: Any) -> bool:
    """Whether an undamaged page that was rendered from `source` lies at `path`."""
    try:
        page = path.read_bytes().decode(errors="replace")
    except (FileNotFoundError, NotADirectoryError):
        return False
    mark = re.search(MARK.format("([0-9a-f]+)"), page)
    return mark is not None and mark[1] == _seal(page.replace(mark[0], MARK.format(""), 1), source)


@cache
def _templates() -> str:
    """Return the hash of all templates, scripts and style sheets: a page that was made with others is not current."""
    digest = hashlib.blake2b(digest_size=16)
    for path in sorted(TEMPLATES.iterdir()):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _seal(page: str, source: Any) -> str:
    text = json.dumps([__version__, _templates(), source, page], sort_keys=True, default=str)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
