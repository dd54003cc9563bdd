"""Writes an image as an OCI archive, from folders and without a container tool. Called by `images`; knows nothing of what is in them.

The layout is the OCI image specification's; `io.containerd.image.name` is where containerd looks for the name.
"""

import hashlib
import io
import json
import subprocess
import tarfile
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

_SEARCH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_NOT_PART_OF_A_ROOT = ("./dev/*", "./proc/*", "./sys/*", "./var/cache/apt/archives/*.deb", "./var/lib/apt/lists/*")
_MANIFEST = "application/vnd.oci.image.manifest.v1+json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """A folder that becomes a layer, all of it root's, below `prefix`."""

    folder: Path
    prefix: str = ""

    def write(self, out: Path) -> None:
        """Write it as an uncompressed tar, the same for the same files."""
        left_out = [] if self.prefix else [f"--exclude={pattern}" for pattern in _NOT_PART_OF_A_ROOT]
        # rSh: names and hard links move below the prefix, what symbolic links point to does not.
        moved = [f"--transform=flags=rSh;s,^\\.,./{self.prefix}," if self.prefix else "--no-same-owner"]
        command: list[str | Path] = [
            "tar",
            "-C",
            self.folder,
            "--sort=name",
            "--numeric-owner",
            "--owner=0",
            "--group=0",
            *left_out,
            *moved,
            "-cf",
            out,
            ".",
        ]
        subprocess.run(command, check=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """What an archive is made of. `name` is the full reference, as docker.io/library/python:3.11-slim."""

    name: str
    layers: Sequence[Layer]
    entrypoint: Sequence[str] = ()
    command: Sequence[str] = ()
    user: str = ""
    environment: Sequence[str] = ()
    """NAME=VALUE, beside the PATH that each image has."""

    def _config(self) -> dict[str, object]:
        config: dict[str, object] = {"Env": [_SEARCH, *self.environment]}
        optional = {"Entrypoint": list(self.entrypoint), "Cmd": list(self.command), "User": self.user}
        return config | {key: value for key, value in optional.items() if value}


def _digest(path: Path) -> str:
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


class _Archive:
    """An archive that is being written; blobs are named by their digest."""

    def __init__(self, tar: tarfile.TarFile) -> None:
        self._tar = tar
        self._written: set[str] = set()

    def text(self, value: object) -> dict[str, object]:
        """Add a JSON blob and return how it is referred to."""
        data = json.dumps(value).encode()
        digest = hashlib.sha256(data).hexdigest()
        self.add(f"blobs/sha256/{digest}", data)
        return {"digest": f"sha256:{digest}", "size": len(data)}

    def add(self, path: str, data: bytes) -> None:
        info = tarfile.TarInfo(path)
        info.size = len(data)
        self._tar.addfile(info, io.BytesIO(data))

    def file(self, path: Path) -> dict[str, object]:
        """Add a file as a blob and return how it is referred to."""
        digest = _digest(path)
        if digest not in self._written:
            self._tar.add(path, arcname=f"blobs/sha256/{digest}")
            self._written.add(digest)
        return {"digest": f"sha256:{digest}", "size": path.stat().st_size}


def write(image: Image, out: Path) -> None:
    """Write the archive; it appears in one step, whole."""
    unfinished = out.with_suffix(".unfinished")
    with tempfile.TemporaryDirectory(dir=out.parent) as name, tarfile.open(unfinished, "w") as tar:
        archive = _Archive(tar)
        layers = []
        for number, layer in enumerate(image.layers):
            path = Path(name) / f"{number}.tar"
            layer.write(path)
            layers.append({"mediaType": "application/vnd.oci.image.layer.v1.tar", **archive.file(path)})
        config = {
            "architecture": "amd64",
            "os": "linux",
            "config": image._config(),
            "rootfs": {"type": "layers", "diff_ids": [layer["digest"] for layer in layers]},  # not compressed: both digests are one
            "history": [{"created_by": "plimsoll's tests"} for _ in layers],  # without it nothing can be built on the image
        }
        reference = {"mediaType": "application/vnd.oci.image.config.v1+json", **archive.text(config)}
        manifest = {"schemaVersion": 2, "mediaType": _MANIFEST, "config": reference, "layers": layers}
        names = dict.fromkeys(("io.containerd.image.name", "org.opencontainers.image.ref.name"), image.name)
        index = {"schemaVersion": 2, "manifests": [{"mediaType": _MANIFEST, **archive.text(manifest), "annotations": names}]}
        archive.add("oci-layout", b'{"imageLayoutVersion":"1.0.0"}')
        archive.add("index.json", json.dumps(index).encode())
    unfinished.rename(out)
