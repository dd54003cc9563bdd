"""`make playground`: a cluster to try things on, with Plimsoll installed, that stays until Ctrl-C.

The same control plane, fake GPU nodes and installation as the demo's. Says how another shell reaches them and what to try there; the
test of it types the same lines. Checks nothing itself.
"""

import fcntl
import os
import shlex
import shutil
import signal
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.controlplane import FAKE_GPU_NODES, AssetsError, ControlPlane, obtain
from tests.controlplane.cluster import wait_until
from tests.controlplane.processes import ProcessDied
from tests.e2e.installation import ROOT, Installation

FOLDER = ROOT / ".work" / "playground"
NAMESPACE = "models"
LOOK_EVERY_S = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Try:
    """A line to type, what it shows, and whether it is meant to be refused."""

    line: str
    shows: str
    refused: bool = False


THINGS_TO_TRY = (
    Try(line="plimsoll capacity", shows="the GPUs that are played here, by pool"),
    Try(line="plimsoll fit llama-3.3-70b", shows="on which of them a model fits, with how much context"),
    Try(line="kubectl apply -f examples/01-smallest.yaml", shows="a model is planned, and its pod started"),
    Try(line="kubectl get infd,pods -o wide", shows="how it stands"),
    Try(line="plimsoll status smallest", shows="the same in words, and what next"),
    Try(line="kubectl apply -f examples/06-rejected-context.yaml", shows="what cannot start is refused, with what could", refused=True),
    Try(line="plimsoll fit qwen3-8b --context 32K -o manifest | kubectl apply -f -", shows="from the question to the pods"),
    Try(line="kubectl scale infd smallest --replicas=3", shows="more than its GPUs: it waits, and other GPUs are proposed"),
    Try(line="kubectl describe infd smallest", shows="conditions, the proposed plan, events"),
    Try(line="kubectl cordon h100-0 && plimsoll fit llama-3.3-70b; kubectl uncordon h100-0", shows="a node that takes no pods"),
    Try(line="plimsoll doctor", shows="whether the installation is sound"),
    Try(line="kubectl delete infd --all", shows="all of it goes"),
)


class AlreadyRunning(Exception):
    """Another playground of this checkout has not been stopped."""


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """One playground in a checkout: a second would write over what shells of the first have read."""
    folder.parent.mkdir(exist_ok=True)
    with folder.with_suffix(".lock").open("w") as held:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise AlreadyRunning from None
        shutil.rmtree(folder, ignore_errors=True)
        yield


def exported(programs: Mapping[str, Path], folder: Path, kubeconfig: Path) -> Path:
    """Write what another shell sources, beside a folder of links to the programs; return the file."""
    links = folder / "bin"
    links.mkdir(parents=True)
    for name, program in programs.items():
        (links / name).symlink_to(program)
    file = folder / "env"
    file.write_text(f"export KUBECONFIG={shlex.quote(str(kubeconfig))}\nexport PATH={shlex.quote(str(links))}:$PATH\n")
    return file


def said(path: Path) -> str:
    """A path as somebody in this checkout types it."""
    return shlex.quote(str(path.relative_to(ROOT) if path.is_relative_to(ROOT) else path))


def guide(file: Path, folder: Path, seconds: float) -> str:
    """What is said once everything runs."""
    lines = [f"\nIt runs, after {seconds:.0f} s. In another shell, in {shlex.quote(str(ROOT))}:\n", f"  . {said(file)}\n"]
    lines += [f"  # {each.shows}\n  {each.line}" for each in THINGS_TO_TRY]
    lines += [f"\nPods here are played: no engine answers. Namespace {NAMESPACE}; logs in {said(folder)}/*.log."]
    return "\n".join([*lines, "Ctrl-C ends all of it."])


def opened(plane: ControlPlane) -> None:
    """Install Plimsoll, add the nodes, and wait for their pools."""
    installation = Installation(cluster=plane)
    installation.install()
    plane.add_nodes(FAKE_GPU_NODES)
    plane.kubectl("create", "namespace", NAMESPACE)
    plane.kubectl("config", "set-context", "--current", f"--namespace={NAMESPACE}")
    products = {node.gpu.product for node in FAKE_GPU_NODES}
    wait_until(lambda: len(plane.get("gpupools")["items"]) >= len(products), "the GPUPools of the nodes")


def keep(plane: ControlPlane) -> None:
    """Return never; raise ProcessDied when one of the programs ends by itself."""
    while True:
        plane.processes.check()
        time.sleep(LOOK_EVERY_S)


def main(folder: Path = FOLDER) -> int:
    """Run until Ctrl-C; return the exit status."""
    began = time.monotonic()
    try:
        assets = obtain()
        with alone(folder):
            print("starting a control plane, webhook and controller: half a minute or so", flush=True)
            with ControlPlane.start(folder, assets=assets) as plane:
                opened(plane)
                ours = Path(sys.executable).with_name("plimsoll")
                programs = {"kubectl": plane.assets["kubectl"], "helm": plane.assets["helm"], "plimsoll": ours}
                file = exported(programs, folder, plane.kubeconfig)
                print(guide(file, folder, time.monotonic() - began), flush=True)
                try:
                    keep(plane)
                finally:
                    file.unlink()
    except AlreadyRunning:
        print(f"plimsoll: a playground runs already; another shell gets to it by: . {said(folder / 'env')}", file=sys.stderr)
    except (AssetsError, ProcessDied, TimeoutError, RuntimeError) as error:
        print(f"plimsoll: {error}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    os.chdir(ROOT)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell starts what runs beside it with Ctrl-C ignored
    try:
        sys.exit(main(*map(Path, sys.argv[1:2])))
    except KeyboardInterrupt:
        print("\nthe playground is closed; everything that was started has been stopped")
