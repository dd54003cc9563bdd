"""The images of the real node, built once without a container engine and kept in the user's cache under a digest of what they are made of.

Called by `python -m tests.controlplane.node` outside the sandbox, where the package index can be reached, and by the node inside, which
finds them. The project's own image comes from deploy/Dockerfile as it is; only the base that it names is a stand-in: Debian's Python.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.controlplane.assets import AssetsError, _locked, cache_root, say
from tests.controlplane.node.oci import Image, Layer, write

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
PAUSE = "plimsoll.test/pause:1"
BASE = "docker.io/library/python:3.11-slim"
ENGINE = "docker.io/vllm/vllm-openai:v0.32.0"
PREPARED = "PLIMSOLL_NODE_IMAGES"
STORE = "PLIMSOLL_NODE_STORE"
"""Which folder of the cache is the runtime's: images of one name differ where real engines stand in the place of the stand-in."""
OPERATOR = "docker.io/plimsoll/operator:0.1.0"
_MOST_LAYERS_BYTES = 6 << 30
# As every image made for CUDA, it asks for all GPUs of the node.
_ENGINE = f"FROM {BASE}\nENV NVIDIA_VISIBLE_DEVICES=all\nCOPY --chmod=755 vllm /usr/local/bin/vllm\n"
_SUITE = "bookworm"
_PACKAGES = ("python3", "python3-venv", "python-is-python3", "ca-certificates")
_SOURCES = ("deploy/Dockerfile", "pyproject.toml", "requirements-dev.txt", "README.md", "estimator", "operator")


def _files(paths: Iterable[Path]) -> list[Path]:
    found = [one for path in paths for one in ([path] if path.is_file() else sorted(path.rglob("*")))]
    return [path for path in found if path.is_file() and "__pycache__" not in path.parts]


def key_of(*parts: str | Path) -> str:
    """A digest of texts, files and folders."""
    digest = hashlib.sha256()
    for part in parts:
        if isinstance(part, str):
            digest.update(part.encode())
            continue
        for path in _files([part]):
            digest.update(path.relative_to(ROOT).as_posix().encode() + path.read_bytes())
    return digest.hexdigest()[:12]


def made(name: str, key: str, make: Callable[[Path], None]) -> Path:
    """The archive of that key; made unless it is there. Earlier ones of the name are dropped."""
    folder = cache_root() / "node-images"
    folder.mkdir(parents=True, exist_ok=True)
    archive = folder / f"{name}-{key}.tar"
    with _locked(f"node-image-{name}"):
        if not archive.exists():
            began = time.monotonic()
            say(f"building the image {name}, once for these sources, into {archive}")
            make(archive)
            for other in folder.glob(f"{name}-*.tar"):
                if other != archive:
                    other.unlink()
            say(f"built the image {name} in {time.monotonic() - began:.0f} s")
    return archive


def _run(*command: str | Path, cwd: Path | None = None) -> None:
    done = subprocess.run(command, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode != 0:
        raise AssetsError(
            f"{' '.join(map(str, command[:2]))} … ended with {done.returncode}:\n" + "\n".join(done.stdout.splitlines()[-20:])
        )


def pause() -> Path:
    """The process that holds a pod's namespaces."""

    def make(archive: Path) -> None:
        with tempfile.TemporaryDirectory() as folder:
            _run("gcc", "-O2", "-static", "-Wall", "-o", Path(folder) / "pause", HERE / "pause.c")
            write(Image(name=PAUSE, layers=[Layer(folder=Path(folder))], entrypoint=["/pause"], user="65535:65535"), archive)

    return made("pause", key_of(HERE / "pause.c", HERE / "oci.py"), make)


@contextmanager
def debian(archive: Path, *more: str) -> Iterator[Path]:
    """The root of a Debian with Python and these packages beside, while an archive is made of it."""
    root = archive.with_suffix(".root")
    shutil.rmtree(root, ignore_errors=True)
    try:
        _run("debootstrap", "--variant=minbase", f"--include={','.join((*_PACKAGES, *more))}", _SUITE, root)
        yield root
    finally:
        shutil.rmtree(root, ignore_errors=True)


def base() -> Path:
    """What stands in for the official Python image, which only a registry has."""

    def make(archive: Path) -> None:
        with debian(archive) as root:
            write(Image(name=BASE, layers=[Layer(folder=root)], command=["python3"]), archive)

    return made("base", key_of(_SUITE, *_PACKAGES, HERE / "oci.py"), make)


def operator() -> Path:
    """The project's image, from its own Dockerfile."""
    return made("operator", key_of(base().name, *(ROOT / name for name in _SOURCES)), _build_operator)


def engine() -> Path:
    """What stands in for vLLM's own image: a `vllm` without an engine."""

    def make(archive: Path) -> None:
        with tempfile.TemporaryDirectory() as name:
            context = Path(name)
            shutil.copy(HERE / "engine.py", context / "vllm")
            (context / "Dockerfile").write_text(_ENGINE)
            _build(context / "Dockerfile", context, ENGINE, archive)

    return made("engine", key_of(base().name, _ENGINE, HERE / "engine.py"), make)


def _pip_settings() -> str:
    """pip's settings of this machine (index, authorities) as a file: in the build alone, and not in the image."""
    listed = subprocess.run([sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=True).stdout
    rows = [line.partition("=") for line in listed.splitlines()]
    settings = {name.rpartition(".")[2]: value.strip("'\"") for name, _, value in rows}
    return "[global]\n" + "".join(f"{name} = {value}\n" for name, value in settings.items() if name != "find-links")


class _Buildah:
    """buildah with storage of its own. chroot isolation needs no runc, and has the host's network for pip."""

    def __init__(self, folder: Path) -> None:
        self._command: list[str | Path] = ["buildah", "--root", folder / "root", "--runroot", folder / "run", "--storage-driver", "overlay"]
        self._folder = folder

    def __call__(self, *arguments: str | Path) -> None:
        _run(*self._command, *arguments)

    def build(self, dockerfile: Path, context: Path, name: str, archive: Path) -> None:
        """Build a Dockerfile on the stand-in base and write the archive; it appears in one step."""
        settings = self._folder / "pip.conf"
        settings.write_text(_pip_settings())
        self("pull", f"oci-archive:{base()}")  # under the name in it, which is the one that Dockerfiles use
        volumes = ["--volume", f"{settings}:/etc/pip.conf:ro", "--volume", "/etc/ssl/certs:/etc/ssl/certs:ro"]
        self("bud", "--pull=never", "--isolation=chroot", "--format=oci", "--layers", *volumes, "-f", dockerfile, "-t", name, context)
        unfinished = archive.with_suffix(".unfinished")
        unfinished.unlink(missing_ok=True)
        self("push", name, f"oci-archive:{unfinished}:{name}")
        unfinished.rename(archive)


def _build_operator(archive: Path) -> None:
    _build(ROOT / "deploy" / "Dockerfile", ROOT, OPERATOR, archive)


def _build(dockerfile: Path, context: Path, name: str, archive: Path) -> None:
    """Layers are kept: when sources change, packages need not be installed again."""
    folder = archive.parent / "buildah"
    with _locked("node-buildah"):
        if folder.exists() and sum(path.lstat().st_size for path in folder.rglob("*")) > _MOST_LAYERS_BYTES:
            shutil.rmtree(folder)
        folder.mkdir(exist_ok=True)
        try:
            _Buildah(folder).build(dockerfile, context, name, archive)
        finally:  # buildah mounts its storage onto itself, and leaves that
            subprocess.run(["umount", folder / "root" / "overlay"], capture_output=True, check=False)


def handed() -> dict[str, Path]:
    """The images that were prepared before the sandbox was opened, in which none can be built."""
    if PREPARED not in os.environ:
        raise AssetsError("the images of a real node are prepared by `make node`, which runs these tests in its sandbox")
    return {name: Path(path) for name, path in json.loads(os.environ[PREPARED]).items()}


def obtain() -> dict[str, Path]:
    """All images by their names, built where they are not there. Raises AssetsError with the end of what the tool said."""
    os.environ["PATH"] = f"{os.environ['PATH']}:/usr/sbin:/sbin"
    return {PAUSE: pause(), OPERATOR: operator(), ENGINE: engine()}
