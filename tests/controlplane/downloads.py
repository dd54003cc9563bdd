"""Official release binaries of the control plane's programs, taken where they can be fetched and their published checksums hold.

Called by `assets.obtain` before anything is built, with the standard library alone. No network, no such release, a file that ends early: a
quiet None, and the programs are built. A checksum that does not hold is said aloud, and the programs are built too. Refuses to know Go.
"""

import hashlib
import http.client
import json
import os
import platform
import re
import shutil
import stat
import tarfile
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

CONNECT_TIMEOUT_S = 5
MOST_BYTES = 512 << 20
MOST_SUM_BYTES = 4 << 20
SAY_EVERY_S = 15
SWITCH = "PLIMSOLL_DOWNLOAD"
"""Set to 0 in the environment, nothing is fetched and everything is built."""
_MACHINES = {"x86_64": "amd64", "amd64": "amd64", "aarch64": "arm64", "arm64": "arm64"}


class Unavailable(Exception):
    """It cannot be had: the reason is for who asks, nothing is wrong."""


class ChecksumWrong(Exception):
    """It was had and is not what was published."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """One file of a release and where its SHA-256 is published.

    `members` maps a program to its path in the archive; an empty path: the file itself is the program.
    """

    url: str
    sums_url: str
    members: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """The files that hold all programs of a family, for one machine. Empty where none is published for it."""

    version: str
    files: tuple[Published, ...]


def machine() -> str | None:
    """Return this machine as Go calls it, None where no binaries are published for it."""
    return _MACHINES.get(platform.machine().lower()) if platform.system() == "Linux" else None


def kubernetes(version: str, arch: str) -> Release:
    """dl.k8s.io has each program with a .sha256 beside it (kubernetes.io, "Install and Set Up kubectl on Linux")."""
    base = f"https://dl.k8s.io/release/v{version}/bin/linux/{arch}"
    programs = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl")
    return Release(
        version=version, files=tuple(Published(url=f"{base}/{p}", sums_url=f"{base}/{p}.sha256", members={p: ""}) for p in programs)
    )


def etcd(version: str, arch: str) -> Release:
    """An archive, and SHA256SUMS of all of the release's files (etcd.io, "Install")."""
    base = f"https://github.com/etcd-io/etcd/releases/download/v{version}"
    folder = f"etcd-v{version}-linux-{arch}"
    file = Published(url=f"{base}/{folder}.tar.gz", sums_url=f"{base}/SHA256SUMS", members={"etcd": f"{folder}/etcd"})
    return Release(version=version, files=(file,))


def helm(version: str, arch: str) -> Release:
    """An archive with a .sha256sum beside it (helm.sh, "Installing Helm")."""
    url = f"https://get.helm.sh/helm-v{version}-linux-{arch}.tar.gz"
    return Release(version=version, files=(Published(url=url, sums_url=f"{url}.sha256sum", members={"helm": f"linux-{arch}/helm"}),))


def kwok(version: str, arch: str) -> Release:
    """A plain program; its sum is what the code host says of the asset (REST API, "Releases": assets[].digest)."""
    repository = "kubernetes-sigs/kwok"
    url = f"https://github.com/{repository}/releases/download/v{version}/kwok-linux-{arch}"
    sums = f"https://api.github.com/repos/{repository}/releases/tags/v{version}"
    return Release(version=version, files=(Published(url=url, sums_url=sums, members={"kwok": ""}),))


def prometheus(version: str, arch: str) -> Release:
    """An archive, and sha256sums.txt of all of the release's files (prometheus.io, "Download")."""
    base = f"https://github.com/prometheus/prometheus/releases/download/v{version}"
    folder = f"prometheus-{version}.linux-{arch}"
    file = Published(url=f"{base}/{folder}.tar.gz", sums_url=f"{base}/sha256sums.txt", members={"promtool": f"{folder}/promtool"})
    return Release(version=version, files=(file,))


def sum_of(text: str, name: str) -> str | None:
    """The SHA-256 that a text publishes for a file: one sum alone, lines of sums and names, or a release's assets as JSON."""
    if text.lstrip().startswith("{"):
        try:
            assets = json.loads(text).get("assets", [])
        except ValueError:
            return None
        stated = next((str(asset.get("digest")) for asset in assets if asset.get("name") == name), "")
        found = re.fullmatch(r"sha256:([0-9a-f]{64})", stated)
        return found[1] if found else None
    rows = [line.split() for line in text.splitlines() if line.strip()]
    alone = len(rows) == 1 and len(rows[0]) == 1
    stated = rows[0][0] if alone else next((row[0] for row in rows if len(row) == 2 and row[1].lstrip("*") == name), "")
    return stated.lower() if re.fullmatch(r"[0-9a-fA-F]{64}", stated) else None


@dataclass(slots=True, kw_only=True)
class Fetcher:
    """Fetches over the network. A host that could not be reached is not asked again: a machine without a network waits once."""

    say: Callable[[str], None]
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ)
    unreachable: set[str] = field(default_factory=set)

    def fetch(self, release: Release, target: Path) -> dict[str, Path] | None:
        """Return the release's programs in `target`, made in one step; None where they cannot be had or are not what was published."""
        if self.environ.get(SWITCH) == "0" or not release.files:
            return None
        unfinished = target.with_name(f"{target.name}.unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        try:
            for file in release.files:
                self._fetch_file(file, unfinished)
            unfinished.rename(target)
        except Unavailable:
            return None
        except ChecksumWrong as error:
            self.say(f"{error}: it is not used, the programs are built instead")
            return None
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
        return {program: target / program for file in release.files for program in file.members}

    def _fetch_file(self, file: Published, folder: Path) -> None:
        name = file.url.rsplit("/", 1)[-1]
        with self._open(file.sums_url) as answer:
            stated = sum_of(_text(answer), name)
        if stated is None:
            raise Unavailable(f"no checksum is published for {name}")
        path = folder / f".{name}"
        with self._open(file.url) as answer, path.open("wb") as out:
            found = self._copy(answer, out, name)
        if found != stated:
            raise ChecksumWrong(f"{file.url} has SHA-256 {found}, published is {stated}")
        for program, member in file.members.items():
            if member:
                _unpack(path, member, folder / program)
            else:
                path.rename(folder / program)
            (folder / program).chmod(0o755)
        path.unlink(missing_ok=True)

    def _open(self, url: str) -> http.client.HTTPResponse:
        host = urllib.parse.urlsplit(url).netloc
        if host in self.unreachable:
            raise Unavailable(f"{host} cannot be reached")
        try:
            answer: http.client.HTTPResponse = urllib.request.urlopen(url, timeout=CONNECT_TIMEOUT_S)
        except urllib.error.HTTPError as error:
            raise Unavailable(f"{url}: {error.code}") from error
        except (OSError, ValueError, http.client.HTTPException) as error:  # no name, no route, no answer in time, a broken certificate
            self.unreachable.add(host)
            raise Unavailable(f"{host}: {error}") from error
        if url.startswith("https:") and not answer.geturl().startswith("https:"):
            answer.close()
            raise Unavailable(f"{url} leads to a place without TLS")
        return answer

    def _copy(self, answer: http.client.HTTPResponse, out: BinaryIO, name: str) -> str:
        """Write what comes, telling how far it is; return its SHA-256."""
        digest, count = hashlib.sha256(), 0
        told = time.monotonic()
        try:
            while chunk := answer.read(1 << 20):
                count += len(chunk)
                if count > MOST_BYTES:
                    raise Unavailable(f"{name} is larger than {MOST_BYTES} bytes")
                digest.update(chunk)
                out.write(chunk)
                if time.monotonic() - told >= SAY_EVERY_S:
                    told = time.monotonic()
                    self.say(f"  {name}: {count >> 20} MiB")
        except (OSError, ValueError, http.client.HTTPException) as error:  # ended early, or stood still
            raise Unavailable(f"{name}: {error}") from error
        if answer.headers.get("Content-Length") not in (None, str(count)):
            raise Unavailable(f"{name} ended after {count} bytes")
        return digest.hexdigest()


def _text(answer: http.client.HTTPResponse) -> str:
    try:
        return answer.read(MOST_SUM_BYTES).decode("utf-8", "replace")
    except (OSError, http.client.HTTPException) as error:
        raise Unavailable(f"{answer.geturl()}: {error}") from error


def _unpack(archive: Path, member: str, to: Path) -> None:
    """One file of a checked archive; nothing else of it is written anywhere."""
    try:
        with tarfile.open(archive) as opened:
            source = opened.extractfile(member)
            if source is None:
                raise Unavailable(f"{archive.name} holds no file {member}")
            with source, to.open("wb") as out:
                shutil.copyfileobj(source, out)
    except (KeyError, tarfile.TarError, EOFError) as error:
        raise Unavailable(f"{archive.name} holds no {member}: {error}") from error


def are_there(target: Path, programs: Mapping[str, str]) -> dict[str, Path] | None:
    """Return the programs that were fetched into `target` before, None where they were not."""
    paths = {program: target / program for program in programs}
    return paths if all(path.is_file() and path.stat().st_mode & stat.S_IXUSR for path in paths.values()) else None
