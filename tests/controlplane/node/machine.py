"""Whether this machine can have a real node, in one sentence; and what a run has left on it, by comparing before and after.

Called by `python -m tests.controlplane.node`, outside the sandbox; run as a file, with the standard library alone, it names Debian's
packages that are missing, and `.ci/run` installs them. Knows no Kubernetes.
"""

import contextlib
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Self

_DEBIAN = {  # program: Debian's package
    "runc": "runc",
    "/usr/lib/cni/bridge": "containernetworking-plugins",
    "/usr/lib/cni/host-local": "containernetworking-plugins",
    "/usr/lib/cni/loopback": "containernetworking-plugins",
    "nft": "nftables",
    "buildah": "buildah",
    "debootstrap": "debootstrap",
    "gcc": "gcc",
    "ip": "iproute2",
    "unshare": "util-linux",
    "nsenter": "util-linux",
    "setpriv": "util-linux",
}
_SEARCH = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
_WHOSE = ("plimsoll-node-", "/containerd-shim-runc-v2", "/kubelet ", "/kube-proxy ")


def lacks() -> str:
    """Why no real node can run here; empty where it can."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "a real node needs Linux and root: it makes namespaces, cgroups and network links (make test needs neither)"
    if missing := missing_packages():
        return f"a real node needs programs that are not here: apt-get install --no-install-recommends {' '.join(missing)}"
    if not Path("/sys/fs/cgroup/cpuset/cpuset.cpus").exists():
        return "a real node is tried with the hierarchies of cgroup v1, and this machine has none below /sys/fs/cgroup"
    opened = subprocess.run(["unshare", "--net", "--mount", "--pid", "--fork", "true"], capture_output=True, text=True, check=False)
    if opened.returncode != 0:
        return f"a real node needs namespaces of its own, which are refused here: {opened.stderr.strip()}"
    return ""


def missing_packages() -> list[str]:
    """Debian's names of what is not installed."""
    return sorted({package for program, package in _DEBIAN.items() if not shutil.which(program, path=_SEARCH)})


@dataclass(frozen=True, slots=True, kw_only=True)
class Traces:
    """What a node could leave on a machine, as it is now."""

    mounts: frozenset[str]
    cgroups: frozenset[str]
    links: frozenset[str]
    nftables: frozenset[str]
    folders: frozenset[str]
    processes: frozenset[str]

    @classmethod
    def now(cls) -> Self:
        """Look. Of processes and mounts only what could be a node's: others' work goes on beside it.

        Without nft, no node can have made a rule.
        """
        mounts = {line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()}
        cgroups = {str(path) for path in Path("/sys/fs/cgroup").glob("*/plimsoll-node-*")}
        links = {path.name for path in Path("/sys/class/net").iterdir()}
        nft = shutil.which("nft", path=_SEARCH)
        listed = subprocess.run([nft, "list", "ruleset"], capture_output=True, text=True, check=False).stdout if nft else ""
        folders = {name for name in ("/var/lib/kubelet", "/var/lib/cni", "/run/containerd", "/run/node") if Path(name).exists()}
        return cls(
            mounts=frozenset(mounts),
            cgroups=frozenset(cgroups),
            links=frozenset(links),
            nftables=frozenset(listed.splitlines()),
            folders=frozenset(folders),
            processes=frozenset(_processes()),
        )

    def left_by(self, after: "Traces") -> list[str]:
        """What is there afterwards and was not before, a line each."""
        return [f"{row.name}: {one}" for row in fields(self) for one in sorted(getattr(after, row.name) - getattr(self, row.name))]


def remove_cgroups(sandbox: int) -> None:
    """Take away what a sandbox of this process number has left: one that was killed could not do it. Nothing runs in them any more."""
    for top in Path("/sys/fs/cgroup").glob(f"*/plimsoll-node-{sandbox}"):
        for folder in [*sorted((path for path in top.rglob("*") if path.is_dir()), reverse=True), top]:
            with contextlib.suppress(OSError):  # what still runs in it is named as left
                folder.rmdir()


def _processes() -> set[str]:
    found = set()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if any(part in command for part in _WHOSE):
            found.add(f"{folder.name} {command[:120]}")
    return found


if __name__ == "__main__":
    print(*missing_packages())
