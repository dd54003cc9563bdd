"""The controller as its image runs it, on a real control plane: by a user with a number and no name, whom no variable names either."""

import os
import sys
import urllib.error
import urllib.request

import pytest
from tests.controlplane import ControlPlane
from tests.controlplane.cluster import wait_until
from tests.controlplane.plane import free_ports
from tests.e2e.installation import NAMESPACE, RELEASE, Installation
from tests.e2e.wishes import Wishes, wish

pytestmark = pytest.mark.e2e
NUMBER = 65532  # the user of the image and of the chart's pods
# The interpreter may lie in a folder of root's: the right to read is kept, the name is not.
BY_ROOT: tuple[str, ...] = ("setpriv", f"--reuid={NUMBER}", f"--regid={NUMBER}", "--clear-groups", "--inh-caps=-all,+dac_read_search")
BY_ROOT += ("--ambient-caps=-all,+dac_read_search", "--pdeathsig=KILL", "--no-new-privs")
BY_OTHERS = ("unshare", "--user", f"--map-user={NUMBER}", f"--map-group={NUMBER}")  # its own files look like the number's
AS_NUMBER = BY_ROOT if os.geteuid() == 0 else BY_OTHERS


def ready(port: int) -> str:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5) as answer:
            return str(answer.read().decode()).strip()
    except urllib.error.HTTPError as error:
        with error:
            return error.read().decode().strip()
    except OSError:
        return "gone"


def test_a_user_without_a_name_leads_and_plans(installation: Installation, own_plane: ControlPlane, namespace: str) -> None:
    """Its readiness says so only once it leads; what it leads is then really worked on."""
    installation.stop("controller")
    health, metrics = free_ports(2)
    kubeconfig = own_plane.kubeconfig_for(NAMESPACE, f"{RELEASE}-controller")
    if AS_NUMBER is BY_ROOT:
        os.chown(kubeconfig, NUMBER, NUMBER)
    arguments = [f"--namespace={NAMESPACE}", "--offline", f"--health-port={health}", f"--metrics-port={metrics}"]
    environment = {"KUBECONFIG": str(kubeconfig), "PYTHONUNBUFFERED": "1", "PYTHONDONTWRITEBYTECODE": "1", "PATH": os.environ["PATH"]}
    environment["PYTHONPATH"] = os.pathsep.join(sys.path)
    program = [*AS_NUMBER, sys.executable, "-m", "plimsoll_operator.controller", *arguments]
    child = own_plane.processes.start("controller-nameless", program, env=environment)
    try:
        said: list[str] = []

        def leads() -> bool:
            child.check()
            said.append(ready(health))
            return said[-1] == "ok"

        wait_until(leads, "the nameless controller to be ready", timeout_s=90)
        assert installation.leader(), said
        wishes = Wishes(own_plane, namespace)
        wishes.create(wish("by-a-number"))
        wait_until(lambda: wishes.child("by-a-number"), "a plan of the nameless leader")
        child.check()
    finally:
        own_plane.processes.stop("controller-nameless")
        installation.start_controller()
