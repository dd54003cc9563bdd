"""Plimsoll as it ships: its image in pods of a real node, installed by the chart, called through its Service. Run by `make node`.

The tests are one story, in order: install, use, break, upgrade, uninstall. The node is an ordinary one: GPUs are kwok's nodes beside it.
"""

import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml
from tests.controlplane import FAKE_GPU_NODES, KubectlError
from tests.controlplane.cluster import Json, wait_until
from tests.controlplane.node import images
from tests.controlplane.node.real_node import NAME, RealNode
from tests.e2e.demo import EXAMPLES, EXPECTED, Demo, PodWatch, show_change, show_deletion, show_example
from tests.e2e.demo import NAMESPACE as MODELS
from tests.e2e.installation import CHART, NAMESPACE, RELEASE, ROOT
from tests.e2e.volumes import volume
from tests.plimsoll_operator.checkpoints import write_checkpoint

pytestmark = pytest.mark.e2e
PROGRAMS = ("controller", "webhook")
DEPLOYED = (*PROGRAMS, "certificates")
MINUTES = float(os.environ.get("MINUTES", "2"))
"""For so long reviews go on while things are taken away, and what is rendered is applied again and again."""
REAPPLIED, REAPPLIED_EVERY_S = 10, 60 if MINUTES >= 10 else 0
VALUES = ("--set", f"nodeSelector.kubernetes\\.io/hostname={NAME}", "--set", "hub.offline=true")  # kwok would only pretend to run them


@pytest.fixture(scope="module")
def node(workdir: Path) -> Iterator[RealNode]:
    with RealNode.boot(workdir, images=images.handed(), gpus=0) as plane:
        print("\nboot: " + ", ".join(f"{name} {seconds} s" for name, seconds in plane.boot_seconds.items()))
        plane.kubectl("create", "namespace", MODELS)
        plane.add_nodes(FAKE_GPU_NODES)
        yield plane


def pods(node: RealNode, program: str) -> list[Json]:
    """The program's pods that are not on their way out."""
    found = node.pods(NAMESPACE, f"app.kubernetes.io/component={program}")
    return [pod for pod in found if "deletionTimestamp" not in pod["metadata"]]


def restarts(node: RealNode) -> int:
    return sum(row["restartCount"] for program in DEPLOYED for pod in pods(node, program) for row in pod["status"]["containerStatuses"])


def rolled_out(node: RealNode) -> None:
    for program in DEPLOYED:
        status = ("rollout", "status", f"deployment/{RELEASE}-{program}", "-n", NAMESPACE, "--timeout=120s")
        node.kubectl(*status, timeout_s=130)


def leader(node: RealNode) -> str:
    """The pod that leads; empty where nobody does."""
    path = f"/apis/coordination.k8s.io/v1/namespaces/{NAMESPACE}/leases/plimsoll-controller"
    return str(node.request("GET", path)[1].get("spec", {}).get("holderIdentity") or "").rpartition("_")[0]


def status_of(node: RealNode, name: str, namespace: str = MODELS) -> Json:
    status: Json = node.get("infd", name, "-n", namespace).get("status", {})
    return status


def condition(node: RealNode, name: str, kind: str, namespace: str = MODELS) -> tuple[str, str, str]:
    """Status, reason and message."""
    rows = status_of(node, name, namespace).get("conditions", [])
    return next(((row["status"], row["reason"], row["message"]) for row in rows if row["type"] == kind), ("", "", ""))


def smallest(name: str, **engine: object) -> str:
    """examples/01-smallest.yaml under another name."""
    manifest = yaml.safe_load((EXAMPLES / "01-smallest.yaml").read_text())
    manifest["metadata"]["name"] = name
    manifest["spec"].setdefault("engine", {}).update(engine)
    return yaml.safe_dump(manifest)


ASKED = yaml.safe_load(smallest("asked"))


def asks_in_vain(node: RealNode) -> list[str]:
    """What the API server answers to a dry run that must be admitted; empty where it is."""
    path = f"/apis/inference.plimsoll.dev/v1alpha1/namespaces/{MODELS}/inferencedeployments?dryRun=All"
    status, answer = node.request("POST", path, ASKED)
    return [] if status == 201 else [f"{status} {answer.get('message')}"]


class Asking:
    """Asks for admission again and again, so often a second, by dry runs through the ClusterIP, and keeps what was refused."""

    def __init__(self, node: RealNode, *, a_second: int = 20) -> None:
        self._node, self._stop_now, self._lock = node, threading.Event(), threading.Lock()
        self.asked = 0
        self.refused: list[str] = []
        node.proxy_port()  # one for all threads
        self._threads = [threading.Thread(target=self._ask, args=(part / a_second, 4 / a_second), daemon=True) for part in range(4)]
        for thread in self._threads:
            thread.start()

    def _ask(self, after_s: float, every_s: float) -> None:
        due = time.monotonic() + after_s
        while not self._stop_now.wait(max(0.0, due - time.monotonic())):
            due = max(due + every_s, time.monotonic() - 1)  # what a busy machine was late with is not caught up in a burst
            refused = asks_in_vain(self._node)
            with self._lock:
                self.asked += 1
                self.refused += [f"{time.strftime('%H:%M:%S')} {one}" for one in refused]

    def end(self) -> None:
        self._stop_now.set()
        for thread in self._threads:
            thread.join(30)


def test_the_chart_s_two_programs_come_up_twice_and_stay(node: RealNode) -> None:
    began = time.monotonic()
    node.helm("install", RELEASE, CHART, "--namespace", NAMESPACE, "--create-namespace", *VALUES, "--wait", "--timeout", "120s")
    rolled_out(node)
    print(f"\nhelm install to all Ready: {time.monotonic() - began:.1f} s")
    assert {program: len(pods(node, program)) for program in PROGRAMS} == dict.fromkeys(PROGRAMS, 2)
    wait_until(lambda: leader(node), "a controller to lead")
    time.sleep(3)  # a leader that cannot work dies or is unready within a second
    rolled_out(node)
    assert restarts(node) == 0


# In each program's own pod: its user, its root, its packages and its bytecode. Printed as JSON.
LOOK = """
import importlib.metadata, importlib.util, json, os, pathlib, sys
written = []
for folder in ("/", "/opt/plimsoll", os.path.expanduser("~")):
    try:
        pathlib.Path(folder, "probe").write_text("x"); written.append(folder)
    except OSError:
        pass
import plimsoll_operator.controller.__main__, plimsoll_operator.webhook.__main__, plimsoll_operator.profiles.reader, plimsoll_operator.cli
stale = []
for name, module in list(sys.modules.items()):
    cached = getattr(getattr(module, "__spec__", None), "cached", None)
    if cached and (not os.path.exists(cached) or pathlib.Path(cached).read_bytes()[4:8] != b"\\x01\\0\\0\\0"):
        stale.append(name)
installed = {one.metadata["Name"].lower().replace("_", "-"): one.version for one in importlib.metadata.distributions()}
print(json.dumps({"uid": os.getuid(), "written": written, "stale": stale, "installed": installed}))
"""


@pytest.mark.parametrize("program", PROGRAMS)
def test_the_image_is_what_was_tested_and_nothing_can_be_written_in_it(node: RealNode, program: str) -> None:
    """Packages of the pinned versions, no installer, bytecode that is never compiled again, a user without a name."""
    looked = node.kubectl("exec", "-n", NAMESPACE, f"deployment/{RELEASE}-{program}", "--", "python", "-c", LOOK).stdout
    found = json.loads(looked)
    pinned = dict(line.split("==") for line in (ROOT / "requirements-dev.txt").read_text().splitlines() if "==" in line)
    pinned = {name.lower().replace("_", "-"): version for name, version in pinned.items()}
    ours = found["installed"].pop("plimsoll-operator")
    assert ours
    assert found["installed"].items() <= pinned.items()
    assert not {"pip", "setuptools", "hatchling", "pytest", "mypy"} & set(found["installed"])
    assert (found["uid"], found["written"], found["stale"]) == (65532, [], [])


def test_the_command_works_in_the_image(node: RealNode) -> None:
    shown = node.kubectl("exec", "-n", NAMESPACE, f"deployment/{RELEASE}-webhook", "--", "plimsoll", "gpus").stdout
    assert "NVIDIA-L4" in shown


def test_every_example_leads_to_what_the_demo_reservations(node: RealNode) -> None:
    """The API server asks the webhook through its ClusterIP; what is planned is told to pods on kwok's GPU nodes."""
    products = {row.gpu.product for row in FAKE_GPU_NODES}
    wait_until(lambda: len(node.get("gpupools")["items"]) == len(products), "the GPUPools of the fake nodes")
    demo, watch = Demo(node), PodWatch(node)
    for path in sorted(EXAMPLES.glob("*.yaml")):
        assert path.name in EXPECTED
        with demo.step(path.name):
            show_example(demo, watch, path)
    show_change(demo)
    show_deletion(demo)
    assert demo.failures == []


def on_a_volume(name: str, claim: str, **template: object) -> str:
    manifest = yaml.safe_load((EXAMPLES / "11-weights-on-a-volume.yaml").read_text())
    manifest["metadata"]["name"] = name
    manifest["spec"]["model"] = {"name": f"acme/{name}", "source": {"persistentVolumeClaim": {"claimName": claim, "path": "tiny"}}}
    manifest["spec"]["template"] = template
    return yaml.safe_dump(manifest)


@pytest.fixture
def checkpoint(workdir: Path) -> Callable[..., str]:
    """Makes a claim with a checkpoint on the real node, its weights of a mode and an owner; returns the claim's name."""

    def make(node: RealNode, name: str, *, mode: int, owner: int = 0) -> str:
        folder = workdir / "volumes" / name
        write_checkpoint(folder / "tiny")
        weights = folder / "tiny" / "model.safetensors"
        weights.chmod(mode)
        for path in (folder / "tiny", weights):
            os.chown(path, owner, owner)
        node.kubectl("apply", "-f", "-", stdin=volume(name, folder, namespace=MODELS))
        wait_until(lambda: node.get("pvc", name, "-n", MODELS)["status"].get("phase") == "Bound", "the claim to be bound")
        return name

    return make


def test_a_reader_pod_reads_a_real_volume(node: RealNode, checkpoint: Callable[..., str]) -> None:
    claim = checkpoint(node, "weights-open", mode=0o644)
    began = time.monotonic()
    node.kubectl("apply", "-n", MODELS, "-f", "-", stdin=on_a_volume("tiny", claim))
    wait_until(lambda: condition(node, "tiny", "ModelResolved")[0] == "True", "the reader pod's result")
    print(f"\nreader pod applied to read: {time.monotonic() - began:.1f} s")
    wait_until(lambda: status_of(node, "tiny").get("plan"), "a plan by what was read")
    wait_until(lambda: not node.pods(MODELS, "inference.plimsoll.dev/reader"), "the reader pod to be taken away")


def test_weights_that_are_their_owner_s_alone_are_read_as_their_owner(node: RealNode, checkpoint: Callable[..., str]) -> None:
    """Mode 0600, as `save_pretrained` writes: it is said whose they are and what to do, and done it is read."""
    claim = checkpoint(node, "weights-closed", mode=0o600, owner=1000)
    node.kubectl("apply", "-n", MODELS, "-f", "-", stdin=on_a_volume("closed", claim))

    def refused() -> str:
        status, _, message = condition(node, "closed", "ModelResolved")
        return message if status == "False" else ""

    said = wait_until(refused, "the refusal to be said")
    for words in ("model.safetensors: Permission denied (mode 0600 of user 1000", "read as user 65532", "securityContext.runAsUser"):
        assert words in said
    patch = {"spec": {"template": {"securityContext": {"runAsUser": 1000, "runAsGroup": 1000}}}}
    node.kubectl("patch", "infd", "closed", "-n", MODELS, "--type=merge", "-p", json.dumps(patch))
    wait_until(lambda: condition(node, "closed", "ModelResolved")[0] == "True", "it to be read as its owner")


def test_a_leader_that_goes_is_followed_at_once(node: RealNode) -> None:
    before = leader(node)
    began = time.monotonic()
    node.kubectl("delete", "pod", before, "-n", NAMESPACE, "--wait=false")
    wait_until(lambda: leader(node) not in ("", before), "another leader", timeout_s=14, every_s=0.02)
    print(f"\nleader deleted to the next: {time.monotonic() - began:.1f} s")
    rolled_out(node)
    node.kubectl("apply", "-n", MODELS, "-f", "-", stdin=smallest("after-the-leader"))
    wait_until(lambda: node.pods(MODELS, "inference.plimsoll.dev/name=after-the-leader"), "a pod by the next leader")


def test_no_review_fails_while_the_webhook_is_replaced_pod_by_pod(node: RealNode) -> None:
    asking = Asking(node)
    try:
        node.helm(
            "upgrade", RELEASE, CHART, "--namespace", NAMESPACE, *VALUES, "--set", "webhook.drainSeconds=6", "--wait", "--timeout", "180s"
        )
        rolled_out(node)
    finally:
        asking.end()
    print(f"\n{asking.asked} reviews during the rollout")
    assert asking.asked > 50
    assert asking.refused == []
    assert restarts(node) == 0


def bundle(node: RealNode) -> str:
    return str(node.get("validatingwebhookconfiguration", RELEASE)["webhooks"][0]["clientConfig"].get("caBundle", ""))


@pytest.mark.timeout(REAPPLIED * REAPPLIED_EVERY_S + 300)
def test_applying_what_is_rendered_anew_changes_nothing_and_admission_goes_on(node: RealNode) -> None:
    """As GitOps does: `helm template | kubectl apply`, again and again."""

    def rendered() -> str:
        return node.helm("template", RELEASE, CHART, "--namespace", NAMESPACE, "--no-hooks", *VALUES, "--set", "webhook.drainSeconds=6")

    def apply() -> None:
        node.kubectl("apply", "--server-side", "--force-conflicts", "-n", NAMESPACE, "-f", "-", stdin=rendered())

    def versions() -> dict[str, str]:
        printed = node.kubectl("get", "-n", NAMESPACE, "-f", "-", "-o", "json", stdin=rendered()).stdout
        found = [*json.loads(printed)["items"], node.get("secret", f"{RELEASE}-webhook-certificate", "-n", NAMESPACE)]
        return {f"{one['kind']}/{one['metadata']['name']}": one["metadata"]["resourceVersion"] for one in found}

    apply()
    rolled_out(node)
    wait_until(lambda: leader(node), "a controller to lead")
    time.sleep(3)
    before, trusted = versions(), bundle(node)
    pods_before = {pod["metadata"]["uid"] for program in DEPLOYED for pod in pods(node, program)}
    for _ in range(REAPPLIED):
        began = time.monotonic()
        apply()
        assert asks_in_vain(node) == []
        time.sleep(max(0.0, REAPPLIED_EVERY_S - (time.monotonic() - began)))
    assert versions() == before
    assert len(before) > 30
    assert bundle(node) == trusted != ""
    assert {pod["metadata"]["uid"] for program in DEPLOYED for pod in pods(node, program)} == pods_before


def test_a_certificate_that_is_made_anew_fails_no_review(node: RealNode) -> None:
    """Somebody empties the Secret: the new authority is trusted beside the old one, and pods serve by it when its files reach them."""
    secret, before = ("secret", f"{RELEASE}-webhook-certificate", "-n", NAMESPACE), bundle(node)
    asking = Asking(node)
    try:
        node.kubectl("patch", *secret, "--type=merge", "-p", '{"data": null}')
        made = wait_until(lambda: node.get(*secret).get("data", {}).get("ca.crt"), "a new certificate")
        wait_until(lambda: bundle(node) != before, "the API server to be told to trust it too")
        for pod in pods(node, "webhook"):

            def renewed(name: str = pod["metadata"]["name"]) -> bool:
                return "serving a renewed certificate" in node.kubectl("logs", name, "-n", NAMESPACE).stdout

            wait_until(renewed, "the kubelet to bring the files", timeout_s=150, every_s=1)
        time.sleep(3)
    finally:
        asking.end()
    print(f"\n{asking.asked} reviews while the certificate was replaced")
    assert made != before
    assert asking.refused == []


def kill_the_leader(node: RealNode) -> None:
    before = leader(node)
    node.kubectl("delete", "pod", before, "-n", NAMESPACE, "--grace-period=0", "--force")
    wait_until(lambda: leader(node) not in ("", before), "another leader", timeout_s=40)


def tell_a_webhook_pod_to_end(node: RealNode) -> None:
    node.kubectl("delete", "pod", pods(node, "webhook")[0]["metadata"]["name"], "-n", NAMESPACE, "--wait=false")


def lose_the_certificate(node: RealNode) -> None:
    before = bundle(node)
    node.kubectl("patch", "secret", f"{RELEASE}-webhook-certificate", "-n", NAMESPACE, "--type=merge", "-p", '{"data": null}')
    wait_until(lambda: bundle(node) != before, "the API server to be told to trust a new authority")


DISTURB = (kill_the_leader, tell_a_webhook_pod_to_end, lose_the_certificate)


@pytest.mark.timeout(MINUTES * 60 + 300)
def test_no_review_fails_while_certificates_are_made_anew_and_pods_are_taken_away(node: RealNode) -> None:
    """Twenty reviews a second; every 20 s the leader is killed without a word, a webhook pod is told to go, or the certificate is lost."""
    began, asking, done = time.monotonic(), Asking(node), []
    try:
        for turn in range(int(MINUTES * 3)):
            DISTURB[turn % 3](node)
            done.append(f"{time.monotonic() - began:.0f} s")
            time.sleep(max(0.0, 20 * (turn + 1) - (time.monotonic() - began)))
    finally:
        asking.end()
    rate = asking.asked / (time.monotonic() - began)
    print(f"\n{asking.asked} reviews, {rate:.0f} a second, while something was taken away at {', '.join(done)}")
    assert asking.refused == []
    assert rate > 10
    rolled_out(node)


def test_without_a_webhook_creation_is_refused_and_what_runs_runs_on(node: RealNode) -> None:
    node.kubectl("scale", f"deployment/{RELEASE}-webhook", "-n", NAMESPACE, "--replicas=0")
    wait_until(lambda: not node.pods(NAMESPACE, "app.kubernetes.io/component=webhook"), "the webhook to be gone, after its drain")
    with pytest.raises(KubectlError, match="failed calling webhook"):
        node.kubectl("apply", "-n", MODELS, "-f", "-", stdin=smallest("unjudged"))
    node.kubectl("label", "infd/smallest", "-n", MODELS, "seen=yes")
    node.kubectl("scale", f"deployment/{RELEASE}-webhook", "-n", NAMESPACE, "--replicas=2")
    rolled_out(node)
    wait_until(lambda: not asks_in_vain(node), "admission to be back")


def test_uninstalling_leaves_the_kinds_the_wishes_and_what_runs(node: RealNode) -> None:
    running = {pod["metadata"]["uid"] for pod in node.pods(MODELS) if pod["status"]["phase"] == "Running"}
    node.helm("uninstall", RELEASE, "--namespace", NAMESPACE, "--wait", "--timeout", "120s")
    wait_until(lambda: not node.pods(NAMESPACE), "the pods to go")
    kinds = (
        "deployments,services,secrets,serviceaccounts,poddisruptionbudgets,validatingwebhookconfigurations,clusterroles,clusterrolebindings"
    )
    left = node.get(kinds, "-A", "-l", f"app.kubernetes.io/instance={RELEASE}")["items"]
    assert [f"{one['kind']}/{one['metadata']['name']}" for one in left] == []
    assert {pod["metadata"]["uid"] for pod in node.pods(MODELS)} >= running
    node.kubectl("delete", "infd", "--all", "-n", MODELS)
    wait_until(lambda: not node.pods(MODELS), "the pods to go with their wishes")
