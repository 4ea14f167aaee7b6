"""The steps of the Dockerfile as a shell script, for machines where no docker runs.

``python -m tests.container.steps FOLDER [PYTHON]`` prints the script that does in FOLDER what the image does in ``/``.
"""

from __future__ import annotations

import json
import re
import shlex
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
IN_IMAGE = re.compile(r"(?<![\w.])/(?=(?:opt|data|tmp)\b)")


def instructions() -> list[tuple[str, str]]:
    """The instructions of the Dockerfile, in order, as (name, arguments)."""
    lines = (ROOT / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ").splitlines()
    found = [line.partition(" ") for line in lines if line.strip() and not line.startswith("#")]
    return [(name, arguments.strip()) for name, _, arguments in found]


def script(folder: Path, python: str = sys.executable) -> str:
    """Do every instruction in `folder`, with an environment of its own that `python` makes there."""
    environment = folder / "environment"
    lines = [
        "set -euo pipefail",
        f"{shlex.quote(python)} -m venv {shlex.quote(str(environment))}",
        f'export PATH={shlex.quote(str(environment / "bin"))}:"$PATH"',
        "unset PYTHONPATH",
    ]
    for name, arguments in instructions():
        lines += _as_shell(name, IN_IMAGE.sub(lambda _: f"{folder}/", arguments))
    return "\n".join(lines) + "\n"


def _as_shell(name: str, arguments: str) -> list[str]:
    if name == "ENV":
        return [f"export {arguments}"]
    if name == "WORKDIR":
        return [f"mkdir -p {arguments}", f"cd {arguments}"]
    if name == "COPY":
        *sources, target = shlex.split(arguments)
        return [f"cp -R {shlex.quote(str(ROOT / source))} {target}" for source in sources]
    if name == "RUN":
        return [arguments]
    if name == "ENTRYPOINT":
        return [f'{shlex.join(json.loads(arguments))} "$@"']
    if name in ("FROM", "CMD"):  # an image of Python, and what runs without arguments
        return []
    raise ValueError(f"the Dockerfile has {name}, which this script does not know")


if __name__ == "__main__":
    print(script(Path(sys.argv[1]).resolve(), *sys.argv[2:]))
