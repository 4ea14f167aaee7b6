"""Choose and check docker, singularity or apptainer for a sorter, and remove its containers.

SpikeInterface starts the container and mounts the run folder into it. A container belongs to a daemon (docker) or to
nobody (singularity), and so outlives the process that started it: the mount of the run folder identifies it.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import subprocess
import sys
from contextlib import closing, suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from spikelab.spike_sorting._exceptions import DockerEnvironmentError, SorterNotInstalledError
from spikelab.system.extras import install_command

logger = logging.getLogger(__name__)

DOCKER, SINGULARITY = "docker", "singularity"
SINGULARITY_COMMANDS = ("singularity", "apptainer")  # in the order in which SpikeInterface's library looks for them
IMAGE_FILES = (".sif", ".simg", ".img")
ON_DOCKER_HUB = "docker://"  # how singularity names an image of a docker registry
REPLY_WITHIN_S = 15
# Parameters of SpikeInterface's run in a container, beside those of the sorter.
PARAMETERS = (
    "delete_container_files",
    "extra_requirements",
    "installation_mode",
    "spikeinterface_folder_source",
    "spikeinterface_version",
)


@dataclass(frozen=True)
class Container:
    """Engine (docker, or singularity also for apptainer) and image that run a sorter."""

    engine: str
    image: str


def container_for(sorter: str, use_docker: bool | str) -> Container | None:
    """Read the setting ``use_docker``; None where the sorter runs on the host.

    ==============================  ===================================================================
    ``use_docker``                  image, and what runs it
    ==============================  ===================================================================
    False                           none: the sorter runs on the host
    True                            SpikeInterface's image of the sorter, with docker; with singularity
                                    or apptainer where only that is installed
    ``"docker"``                    the same image, with docker
    ``"singularity"``,              the same image, with singularity or apptainer
    ``"apptainer"``
    a file (``.sif``) or a folder   that image, with singularity or apptainer
    ``"docker://name:tag"``         that image of a docker registry, with singularity or apptainer
    any other text                  that image, as True does
    ==============================  ===================================================================

    ValueError if the image is not named and SpikeInterface has none for the sorter.
    """
    if use_docker is False:
        return None
    if use_docker is True:
        return Container(_engine_here(), default_image(sorter))
    if use_docker == DOCKER:
        return Container(DOCKER, default_image(sorter))
    if use_docker in SINGULARITY_COMMANDS:
        return Container(SINGULARITY, default_image(sorter))
    if use_docker.startswith(ON_DOCKER_HUB):
        return Container(SINGULARITY, use_docker.removeprefix(ON_DOCKER_HUB))
    if use_docker.endswith(IMAGE_FILES) or Path(use_docker).expanduser().exists():
        return Container(SINGULARITY, str(Path(use_docker).expanduser().absolute()))
    return Container(_engine_here(), use_docker)


def default_image(sorter: str) -> str:
    """Get SpikeInterface's image of a sorter; ValueError where there is none."""
    from spikeinterface.sorters.runsorter import SORTER_DOCKER_MAP

    image = SORTER_DOCKER_MAP.get(sorter)
    if image is None:
        raise ValueError(f"SpikeInterface has no container image of {sorter}: name one (use_docker='name:tag')")
    return str(image)


def check_container(container: Container, sorter: str, *, gpu: bool) -> None:
    """Check within seconds whether the container could start; with `gpu`, SpikeInterface looks for one.

    DockerEnvironmentError if docker's command, client or daemon is missing, or refuses this user;
    SorterNotInstalledError if singularity, a client or an image file is missing.
    """
    if container.engine == DOCKER:
        _check_docker(container.image, sorter)
    else:
        _check_singularity(container.image, sorter)
    if gpu and find_spec("cuda") is None:
        raise SorterNotInstalledError(
            f"SpikeInterface looks for the GPU of {sorter}'s container with the package cuda-bindings, which is not "
            f"installed: {install_command(container.engine)}.",
            sorter=sorter,
        )


def _engine_here() -> str:
    """Choose docker, unless only singularity or apptainer is installed."""
    return SINGULARITY if shutil.which("docker") is None and _singularity_command() is not None else DOCKER


def _singularity_command() -> str | None:
    return next((path for path in map(shutil.which, SINGULARITY_COMMANDS) if path is not None), None)


def _check_docker(image: str, sorter: str) -> None:
    if shutil.which("docker") is None:
        raise DockerEnvironmentError(
            "There is no 'docker' on PATH. Install Docker; on a cluster singularity or apptainer can run the same "
            "image (use_docker='singularity').",
            reason="client_missing",
        )
    if find_spec("docker") is None:
        raise DockerEnvironmentError(
            f"Docker's Python client is not installed: {install_command(DOCKER)}.", reason="client_missing"
        )
    import docker
    from requests import RequestException

    try:
        with closing(docker.from_env(timeout=REPLY_WITHIN_S)) as client:
            client.ping()
            client.images.get(image)
    except docker.errors.ImageNotFound:
        logger.info("the image %s is not here yet; docker pulls it, several GB, before the sort", image)
    except (docker.errors.DockerException, RequestException, OSError) as error:
        raise _docker_error(sorter, error) from error


def identity(container: Container) -> dict[str, str]:
    """Identify the image by its name and, where docker knows the image, by its id."""
    named = {"image": container.image}
    if container.engine != DOCKER or find_spec("docker") is None:
        return named
    import docker
    from requests import RequestException

    try:
        with closing(docker.from_env(timeout=REPLY_WITHIN_S)) as client:
            return named | {"image_id": str(client.images.get(container.image).id)}
    except (docker.errors.DockerException, RequestException, OSError) as error:
        logger.info("the id of the image %s could not be found out: %s", container.image, error)
        return named


def _docker_error(sorter: str, error: Exception) -> Exception:
    """Classify an error of docker's client."""
    from spikelab.spike_sorting.failures.classifier import classify_failure

    return classify_failure(sorter, os.devnull, error) or DockerEnvironmentError(
        f"Docker does not answer as it should: {type(error).__name__}: {error}. Check first: docker ps.", reason="other"
    )


def _check_singularity(image: str, sorter: str) -> None:
    if _singularity_command() is None:
        raise SorterNotInstalledError(
            f"{sorter} is to run in a container of singularity, and there is neither 'singularity' nor 'apptainer' on "
            "PATH. Load its module (often: module load apptainer) or install it; docker is use_docker='docker'.",
            sorter=sorter,
        )
    if find_spec("spython") is None:
        raise SorterNotInstalledError(
            f"Singularity's Python client is not installed: {install_command(SINGULARITY)}.", sorter=sorter
        )
    if image.endswith(IMAGE_FILES) and not Path(image).is_file():
        raise SorterNotInstalledError(
            f"There is no image file {image} (use_docker). Build it: singularity build {Path(image).name} "
            f"{ON_DOCKER_HUB}{default_image(sorter)}.",
            sorter=sorter,
        )


def environment_for(container: Container | None, folder: Path) -> dict[str, str]:
    """Get variables of the process that starts the container: ``singularity``, which SpikeInterface calls, is on PATH.

    Where only apptainer is installed, a link of that name is made in `folder`.
    """
    apptainer = shutil.which("apptainer")
    if container is None or container.engine == DOCKER or shutil.which("singularity") is not None or apptainer is None:
        return {}
    tools = folder / "tools"
    tools.mkdir()
    (tools / "singularity").symlink_to(apptainer)
    return {"PATH": f"{tools}{os.pathsep}{os.environ['PATH']}"}


def remove_containers(engine: str, folder: Path) -> None:
    """End and remove every container that has `folder` mounted; failures are logged."""
    try:
        names = _remove_docker(folder) if engine == DOCKER else _stop_singularity(folder)
    except Exception as error:  # noqa: BLE001 - runs while another error is raised, which must not be hidden
        logger.warning("could not look for containers that %s may have left: %s", engine, error)
        return
    for name in names:
        logger.info("%s container %s was removed", engine, name)


def _remove_docker(folder: Path) -> list[str]:
    import docker

    names = []
    with closing(docker.from_env(timeout=REPLY_WITHIN_S)) as client:
        for container in client.containers.list(all=True, filters={"volume": str(folder)}, ignore_removed=True):
            names.append(container.name)
            with suppress(docker.errors.APIError):
                _give_files_back(container, folder)
            with suppress(docker.errors.NotFound):
                container.remove(force=True)
    return names


def _give_files_back(container: Any, folder: Path) -> None:
    """Make this user the owner of files that root wrote in a running container, so that they can be deleted."""
    if sys.platform != "win32" and container.status == "running":
        container.exec_run(["chown", "-R", f"{os.getuid()}:{os.getgid()}", str(folder)])


def _stop_singularity(folder: Path) -> list[str]:
    command = _singularity_command()
    if command is None:
        return []
    listing = subprocess.run(
        [command, "instance", "list", "--json"], capture_output=True, text=True, timeout=REPLY_WITHIN_S, check=True
    )
    names = []
    for instance in json.loads(listing.stdout).get("instances") or []:
        if _mounts(int(instance["pid"]), folder):
            names.append(str(instance["instance"]))
            stop = [command, "instance", "stop", "--force", names[-1]]
            subprocess.run(stop, capture_output=True, timeout=2 * REPLY_WITHIN_S, check=True)
    return names


def _mounts(pid: int, folder: Path) -> bool:
    """Tell whether a process of this (Linux) host has `folder` among its mounts."""
    try:
        lines = Path(f"/proc/{pid}/mountinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return False
    target = str(folder).replace(" ", "\\040")  # as the kernel writes it
    return any(line.split(" ")[4] == target for line in lines)
