"""How Sphinx builds the documentation: ``make docs``."""

from __future__ import annotations

import re
from pathlib import Path

from spikelab import __version__

# Pages show files of the repository to readers there. On the site, some of these have a page of their own.
PAGES_OF_FILES = {
    "CHANGELOG.md": "/changelog.md",
    "benchmarks/README.md": "/benchmarks/how.md",
    "benchmarks/results/rt_sort.md": "/benchmarks/rt_sort.md",
    "benchmarks/results/rt_sort_streaming.md": "/benchmarks/rt_sort_streaming.md",
    "benchmarks/results/performance.md": "/benchmarks/performance.md",
    "benchmarks/results/scale.md": "/benchmarks/scale.md",
    "benchmarks/results/cluster.md": "/benchmarks/cluster.md",
}
# [text](../file), and not ![picture](../file)
LINK_OUT = re.compile(r"(?<!!)\[([^\]]+)\]\((?:(?:\.\./)+|(?=results/))((?!images/)[^)]+)\)")

project = "spikelab"
author = "the spikelab authors"
release = version = __version__

extensions = [
    "myst_parser",  # pages are Markdown
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",  # docstrings are numpydoc
    "sphinxcontrib.mermaid",
]
exclude_patterns = ["_build"]
# A word in the type of a parameter, such as `path`, that is also the name of attributes: no link is wanted.
suppress_warnings = ["ref.python"]

myst_enable_extensions = ["attrs_block", "colon_fence", "deflist", "dollarmath"]
myst_fence_as_directive = ["mermaid"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "none"  # the docstrings have the types, with shapes and units
napoleon_google_docstring = False
napoleon_use_rtype = False

html_theme = "furo"
html_title = f"spikelab {release}"
html_copy_source = False
html_show_sphinx = False


def setup(app):
    """Called by Sphinx."""
    app.connect("source-read", adapt)
    app.connect("include-read", lambda app, path, _parent, source: adapt(app, path, source))


def adapt(app, _page, source):
    """Links to files outside of this folder become links to their page, or plain text where they have none."""

    def replaced(found):
        text, target = found.groups()
        target = target.replace("results/", "benchmarks/results/") if target.startswith("results/") else target
        if (Path(app.srcdir) / target.partition("#")[0]).exists():
            return str(found[0])
        return f"[{text}]({PAGES_OF_FILES[target]})" if target in PAGES_OF_FILES else text

    source[0] = LINK_OUT.sub(replaced, source[0])
