"""From a deployment that names an unknown model, over a hub that speaks real HTTP, to its condition, profile and pods."""

import json
import logging
import sys
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.plimsoll_operator.checkpoints import CONFIG, HOSTILE, llama, safetensors, totals
from tests.plimsoll_operator.cluster import NS
from tests.plimsoll_operator.hub_server import COMMIT, MODEL, HubServer
from tests.plimsoll_operator.resolving.resolving_world import (
    MOVED,
    TOKEN,
    World,
    a_file,
    absent,
    another_model_class,
    broken,
    busy,
    gated,
    gguf_only,
    in_a_circle,
    inside,
    metadata_service,
    metadata_service_as_ipv6,
    no_config,
    no_revision,
    no_weights,
    private,
    several_gguf,
    wrong_config,
    wrong_json,
)

from plimsoll_operator.controller.resolving import branches
from plimsoll_operator.controller.resolving.hub import TokenFile
from plimsoll_operator.names import API_VERSION
from plimsoll_operator.ports import CLUSTER_MODEL_PROFILES, DEPLOYMENTS, INFERENCE_DEPLOYMENTS, MODEL_PROFILES, Manifest
from plimsoll_operator.profiles.headers import MAX_HEADER_BYTES

SHIPPED = "Qwen/Qwen2.5-1.5B-Instruct"


@pytest.fixture
def hub(servers: Callable[..., HubServer], tmp_path: Path) -> HubServer:
    server = servers()
    safetensors(tmp_path / "w", llama())
    server.files = {"config.json": json.dumps(CONFIG).encode(), "model.safetensors": (tmp_path / "w").read_bytes()}
    return server


@pytest.fixture
def world(hub: HubServer) -> World:
    return World(hub.url)


def test_an_unknown_model_is_read_and_its_pods_run_the_commit_that_was_read(world: World, hub: HubServer) -> None:
    world.wish(revision="main")
    world.settle()
    (profile,) = world.profiles()
    spec = profile["spec"]
    assert (spec["model"], spec["revision"], spec["requestedRevision"], spec["source"]) == (MODEL, COMMIT, "main", "hub 127.0.0.1")
    assert {row["dtype"]: row["bytes"] for row in spec["weights"]["byDtype"]} == totals(llama())
    assert world.resolved() == (
        "True",
        "Found",
        f"the shape is known from ClusterModelProfile {profile['metadata']['name']} at commit {COMMIT}",
    )
    assert world.status()["plan"]["modelRevision"] == COMMIT
    assert f"--revision={COMMIT}" in world.arguments() or COMMIT in world.arguments()


def test_before_it_is_read_the_condition_says_that_it_is_being_read(world: World) -> None:
    world.wish(revision="v2")
    for informer in world.controller.informers:
        informer.relist()
    world.controller.queue.add((NS, "chat"))
    world.drain()
    assert world.resolved() == ("Unknown", "Resolving", f"the shape of {MODEL} at v2 is being read")
    feasible = next(row for row in world.status()["conditions"] if row["type"] == "Feasible")
    assert feasible["message"].endswith("No pods are made until it is read; it is decided then.")


FAILURES = [
    (gated, "Gated", "acme/in-house at main needs access that the operator's hub token does not give"),
    (private, "NotFound", "does not exist, or it is private and the operator's hub token does not open it"),
    (absent, "NotFound", "no such model"),
    (no_revision, "NotFound", "acme/in-house at main: no such revision"),
    (busy, "Unreachable", "answered 429 for acme/in-house at main"),
    (broken, "Unreachable", "answered 503 to 3 requests"),
    (wrong_json, "Unreachable", "with what is not JSON"),
    (wrong_config, "Invalid", "config.json: '{\"architectures\":' is not JSON"),
    (metadata_service, "Unreachable", "redirects to 169.254.169.254, which is not a public address"),
    (metadata_service_as_ipv6, "Unreachable", "redirects to ::ffff:169.254.169.254, which is not a public address"),
    (inside, "Unreachable", "redirects to 10.0.0.1, which is not a public address"),
    (a_file, "Unreachable", "redirects to file scheme"),
    (in_a_circle, "Unreachable", "redirects more than 5 times"),
    (gguf_only, "Unsupported", "known: the shape from config.json, 1 GGUF files"),
    (several_gguf, "Ambiguous", "2 GGUF files of together 0.00 GiB; not known: which of them is meant"),
    (no_config, "NotFound", "there is no config.json"),
    (no_weights, "Unsupported", "the repository holds none at its top"),
    (another_model_class, "Invalid", "must name the model class"),
]


@pytest.mark.parametrize(("arrange", "reason", "words"), FAILURES, ids=[row[0].__name__ for row in FAILURES])
def test_each_failure_is_its_condition_and_no_pod(
    arrange: Callable[[HubServer], None], reason: str, words: str, world: World, hub: HubServer
) -> None:
    arrange(hub)
    world.wish()
    started = time.monotonic()
    world.settle()
    assert time.monotonic() - started < 20
    status, found, message = world.resolved()
    assert (status, found) == ("False", reason)
    assert words in message
    assert world.profiles() == []
    assert world.kube.get(DEPLOYMENTS, NS, "chat") is None


@pytest.mark.parametrize(("why", "data", "words"), HOSTILE, ids=[row[0] for row in HOSTILE])
def test_a_bad_header_is_an_invalid_model(why: str, data: bytes, words: str, world: World, hub: HubServer) -> None:
    hub.files["model.safetensors"] = data
    world.wish()
    world.settle()
    status, reason, message = world.resolved()
    assert (status, reason) == ("False", "Invalid")
    assert words in message


def test_ten_gigabytes_of_header_are_refused_unread(world: World, hub: HubServer) -> None:
    hub.files["model.safetensors"] = (10 << 30).to_bytes(8, "little") + b" " * (1 << 20)
    hub.sizes = {"model.safetensors": 200 << 30}
    world.wish()
    world.settle(1)
    tracemalloc.start()
    world.clock.now += 100_000
    hub.seen.clear()
    while world.controller.resolver.work_once(world.stop, timeout_seconds=0):
        pass
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(hub.seen) == 3
    assert peak < 8 << 20
    world.settle(1)
    assert world.resolved()[1:] == ("Invalid", f"model.safetensors: header length: {10 << 30} must be at most {MAX_HEADER_BYTES} bytes")


def test_a_body_that_drips_ends_at_its_deadline(world: World, hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("plimsoll_operator.profiles.transport.BODY_TIMEOUT_SECONDS", 0.3)
    hub.drip = True
    world.wish()
    started = time.monotonic()
    world.settle()
    assert time.monotonic() - started < 5
    assert world.resolved()[1] == "Unreachable"
    assert "config.json took more than" in world.resolved()[2]


def test_all_requests_together_end_at_the_readings_deadline(world: World, hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("plimsoll_operator.controller.resolving.hub.FETCH_SECONDS", 0.3)
    hub.delay_seconds = 0.2
    world.wish()
    started = time.monotonic()
    world.settle()
    assert time.monotonic() - started < 5
    assert world.resolved()[1] == "Unreachable"
    assert "in all" in world.resolved()[2]


def test_a_hub_that_is_not_there_is_unreachable_and_asked_again() -> None:
    world = World("http://127.0.0.1:9")
    world.wish()
    world.settle()
    assert world.resolved() == ("False", "Unreachable", "127.0.0.1 cannot be reached: ConnectError")


def test_while_the_hub_asks_for_quiet_nothing_else_is_asked(world: World, hub: HubServer) -> None:
    hub.repos["acme/other"] = hub.repos[MODEL]
    hub.refusals = [(429, {"Retry_After": "300"})]
    world.wish()
    world.wish("second", model="acme/other")
    world.settle()
    assert len(hub.seen) == 1
    assert "asks for fewer requests" in world.resolved("second")[2]
    world.clock.now += 299
    world.settle()
    assert len(hub.seen) == 1
    world.clock.now += 1
    world.settle()
    assert world.resolved()[1] == world.resolved("second")[1] == "Found"


def test_offline_asks_nobody_says_so_and_still_knows_what_is_shipped(hub: HubServer) -> None:
    world = World(hub.url, offline=True)
    world.wish()
    world.wish("shipped", model=SHIPPED, revision="main")
    world.settle()
    assert world.resolved() == ("False", "Unreachable", "the controller runs offline and asks no hub")
    assert world.resolved("shipped")[1:] == (
        "Found",
        "the shape is known from catalogue; main is not resolved to a commit (Unreachable: the controller runs offline and asks no hub)",
    )
    assert hub.seen == []


def test_without_the_extra_the_failure_is_named(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    for module in ("hub", "transport"):
        monkeypatch.delitem(sys.modules, f"plimsoll_operator.profiles.{module}", raising=False)
    world.wish()
    world.settle()
    assert world.resolved()[1:] == ("Unreachable", "reading a hub needs an extra: pip install 'plimsoll-operator[hub]'")


def test_a_pickled_checkpoint_says_what_is_known_and_what_is_not(world: World, hub: HubServer) -> None:
    hub.files = {"config.json": hub.files["config.json"], "pytorch_model.bin": b"x"}
    world.wish()
    world.settle()
    status, reason, message = world.resolved()
    assert (status, reason) == ("True", "Found")
    assert "known: the shape from config.json, 1 .bin files of together 0.00 GiB; not known: bytes by dtype" in message


def test_a_shipped_model_at_a_named_branch_waits_for_its_commit(world: World, hub: HubServer) -> None:
    hub.repos[SHIPPED] = hub.repos[MODEL]
    world.wish(model=SHIPPED, revision="main")
    world.settle(1)
    assert world.resolved()[:2] == ("Unknown", "Resolving")
    world.settle()
    assert world.status()["plan"]["modelRevision"] == COMMIT


def test_two_revisions_are_two_profiles_and_each_answers_for_its_own(world: World, hub: HubServer) -> None:
    hub.repos[MODEL].refs = {"main": COMMIT, "v2": MOVED}
    world.wish()
    world.wish("two", revision="v2")
    world.settle()
    world.wish("pinned", revision=MOVED)
    world.settle()
    assert [world.status(name)["plan"]["modelRevision"] for name in ("chat", "two", "pinned")] == [COMMIT, MOVED, MOVED]
    assert sorted(row["spec"]["requestedRevision"] for row in world.profiles()) == sorted(["main", "v2"])


LOCAL = [
    ("a user's token", {"source": {"huggingFace": {"tokenSecretRef": {"name": "mine"}}}}),
    ("a volume", {"source": {"persistentVolumeClaim": {"claimName": "weights"}}}),
]


@pytest.mark.parametrize(("why", "fields"), LOCAL, ids=[row[0] for row in LOCAL])
def test_what_needs_the_users_rights_is_never_read_with_the_operators(why: str, fields: Manifest, world: World, hub: HubServer) -> None:
    world.wish(**fields)
    world.settle()
    assert hub.seen == []
    assert world.profiles() == []
    assert world.resolved()[:2] == ("False", "NotFound")


@pytest.mark.thorough
def test_two_hundred_deployments_of_ten_models_are_ten_readings(world: World, hub: HubServer) -> None:
    for number in range(10):
        hub.repos[f"acme/m{number}"] = hub.repos[MODEL]
    for number in range(200):
        world.wish(f"chat-{number}", namespace=f"team-{number % 20}", model=f"acme/m{number % 10}")
    world.settle(2)
    apis = [path for path, _ in hub.seen if path.startswith("/api/")]
    assert len(apis) == len(set(apis)) == 10
    assert len(hub.seen) == 30
    assert len(world.profiles()) == 10
    world.settle(1)
    reasons = [row["reason"] for wish in world.asked() for row in wish["status"]["conditions"] if row["type"] == "ModelResolved"]
    assert reasons == ["Found"] * 200


def test_a_profile_by_hand_goes_before_the_failure(world: World, hub: HubServer) -> None:
    absent(hub)
    world.wish()
    world.settle()
    assert world.resolved()[1] == "NotFound"
    mine = {"apiVersion": API_VERSION, "kind": "ModelProfile", "metadata": {"namespace": NS, "name": "mine"}}
    world.kube.create(MODEL_PROFILES, mine | {"spec": {"model": MODEL, "config": json.dumps(CONFIG)}})
    world.settle()
    assert world.resolved()[1:] == ("Found", f"the shape is known from ModelProfile {NS}/mine")
    assert world.kube.get(DEPLOYMENTS, NS, "chat") is not None


def test_the_token_goes_to_the_hub_alone_and_into_nothing_that_is_kept(
    hub: HubServer, servers: Callable[..., HubServer], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    file = tmp_path / "token"
    file.write_text(f"{TOKEN}\n")
    storage = servers()
    storage.files = dict(hub.files)
    hub.storage = storage.url
    world = World(hub.url, token=TokenFile(path=file))
    world.wish()
    world.wish("gone", model="acme/gone")
    world.settle()
    assert world.resolved()[1] == "Found"
    assert all(headers.get("authorization") == f"Bearer {TOKEN}" for _, headers in hub.seen)
    assert [path.partition("?")[0].rpartition("/")[2] for path, _ in storage.seen] == ["model.safetensors"]
    assert TOKEN not in json.dumps(storage.seen)
    kept = [row for resource in world.kube._objects.values() for row in resource.values()]
    assert {row["kind"] for row in kept} >= {"ClusterModelProfile", "InferenceDeployment", "Event", "Deployment"}
    assert TOKEN not in json.dumps(kept)
    assert TOKEN not in caplog.text
    assert "X-Amz-Signature" not in caplog.text
    assert TOKEN not in world.controller.recorder.render().decode()


def test_a_hub_that_echoes_the_token_does_not_bring_it_into_status(world: World, hub: HubServer) -> None:
    hub.files["config.json"] = f'"{TOKEN}'.encode()
    world.wish()
    world.settle()
    assert world.resolved()[1] == "Invalid"
    assert TOKEN not in json.dumps(world.asked())


def test_a_renewed_token_is_used_and_a_missing_file_is_no_token(hub: HubServer, tmp_path: Path) -> None:
    file = tmp_path / "token"
    world = World(hub.url, token=TokenFile(path=file))
    world.wish()
    world.settle()
    assert "authorization" not in hub.seen[0][1]
    file.write_text("hf_renewed\n")
    world.wish("b", model="acme/b")
    world.settle()
    assert hub.seen[-1][1]["authorization"] == "Bearer hf_renewed"
    assert TokenFile(path=Path("/nowhere"))() is None


def ask_again(world: World) -> None:
    assert world.controller.branches is not None
    world.controller.branches.ask(world.stop)


def test_the_branch_moved_is_said_and_touches_no_pod(world: World, hub: HubServer, tmp_path: Path) -> None:
    world.wish(revision="main")
    world.settle()
    before = world.kube.get(DEPLOYMENTS, NS, "chat")
    hub.repos[MODEL].refs["main"] = MOVED
    hub.seen.clear()
    ask_again(world)
    assert len(hub.seen) == 3, "the profile is dated long ago: the branch is asked about, and read"
    world.settle()
    status, reason, message = world.resolved()
    assert (status, reason) == ("True", "DigestChanged")
    assert message == f"the model has moved from commit {COMMIT} to {MOVED} since the plan was made; the pods keep {COMMIT}"
    assert world.kube.get(DEPLOYMENTS, NS, "chat") == before
    assert world.status()["plan"]["modelRevision"] == COMMIT
    assert world.status()["proposedPlan"]["modelRevision"] == MOVED
    world.clock.now += branches.RECHECK_SECONDS - 1
    ask_again(world)
    assert len(hub.seen) == 3
    world.clock.now += 1
    ask_again(world)
    assert len(hub.seen) == 4, "one request, as it has not moved since"


def test_what_cannot_be_asked_about_stays_as_it_was(world: World, hub: HubServer) -> None:
    world.wish()
    world.settle()
    before = world.profiles()
    hub.repos[MODEL].refuse = (403, {"X_Error_Code": "GatedRepo"})
    ask_again(world)
    assert world.profiles() == before
    world.settle()
    assert world.resolved()[1] == "Found"


def test_a_commit_a_foreign_profile_and_an_unused_model_are_not_asked_about(world: World, hub: HubServer) -> None:
    hub.repos[MODEL].refs |= {"v2": MOVED}
    world.wish(revision=COMMIT)
    world.wish("gone", revision="v2")
    world.settle()
    world.kube.delete(INFERENCE_DEPLOYMENTS, NS, "gone")
    kept = next(row for row in world.profiles() if row["spec"]["requestedRevision"] == "v2")
    world.kube.replace(CLUSTER_MODEL_PROFILES, {**kept, "metadata": {**kept["metadata"], "labels": {}}})
    world.wish("main")
    world.settle()
    hub.seen.clear()
    world.kube.delete(INFERENCE_DEPLOYMENTS, NS, "chat")
    world.kube.delete(INFERENCE_DEPLOYMENTS, NS, "main")
    world.controller.enqueue([(NS, "chat")])
    world.drain()
    ask_again(world)
    assert [path for path, _ in hub.seen] == [f"/api/models/{MODEL}/revision/main?blobs=true"], "the one branch, as its model is in use"
    world.controller.enqueue([(NS, "main")])
    world.drain()
    world.clock.now += branches.RECHECK_SECONDS
    ask_again(world)
    assert len(hub.seen) == 1
