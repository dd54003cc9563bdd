"""`make kind`: the end-to-end tests on a kind cluster, with Plimsoll as an image behind a Service.

Needs a container engine; without one it ends with one sentence and status 1.
"""

import os
import shutil
import subprocess
import sys

from tests.controlplane.assets import FAMILIES, KIND, AssetsError, obtain
from tests.e2e.installation import ROOT

CLUSTER = "plimsoll-test"
IMAGE = "plimsoll/operator:test"


def container_engine() -> str | None:
    """Return the first container engine whose daemon answers."""
    for engine in ("docker", "podman"):
        if shutil.which(engine) and subprocess.run([engine, "info"], capture_output=True, check=False).returncode == 0:
            return engine
    return None


def main() -> int:
    """Create the cluster, load the image, run the tests, delete the cluster; return pytest's status."""
    engine = container_engine()
    if engine is None:
        print("make kind needs a running container engine (docker or podman), and none answers here; make test needs none", file=sys.stderr)
        return 1
    try:
        assets = obtain((*FAMILIES, KIND))
    except AssetsError as error:
        print(f"plimsoll: {error}", file=sys.stderr)
        return 1
    work = ROOT / ".work"
    work.mkdir(exist_ok=True)
    kubeconfig = work / "kind.kubeconfig"
    environment = {**os.environ, "KIND_EXPERIMENTAL_PROVIDER": engine, "PLIMSOLL_KUBECONFIG": str(kubeconfig), "PLIMSOLL_IMAGE": IMAGE}
    named = ["--name", CLUSTER]
    try:
        subprocess.run([engine, "build", "-f", "deploy/Dockerfile", "-t", IMAGE, "."], cwd=ROOT, check=True)
        subprocess.run(
            [assets["kind"], "create", "cluster", *named, "--kubeconfig", kubeconfig, "--wait", "120s"], env=environment, check=True
        )
        subprocess.run([assets["kind"], "load", "docker-image", IMAGE, *named], env=environment, check=True)
        tests = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "e2e and not own_plane", "tests/e2e"]
        return subprocess.run(tests, cwd=ROOT, env=environment, check=False).returncode
    except subprocess.CalledProcessError as error:
        print(f"make kind: {' '.join(map(str, error.cmd[:3]))} ended with {error.returncode}", file=sys.stderr)
        return 1
    finally:
        subprocess.run([assets["kind"], "delete", "cluster", *named], env=environment, check=False)


if __name__ == "__main__":
    sys.exit(main())
