"""Unknown models on a real control plane: profiles by hand at once, a thousand wishes by fifty readings, and a token that is nowhere."""

import json
import statistics
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from tests.controlplane import Cluster, ControlPlane
from tests.controlplane.cluster import Json, wait_until
from tests.e2e.granting import grant
from tests.e2e.installation import GROUP, Installation
from tests.e2e.wishes import Wishes, wish
from tests.plimsoll_operator.checkpoints import TINY, tiny_tensors, write_tensors
from tests.plimsoll_operator.hub_server import COMMIT, HubServer, Repo, serving

pytestmark = pytest.mark.e2e
API = f"/apis/{GROUP}/v1alpha1"
TOKEN = "hf_" + "theoperatorsown"
DEPLOYMENTS, MODELS = 1000, 50
SAMPLES = 60
KINDS = "inferencedeployments,modelprofiles,clustermodelprofiles,gpupools,deployments,services,pods,events,configmaps"


def _is(wishes: Wishes, name: str, condition: str, status: str) -> bool:
    return wishes.condition(name, condition) == status


@pytest.fixture(scope="module")
def hub(installation: Installation, own_plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubServer]:
    """A hub, and the controller reading from it with a token; afterwards it reads none again."""
    folder = tmp_path_factory.mktemp("hub")
    (folder / "token").write_text(TOKEN)
    with serving() as server:
        restart(installation, server.url, str(folder / "token"))
        try:
            yield server
        finally:
            restart(installation, "", "")


def restart(installation: Installation, hub: str, token_file: str) -> None:
    installation.stop("controller")
    installation.hub, installation.hub_token_file = hub, token_file
    installation.start_controller()


def repo(folder: Path, **config: object) -> Repo:
    """A model of this architecture; its weights are real safetensors bytes."""
    folder.mkdir(exist_ok=True)
    write_tensors(folder / "w", tiny_tensors())
    return Repo(files={"config.json": json.dumps(TINY | config).encode(), "model.safetensors": (folder / "w").read_bytes()})


def make_profile(cluster: Cluster, namespace: str, name: str, model: str, **config: object) -> None:
    spec = {"model": model, "config": json.dumps(TINY | config)}
    manifest = {"apiVersion": f"{GROUP}/v1alpha1", "kind": "ModelProfile", "metadata": {"name": name}, "spec": spec}
    status, answer = cluster.request("POST", f"{API}/namespaces/{namespace}/modelprofiles", manifest)
    assert status == 201, answer.get("message")


@pytest.mark.parametrize(("outcome", "context"), [("True", 4096), ("False", 100_000)], ids=["admitted", "rejected"])
def test_what_is_undecided_is_decided_within_a_second_of_its_profile(
    installation: Installation, namespace: str, outcome: str, context: int
) -> None:
    """The admitted one gets pods; the rejected one asks for a context that the model was not made for."""
    cluster, wishes = installation.cluster, Wishes(installation.cluster, namespace)
    seconds = []
    for number in range(5):
        name, model = f"waits-{number}", f"acme/by-hand-{number}"
        wishes.create(wish(name, model=model, context=context))
        wait_until(partial(_is, wishes, name, "ModelResolved", "False"), "the answer that no hub is asked")
        assert wishes.condition(name, "Feasible") == "Unknown"
        make_profile(cluster, namespace, name, model)
        start = time.monotonic()
        wait_until(partial(_is, wishes, name, "Feasible", outcome), f"the verdict on {name}", every_s=0.005)
        seconds.append(time.monotonic() - start)
        assert wishes.condition(name, "ModelResolved") == "True"
    print(
        f"from the profile to Feasible={outcome}: median {statistics.median(seconds) * 1000:.0f} ms of {[round(s * 1000) for s in seconds]}"
    )
    assert min(seconds) < 1.0


def test_an_unknown_model_is_read_from_the_hub_and_runs_at_its_commit(
    installation: Installation, hub: HubServer, namespace: str, tmp_path: Path
) -> None:
    hub.repos["acme/served"] = repo(tmp_path / "r")
    wishes = Wishes(installation.cluster, namespace)
    manifest = wish("served", model="acme/served", context=2048)
    manifest["spec"]["model"]["revision"] = "main"
    start = time.monotonic()
    wishes.create(manifest)
    wait_until(lambda: wishes.pods("served"), "its pods")
    print(f"{(time.monotonic() - start) * 1000:.0f} ms from the accepted wish over the hub to its pod")
    assert f"--revision={COMMIT}" in " ".join(wishes.arguments("served")).replace("--revision ", "--revision=")
    wait_until(lambda: wishes.status("served").get("plan"), "the plan in status")
    assert wishes.status("served")["plan"]["modelRevision"] == COMMIT


def dry_runs(cluster: Cluster, namespace: str) -> list[float]:
    """Seconds of admission reviews of one known model, each as a client sees it."""
    path = f"{API}/namespaces/{namespace}/inferencedeployments?dryRun=All"
    found = []
    for number in range(SAMPLES):
        start = time.monotonic()
        status, answer = cluster.request("POST", path, wish(f"probe-{number}"))
        found.append(time.monotonic() - start)
        assert status == 201, answer.get("message")
    return found


def resolved(cluster: Cluster, namespace: str) -> Counter[str]:
    """How many deployments say what of their model."""
    status, found = cluster.request("GET", f"{API}/namespaces/{namespace}/inferencedeployments")
    assert status == 200
    rows = [row for item in found["items"] for row in item.get("status", {}).get("conditions", []) if row["type"] == "ModelResolved"]
    return Counter(row["reason"] for row in rows)


def test_a_thousand_wishes_are_fifty_readings_and_admission_does_not_wait(
    installation: Installation, hub: HubServer, namespace: str, tmp_path: Path
) -> None:
    """The models are of a class without rules, so that a thousand Deployments are not what is measured."""
    cluster, wishes = installation.cluster, Wishes(installation.cluster, namespace)
    shared = repo(tmp_path / "r", architectures=["AcmeForCausalLM"])
    hub.repos |= {f"acme/many-{number}": shared for number in range(MODELS)}
    before = dry_runs(cluster, namespace)
    hub.seen.clear()
    hub.delay_seconds = 5.0  # four readings at a time, three requests each: most are still to come when admission is measured
    for number in range(DEPLOYMENTS):
        wishes.create(wish(f"many-{number}", model=f"acme/many-{number % MODELS}", context=2048))
    wait_until(lambda: resolved(cluster, namespace).total() == DEPLOYMENTS, "a first word on each", timeout_s=120)
    wait_until(lambda: "plimsoll_workqueue_depth 0.0" in installation.metrics("controller"), "the first reconciles to end", timeout_s=60)
    begun = resolved(cluster, namespace)
    during = dry_runs(cluster, namespace)
    still = resolved(cluster, namespace)
    hub.delay_seconds = 0.0
    wait_until(lambda: resolved(cluster, namespace)["Found"] == DEPLOYMENTS, "all to be known", timeout_s=120)
    asked = Counter(path for path, _ in hub.seen if path.startswith("/api/models/acme/many-"))
    after = dry_runs(cluster, namespace)  # as many objects as during, and nothing to read
    medians = [statistics.median(row) * 1000 for row in (before, during, after)]
    ratio = medians[1] / max(medians[0], medians[2])
    print(f"{len(asked)} models asked about {asked.total()} times for {DEPLOYMENTS} deployments")
    print(f"when admission was measured: {dict(begun)}, then {dict(still)}")
    floor = min(during) / max(min(before), min(after))
    print(f"median review {medians[0]:.1f} ms before, {medians[1]:.1f} during, {medians[2]:.1f} after: {ratio:.2f} (minima {floor:.2f})")
    assert still["Resolving"] > 0
    assert asked.total() == len(asked) == MODELS
    assert all(headers["authorization"] == f"Bearer {TOKEN}" for _, headers in hub.seen)
    assert ratio < 3, "a review that waited for the hub would take a second"


def test_a_tenant_that_wants_many_models_holds_up_nobody_elses_reading(
    installation: Installation, hub: HubServer, namespace: str, tmp_path: Path
) -> None:
    """Sixty models of three requests each, of a second: one after the other, four at a time, the last would come after 45 seconds."""
    cluster, other = installation.cluster, f"{namespace}-2"
    grant(cluster, namespace, "tenant", "edit")
    shared = repo(tmp_path / "r", architectures=["AcmeForCausalLM"])
    hub.repos |= {f"acme/slow-{number}": shared for number in range(60)} | {"acme/wanted": shared}
    items = [wish(f"slow-{number}", model=f"acme/slow-{number}", context=2048) for number in range(60)]
    crowd = json.dumps({"apiVersion": "v1", "kind": "List", "items": items})

    def asked() -> bool:
        return cluster.kubectl("apply", "-n", namespace, "--as=tenant", "-f", "-", stdin=crowd, check=False).returncode == 0

    cluster.kubectl("create", "namespace", other)
    hub.delay_seconds = 1.0
    try:
        wait_until(asked, "the built-in role to be aggregated")
        Wishes(cluster, other).create(wish("wanted", model="acme/wanted", context=2048))
        start = time.monotonic()
        wait_until(lambda: resolved(cluster, other)["Found"] == 1, "the neighbour's model to be read", timeout_s=15)
        print(f"the neighbour's model is read after {time.monotonic() - start:.1f} s")
    finally:
        hub.delay_seconds = 0.0
        cluster.kubectl("delete", "namespace", other, "--wait=false")
    wait_until(lambda: resolved(cluster, namespace)["Found"] == 60, "everybody's turn to come", timeout_s=60)


def test_the_operators_token_is_in_nothing_that_is_kept_or_shown(installation: Installation, hub: HubServer, namespace: str) -> None:
    """After the readings above, and one that fails."""
    wishes = Wishes(installation.cluster, namespace)
    wishes.create(wish("gone", model="acme/gone"))
    wait_until(lambda: wishes.condition("gone", "ModelResolved") == "False", "the failure")
    assert any(headers.get("authorization") == f"Bearer {TOKEN}" for _, headers in hub.seen)
    shown: subprocess.CompletedProcess[str] = installation.cluster.kubectl("get", KINDS, "-A", "-o", "json")
    kept: Json = json.loads(shown.stdout)
    assert any(item["kind"] == "ClusterModelProfile" for item in kept["items"])
    texts = [shown.stdout, *(installation.log(name) + installation.metrics(name) for name in ("controller", "webhook"))]
    assert not [text for text in texts if TOKEN in text]
