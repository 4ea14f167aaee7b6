"""Sorters in containers: what is refused at once, what runs, and that nothing is left running.

Real: docker's and singularity's Python clients, SpikeInterface's use of them, this machine without a docker daemon. In
the place of daemon, images and singularity are stand-ins (``tests/stand_ins``) that run the commands on this host; what
an image holds and how a real daemon isolates it is not covered.
"""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from simulated import Simulated, assert_same_trains, simulate
from spikelab.spike_sorting import _exceptions as errors
from spikelab.spike_sorting import sort_recording
from spikelab.spike_sorting.backends.isolation import container, start
from spikelab.spike_sorting.backends.isolation.container import Container, check_container, container_for
from spikelab.spike_sorting.backends.kilosort2 import Kilosort2Backend
from spikelab.spike_sorting.backends.kilosort4 import Kilosort4Backend
from spikelab.spike_sorting.config import KILOSORT2_DOCKER, KILOSORT4_DOCKER

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the stand-ins need Unix sockets and shell scripts")
docker = pytest.importorskip("docker")

STAND_INS = Path(__file__).parents[1] / "stand_ins"
sys.path.insert(0, str(STAND_INS))
import fake_docker  # noqa: E402
from fake_docker import FakeDocker  # noqa: E402

KS2_IMAGE, KS4_IMAGE = "spikeinterface/kilosort2-compiled-base", "spikeinterface/kilosort4-base"
LOOSE: dict[str, Any] = {"spikes_min_first": 5, "spikes_min_second": 5, "n_jobs": 1}
needs_octave = pytest.mark.skipif(
    shutil.which("octave-cli") is None, reason="Octave, which stands in for Kilosort 2's compiled code, is missing"
)


def path_with(*folders: str) -> str:
    tools = [str(STAND_INS / folder) for folder in folders]
    return os.pathsep.join([*tools, str(Path(sys.executable).parent), os.environ["PATH"]])


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "cwd"
    folder.mkdir()
    monkeypatch.chdir(folder)


@pytest.fixture(autouse=True)
def gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """A GPU that the package cuda-bindings finds, here and in children."""
    monkeypatch.setenv("PATH", path_with("gpu"))
    monkeypatch.syspath_prepend(str(STAND_INS / "gpu"))
    given = [path for path in [os.environ.get("PYTHONPATH")] if path]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(STAND_INS / "gpu"), *given]))


@pytest.fixture
def docker_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A ``docker`` command, which SpikeInterface asks for its version and for nothing else."""
    tool = tmp_path / "tools" / "docker"
    tool.parent.mkdir()
    tool.write_text("#!/bin/sh\necho Docker version 28\n", encoding="utf-8")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tool.parent}{os.pathsep}{os.environ['PATH']}")


@pytest.fixture
def no_daemon(docker_command: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/nobody.sock")


@pytest.fixture
def daemon(docker_command: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeDocker]:
    """A daemon that has Kilosort 2's image."""
    with FakeDocker({KS2_IMAGE}, path_with("image")) as running:
        monkeypatch.setenv("DOCKER_HOST", running.host)
        yield running


@pytest.fixture
def only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Make a list of commands the only ones on PATH."""

    def set_path(*commands: str) -> None:
        tools = tmp_path / "only"
        tools.mkdir()
        for command in commands:
            (tools / command).symlink_to("/bin/true")
        monkeypatch.setenv("PATH", str(tools))

    return set_path


@pytest.mark.parametrize(
    ("commands", "use_docker", "expected"),
    [
        (["docker"], False, None),
        (["docker", "apptainer"], True, Container("docker", KS2_IMAGE)),
        ([], True, Container("docker", KS2_IMAGE)),
        (["apptainer"], True, Container("singularity", KS2_IMAGE)),
        (["apptainer"], "some/image:1", Container("singularity", "some/image:1")),
        (["docker"], "some/image:1", Container("docker", "some/image:1")),
        (["singularity"], "docker", Container("docker", KS2_IMAGE)),
        (["docker"], "apptainer", Container("singularity", KS2_IMAGE)),
        (["docker"], "docker://some/image:1", Container("singularity", "some/image:1")),
        (["docker"], "/images/ks2.sif", Container("singularity", "/images/ks2.sif")),
    ],
)
def test_what_runs_the_sorter(only, commands: list[str], use_docker: bool | str, expected: Container | None) -> None:
    only(*commands)
    assert container_for("kilosort2", use_docker) == expected


def test_image_file_beside_the_user_and_at_home(only, monkeypatch: pytest.MonkeyPatch) -> None:
    only("docker")
    assert container_for("kilosort2", "ks2.sif") == Container("singularity", str(Path.cwd() / "ks2.sif"))
    monkeypatch.setenv("HOME", str(Path.cwd()))
    Path("sandbox").mkdir()
    assert container_for("kilosort2", "~/sandbox") == Container("singularity", str(Path.cwd() / "sandbox"))


def test_presets_name_the_images_of_spikeinterface() -> None:
    assert Kilosort2Backend(KILOSORT2_DOCKER).container().image == KS2_IMAGE
    assert Kilosort4Backend(KILOSORT4_DOCKER).container().image == KS4_IMAGE


def test_sorter_without_an_image_is_refused_before_any_file_is_touched() -> None:
    with pytest.raises(ValueError, match="no container image of simple"):
        sort_recording(["not_there.h5"], sorter="spikeinterface:simple", use_docker=True)


def test_container_has_parameters_of_its_own(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="Nearest: installation_mode"):
        sort_recording(["x"], config=KILOSORT2_DOCKER, sorter_params={"installation_mod": "no-install"})
    with pytest.raises(ValueError, match="'installation_mode'"):
        sort_recording(["x"], sorter="kilosort2", sorter_params={"installation_mode": "no-install"})


# Docker that does not work, really.


@pytest.mark.usefixtures("no_daemon")
@pytest.mark.parametrize("config", [KILOSORT2_DOCKER, KILOSORT4_DOCKER], ids=["kilosort2", "kilosort4"])
def test_batch_stops_at_once_without_a_daemon(config: Any, tmp_path: Path) -> None:
    recordings = [simulate(duration_s=1.0, seed=seed).recording for seed in range(3)]
    folders = {"results_folders": [tmp_path / name for name in "abc"], "intermediate_folders": [*map(str, "abc")]}
    start = time.monotonic()
    with pytest.raises(errors.SortBatchError) as caught:
        sort_recording(recordings, config=config, **folders, **LOOSE)
    (failure,) = [error for _, error in caught.value.failures]
    assert isinstance(failure, errors.DockerEnvironmentError)
    assert failure.reason == "daemon_down"
    assert "systemctl start docker" in str(failure)
    assert isinstance(failure.__cause__, docker.errors.DockerException)
    assert len(caught.value.not_attempted) == 2
    assert time.monotonic() - start < 30
    assert not list(Path("a").rglob("traces.dat"))  # before the recording is filtered


@pytest.mark.usefixtures("no_daemon")
def test_daemon_that_dies_before_the_sort(simulated: Simulated, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(container, "_check_docker", lambda image, sorter: None)  # it was there a moment ago
    with pytest.raises(errors.DockerEnvironmentError) as caught:
        sort_recording([simulated.recording], config=KILOSORT2_DOCKER, **LOOSE)
    assert caught.value.reason == "daemon_down"


def test_daemon_behind_a_closed_port(docker_command: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:1")
    with pytest.raises(errors.DockerEnvironmentError) as caught:
        check_container(Container("docker", KS2_IMAGE), "kilosort2", gpu=True)
    assert caught.value.reason == "daemon_down"


@pytest.mark.skipif(not hasattr(os, "fork") or os.geteuid() != 0, reason="takes root to become another user")
def test_socket_that_refuses_the_user(daemon: FakeDocker) -> None:
    daemon.folder.chmod(0o755)
    Path(daemon.host.removeprefix("unix://")).chmod(0o600)
    script = textwrap.dedent(f"""
    import os, sys, docker, requests
    from spikelab.spike_sorting.failures import classifier as _classifier
    from spikelab.spike_sorting.backends.isolation.container import Container, check_container
    os.setgid(65534), os.setuid(65534)
    try:
        check_container(Container("docker", {KS2_IMAGE!r}), "kilosort2", gpu=True)
    except Exception as error:
        print(type(error).__name__, error.reason)
    """)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "DockerEnvironmentError permission_denied\n"


def test_the_image_is_known_by_its_id(daemon: FakeDocker) -> None:
    assert Kilosort2Backend(KILOSORT2_DOCKER).made_by() == {"image": KS2_IMAGE, "image_id": f"sha256:{'0' * 64}"}


@pytest.mark.usefixtures("no_daemon")
def test_without_a_daemon_the_image_keeps_its_name() -> None:
    assert Kilosort2Backend(KILOSORT2_DOCKER).made_by() == {"image": KS2_IMAGE}


def test_client_that_is_missing(docker_command: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "docker", None)
    monkeypatch.setattr(container, "find_spec", lambda name: None if name == "docker" else object())
    with pytest.raises(errors.DockerEnvironmentError, match='pip install "docker>=') as caught:
        check_container(Container("docker", KS2_IMAGE), "kilosort2", gpu=True)
    assert caught.value.reason == "client_missing"


def test_client_that_is_missing_in_the_child(
    daemon: FakeDocker, simulated: Simulated, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocker = tmp_path / "blocker"
    blocker.mkdir()
    (blocker / "sitecustomize.py").write_text(
        textwrap.dedent("""
        import importlib.util, sys
        find_spec = importlib.util.find_spec
        importlib.util.find_spec = lambda name, package=None: None if name == "docker" else find_spec(name, package)
        sys.modules["docker"] = None
        """),
        encoding="utf-8",
    )
    monkeypatch.setenv("PYTHONPATH", f"{blocker}{os.pathsep}{os.environ['PYTHONPATH']}")
    with pytest.raises(errors.DockerEnvironmentError, match="pip install") as caught:
        sort_recording([simulated.recording], config=KILOSORT2_DOCKER, **LOOSE)
    assert caught.value.reason == "client_missing"
    assert "`docker` package must be installed" in str(caught.value)  # SpikeInterface's words


def test_command_that_is_missing(only) -> None:
    only()
    with pytest.raises(errors.DockerEnvironmentError, match="no 'docker' on PATH.*use_docker='singularity'") as caught:
        Kilosort2Backend(KILOSORT2_DOCKER).check_installed()
    assert caught.value.reason == "client_missing"


def test_package_that_finds_the_gpu_is_missing(daemon: FakeDocker, monkeypatch: pytest.MonkeyPatch) -> None:
    find_spec = container.find_spec
    monkeypatch.setattr(container, "find_spec", lambda name: None if name == "cuda" else find_spec(name))
    with pytest.raises(errors.SorterNotInstalledError, match='cuda-bindings.*pip install .*"cuda-bindings>='):
        Kilosort4Backend(KILOSORT4_DOCKER).check_installed()
    check_container(Container("docker", KS2_IMAGE), "mountainsort5", gpu=False)


def test_gpu_that_is_missing(daemon: FakeDocker, simulated: Simulated, monkeypatch: pytest.MonkeyPatch) -> None:
    """The real cuda-bindings on a machine without a driver."""
    pytest.importorskip("cuda.bindings")
    if shutil.which("nvidia-smi", path=os.defpath):
        pytest.skip("there is a GPU")
    given = os.environ["PYTHONPATH"].split(os.pathsep)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(given[1:]))
    with pytest.raises(errors.GPUUnavailableError, match="nvidia-smi"):
        sort_recording([simulated.recording], config=KILOSORT2_DOCKER, **LOOSE)
    assert not daemon.created


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (404, "pull access denied for spikeinterface/kilosort2-compiled-base, repository does not exist"),
        # Their words are among the known failures, which the classifier is tested on.
        pytest.param(500, "toomanyrequests: You have reached your pull rate limit.", marks=pytest.mark.slow),
        pytest.param(
            500,
            'Get "https://registry-1.docker.io/v2/": dial tcp: lookup registry-1.docker.io: no such host',
            marks=pytest.mark.slow,
        ),
    ],
    ids=["denied", "limit", "offline"],
)
def test_image_that_cannot_be_pulled(
    daemon: FakeDocker, simulated: Simulated, caplog: pytest.LogCaptureFixture, status: int, message: str
) -> None:
    daemon.images.clear()
    daemon.pull_error = (status, message)
    with caplog.at_level(logging.INFO), pytest.raises(errors.DockerEnvironmentError, match="docker pull") as caught:
        sort_recording([simulated.recording], config=KILOSORT2_DOCKER, **LOOSE)
    assert caught.value.reason == "image_pull_failed"
    assert "is not here yet" in caplog.text


def test_container_that_does_not_start(daemon: FakeDocker, simulated: Simulated) -> None:
    daemon.start_error = (
        400,
        "failed to create shim task: OCI runtime create failed: nvidia-container-cli: initialization error",
    )
    with pytest.raises(errors.DockerEnvironmentError, match="nvidia-smi") as caught:
        sort_recording([simulated.recording], config=KILOSORT2_DOCKER, **LOOSE)
    assert caught.value.reason == "other"
    assert len(daemon.created) == 1
    assert daemon.removed == daemon.created  # SpikeInterface leaves it


# Containers that run.


@needs_octave
def test_kilosort2_in_docker(daemon: FakeDocker, simulated: Simulated, tmp_path: Path) -> None:
    params = {"car": False, "installation_mode": "no-install"}
    out = tmp_path / "out"
    (found,) = sort_recording(
        [simulated.recording], config=KILOSORT2_DOCKER, results_folders=[out], sorter_params=params, **LOOSE
    )
    assert_same_trains(found.train, simulated.trains_ms)
    assert "found 5 good units" in (out / "stages" / "sorting" / "kilosort2.log").read_text(encoding="utf-8")
    assert daemon.removed == daemon.created
    assert not [command for command in daemon.commands if "pip" in command]


@needs_octave
def test_failure_in_docker_is_read_from_kilosorts_log(
    daemon: FakeDocker, simulated: Simulated, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STAND_IN_MAX_NT", "100")
    with pytest.raises(errors.GPUOutOfMemoryError) as caught:
        sort_recording([simulated.recording], config=KILOSORT2_DOCKER, resource_retries=0, **LOOSE)
    assert str(caught.value.log_path).endswith(".log")
    assert len(daemon.created) == 1
    assert sorted(daemon.removed) == sorted(daemon.created)


@needs_octave
def test_gpu_that_the_image_does_not_know(
    daemon: FakeDocker, simulated: Simulated, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("STAND_IN_COMPUTE_CAP", "12.0")
    monkeypatch.setenv("STAND_IN_ERROR_AT", "preprocessDataSub")
    monkeypatch.setenv("STAND_IN_ERROR", "Unable to find a supported GPU device.")
    with pytest.raises(errors.DockerEnvironmentError, match="newer than the image") as caught:
        sort_recording([simulated.recording], config=KILOSORT2_DOCKER, **LOOSE)
    assert caught.value.reason == "other"
    assert "compute capability 12" in caplog.text
    assert "first_n_mins=1" in caplog.text


@pytest.fixture
def hanging_image(daemon: FakeDocker, tmp_path: Path) -> Path:
    """Kilosort 2's command in the image hangs; it leaves its process id in the file that is returned."""
    pid_file, tools = tmp_path / "pid", tmp_path / "image"
    tools.mkdir()
    command = tools / "ks2_compiled"
    command.write_text(f"#!/bin/sh\necho $$ > {pid_file}.new; mv {pid_file}.new {pid_file}; exec sleep 600\n")
    command.chmod(0o755)
    daemon.path = f"{tools}{os.pathsep}{daemon.path}"
    return pid_file


def is_gone(pid: int) -> bool:
    end = time.monotonic() + 10
    while time.monotonic() < end:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.05)
    return False


@pytest.mark.slow  # it waits; another test sees containers removed, and those of the child see what hangs
def test_container_that_hangs_is_removed(daemon: FakeDocker, simulated: Simulated, hanging_image: Path) -> None:
    with pytest.raises(errors.SorterTimeoutError):
        sort_recording([simulated.recording], config=KILOSORT2_DOCKER, sorter_timeout_s=12, resource_retries=0, **LOOSE)
    assert daemon.removed == daemon.created
    assert len(daemon.removed) == 1
    assert not hanging_image.exists() or is_gone(int(hanging_image.read_text()))  # a slow machine does not get so far


def test_container_does_not_outlive_a_killed_parent(
    daemon: FakeDocker, small_recording: Any, hanging_image: Path, tmp_path: Path
) -> None:
    recording = small_recording.to_spikeinterface()
    recording.dump(tmp_path / "recording.json")
    script = textwrap.dedent(f"""
    from pathlib import Path
    from spikeinterface import load
    from spikelab.spike_sorting.backends.kilosort2 import Kilosort2Backend
    from spikelab.spike_sorting.config import KILOSORT2_DOCKER
    folder = Path({str(tmp_path)!r})
    (folder / "out").mkdir()
    Kilosort2Backend(KILOSORT2_DOCKER).sort(load(folder / "recording.json"), None, folder / "x.dat", folder / "out")
    """)
    parent = subprocess.Popen([sys.executable, "-c", script])
    end = time.monotonic() + 300
    while not hanging_image.exists() and time.monotonic() < end and parent.poll() is None:
        time.sleep(0.05)
    assert len(daemon.containers) == 1
    parent.kill()
    parent.wait()
    assert is_gone(int(hanging_image.read_text()))
    assert daemon.removed == daemon.created


def test_container_of_an_earlier_run_is_removed_first(
    daemon: FakeDocker, small_recording: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, other = "a" * 64, "b" * 64
    for name, folder in ((old, tmp_path / "out" / "run"), (other, tmp_path / "other" / "run")):
        daemon.containers[name] = fake_docker.Container(name, KS2_IMAGE, [f"{folder}:{folder}:rw"], "running")
    left_at_the_start: list[list[str]] = []

    def run(*args: Any, **kwargs: Any) -> None:
        left_at_the_start.append(list(daemon.containers))
        raise InterruptedError

    monkeypatch.setattr(start, "run_in_child", run)
    backend = Kilosort2Backend(KILOSORT2_DOCKER)
    with pytest.raises(InterruptedError):
        backend.sort(small_recording.to_spikeinterface(), None, tmp_path / "x.dat", tmp_path / "out")
    assert left_at_the_start == [[other]]
    assert any("chown" in command for command in daemon.commands)  # what root wrote in it can be deleted


# Singularity and apptainer.


def test_singularity_that_is_missing(only) -> None:
    only("docker")
    with pytest.raises(errors.SorterNotInstalledError, match="neither 'singularity' nor 'apptainer'") as caught:
        Kilosort2Backend(KILOSORT2_DOCKER.override(use_docker="singularity")).check_installed()
    assert caught.value.sorter == "kilosort2"


def test_singularitys_client_that_is_missing(only, monkeypatch: pytest.MonkeyPatch) -> None:
    only("apptainer")
    monkeypatch.setattr(container, "find_spec", lambda name: None)
    with pytest.raises(errors.SorterNotInstalledError, match='pip install "spython>='):
        check_container(Container("singularity", KS2_IMAGE), "kilosort2", gpu=True)


def test_image_file_that_is_missing(only, monkeypatch: pytest.MonkeyPatch) -> None:
    only("apptainer")
    monkeypatch.setattr(container, "find_spec", lambda name: object())
    with pytest.raises(errors.SorterNotInstalledError, match=f"singularity build ks2.sif docker://{KS2_IMAGE}"):
        Kilosort2Backend(KILOSORT2_DOCKER.override(use_docker="/images/ks2.sif")).check_installed()


def can_mount() -> bool:
    try:
        return subprocess.run(["unshare", "--mount", "mount", "--bind", "/tmp", "/tmp"], check=False).returncode == 0
    except FileNotFoundError:
        return False


@pytest.fixture(params=["singularity", pytest.param("apptainer", marks=pytest.mark.slow)])
def singularity(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A host with singularity, under this name or as apptainer; returns the folder of its instances."""
    pytest.importorskip("spython")
    if not can_mount():
        pytest.skip("mounting, which the stand-in for singularity needs, is not allowed here")
    tools, state = tmp_path / "tools", Path(tempfile.mkdtemp())
    tools.mkdir()
    (tools / request.param).symlink_to(STAND_INS / "singularity" / "singularity")
    monkeypatch.setenv("PATH", f"{tools}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("STAND_IN_SINGULARITY", str(state))
    monkeypatch.setenv("STAND_IN_PATH", path_with("image"))
    (tmp_path / "ks2.sif").touch()
    yield state
    for path in state.glob("*.json"):
        subprocess.run([str(tools / request.param), "instance", "stop", path.stem], check=True)
    shutil.rmtree(state)


@needs_octave
def test_kilosort2_in_singularity(singularity: Path, simulated: Simulated, tmp_path: Path) -> None:
    (found,) = sort_recording(
        [simulated.recording],
        sorter="kilosort2",
        use_docker=str(tmp_path / "ks2.sif"),
        sorter_params={"car": False, "installation_mode": "no-install"},
        **LOOSE,
    )
    assert_same_trains(found.train, simulated.trains_ms)
    assert len((singularity / "stopped").read_text().split()) == 1


@pytest.mark.slow
def test_instance_that_hangs_is_stopped(
    singularity: Path, simulated: Simulated, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tools = tmp_path / "image"
    tools.mkdir()
    (tools / "ks2_compiled").write_text("#!/bin/sh\nexec sleep 600\n")
    (tools / "ks2_compiled").chmod(0o755)
    monkeypatch.setenv("STAND_IN_PATH", f"{tools}{os.pathsep}{os.environ['STAND_IN_PATH']}")
    start = f"$(command -v singularity || command -v apptainer) instance start --bind /tmp:/tmp {tools} other"
    subprocess.run(["sh", "-c", start], check=True)
    with pytest.raises(errors.SorterTimeoutError):
        sort_recording(
            [simulated.recording],
            sorter="kilosort2",
            use_docker=str(tmp_path / "ks2.sif"),
            sorter_timeout_s=12,
            resource_retries=0,
            **LOOSE,
        )
    assert [path.stem for path in singularity.glob("*.json")] == ["other"]  # only ours was stopped
