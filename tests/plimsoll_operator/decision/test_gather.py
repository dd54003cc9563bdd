"""Which profile, policy and pools a decision is made from."""

import json
from typing import Any

import pytest
from tests.plimsoll_operator.decision_world import LLAMA_8B, Files, deployment, lack_of, manifest, model_of, refused
from tests.plimsoll_operator.nodes import H100, L4

from plimsoll_operator.api import (
    ClusterModelProfile,
    FitPolicy,
    InferenceDeployment,
    ModelProfile,
    parse_inference_deployment,
    parse_object,
)
from plimsoll_operator.decision import decide
from plimsoll_operator.gather import facts_for
from plimsoll_operator.names import API_VERSION
from plimsoll_operator.ports import Manifest
from plimsoll_operator.verdict import Reason

COMMIT_A, COMMIT_B = "a" * 40, "b" * 40


def config(layers: int) -> str:
    return json.dumps({"architectures": ["LlamaForCausalLM"], "num_hidden_layers": layers})


def profile(
    name: str = "p",
    *,
    model: str = LLAMA_8B,
    namespace: str = "default",
    layers: int = 1,
    text: str | None = None,
    managed: bool = False,
    **spec: Any,
) -> ClusterModelProfile | ModelProfile:
    kind: type[ModelProfile | ClusterModelProfile] = ModelProfile if namespace else ClusterModelProfile
    metadata: Manifest = {"name": name, **({"namespace": namespace} if namespace else {})}
    metadata |= {"labels": {"app.kubernetes.io/managed-by": "plimsoll"}} if managed else {}
    spec = {"model": model, "config": text or config(layers), **spec}
    return parse_object(kind, {"apiVersion": API_VERSION, "kind": kind.__name__, "metadata": metadata, "spec": spec})


def policy(name: str, selector: Manifest | None = None, **spec: Any) -> FitPolicy:
    spec |= {"namespaceSelector": selector} if selector is not None else {}
    return parse_object(FitPolicy, {"apiVersion": API_VERSION, "kind": "FitPolicy", "metadata": {"name": name}, "spec": spec})


def wish(**model: Any) -> InferenceDeployment:
    item = manifest()
    item["spec"]["model"] |= model
    return parse_inference_deployment(item)


NAMED = {"profile": {"name": "p"}}
VOLUME = {"source": {"persistentVolumeClaim": {"claimName": "weights", "path": "llama"}}}
TOKEN = {"source": {"huggingFace": {"tokenSecretRef": {"name": "hub"}}}}
MAPPED = {"profile": {"configMapRef": {"name": "shape"}}}


def of_volume(claim: str = "weights", path: str = "llama", **more: Any) -> ClusterModelProfile | ModelProfile:
    return profile(origin={"persistentVolumeClaim": {"claimName": claim, "path": path}}, **more)


def of_map(name: str = "shape", **more: Any) -> ClusterModelProfile | ModelProfile:
    return profile(origin={"configMapRef": {"name": name}}, **more)


LOOKUPS = [
    ("the shipped catalogue answers last", {}, [], "catalogue"),
    ("a cluster profile goes before the catalogue", {}, [profile(namespace="")], "ClusterModelProfile p"),
    ("a namespace's profile goes before the cluster's", {}, [profile(namespace=""), profile()], "ModelProfile default/p"),
    ("a profile of another namespace does not answer", {}, [profile(namespace="other")], "catalogue"),
    ("a profile of another model does not answer", {}, [profile(model="acme/other")], "catalogue"),
    ("a named profile goes before all", NAMED, [profile("a"), profile("p")], "ModelProfile p"),
    ("a named cluster profile is found", NAMED, [profile("p", namespace="")], "ClusterModelProfile p"),
    ("an inline shape goes before all", {"profile": {"inline": config(2)}}, [profile()], "inline"),
    ("a profile of exactly the revision goes before one of any", {"revision": COMMIT_A}, [profile("a"), profile("z", revision=COMMIT_A)],
     "ModelProfile default/z"),
    ("a volume's profile answers for the volume", VOLUME, [profile("a"), of_volume()], "ModelProfile default/p"),
    ("a path is read for what it means", VOLUME, [of_volume(path="./llama/")], "ModelProfile default/p"),
    ("a named profile answers for a volume: the deployment says so", VOLUME | NAMED, [profile()], "ModelProfile p"),
    ("an inline shape answers for a volume", VOLUME | {"profile": {"inline": config(2)}}, [of_volume()], "inline"),
    ("a volume's profile does not answer for the hub", {}, [of_volume()], "catalogue"),
    ("nor for the hub with a token", TOKEN, [of_volume()], "catalogue"),
    ("a model on the hub is the same for every token", TOKEN, [profile(namespace="")], "ClusterModelProfile p"),
    ("a ConfigMap's profile answers for the ConfigMap", MAPPED, [profile("a"), of_map()], "ModelProfile default/p"),
    ("a ConfigMap's profile answers whatever the weights are", MAPPED | VOLUME, [of_volume(name="v"), of_map()], "ModelProfile default/p"),
    ("a ConfigMap's profile does not answer for the hub", {}, [of_map()], "catalogue"),
    ("a profile at a commit answers for a branch", {"revision": "main"}, [profile(revision=COMMIT_A)], "ModelProfile default/p"),
    ("one that was read for another branch does not answer", {"revision": "v2"}, [profile(revision=COMMIT_A, requestedRevision="main")],
     "catalogue"),
    ("one that was read for this branch does", {"revision": "v2"}, [profile(revision=COMMIT_A, requestedRevision="v2")],
     "ModelProfile default/p"),
    ("no revision is main", {}, [profile(revision=COMMIT_A, requestedRevision="main")], "ModelProfile default/p"),
    ("and no other branch", {}, [profile(revision=COMMIT_A, requestedRevision="v2")], "catalogue"),
    ("a branch's profile answers for its commit", {"revision": COMMIT_A}, [profile(revision=COMMIT_A, requestedRevision="v2")],
     "ModelProfile default/p"),
    ("what people write goes before what was read", {}, [profile("z", layers=2), profile("a", managed=True)], "ModelProfile default/z"),
    ("of two readings of one shape the later holds", {"revision": "main"},
     [profile("a", revision=COMMIT_A, obtainedAt="2026-01-01T00:00:00Z"),
      profile("z", revision=COMMIT_B, obtainedAt="2026-02-01T00:00:00Z")],
     "ModelProfile default/z"),
    ("a profile at another commit does not answer", {"revision": COMMIT_B}, [profile(revision=COMMIT_A)], "catalogue"),
]  # fmt: skip


@pytest.mark.parametrize(("why", "model", "profiles", "source"), LOOKUPS, ids=[row[0] for row in LOOKUPS])
def test_profiles_are_looked_up_in_order(
    why: str, model: Manifest, profiles: list[ClusterModelProfile | ModelProfile], source: str
) -> None:
    for order in (profiles, profiles[::-1]):
        assert model_of(facts_for(wish(**model), Files(L4, profiles=order), applied_plan=None)).source == source


def test_the_commit_of_a_profile_is_recorded() -> None:
    found = model_of(facts_for(wish(revision="main"), Files(L4, profiles=[profile(revision=COMMIT_A)]), applied_plan=None))
    assert found.revision == COMMIT_A


ELSEWHERE = [
    ("a volume whose folder bears a model's name may hold other weights", VOLUME, [profile(), profile(namespace="")]),
    ("another claim", VOLUME, [of_volume("other")]),
    ("another folder of the claim", VOLUME, [of_volume(path="qwen")]),
    ("the same claim's name in another namespace", VOLUME, [of_volume(namespace="other")]),
    ("another model read from the volume", VOLUME, [of_volume(model="acme/other")]),
    ("another ConfigMap", MAPPED, [profile(), of_map("other")]),
    ("a ConfigMap of the same name in another namespace", MAPPED, [of_map(namespace="other")]),
    ("another key of the ConfigMap", {"profile": {"configMapRef": {"name": "shape", "key": "b"}}}, [of_map()]),
]


@pytest.mark.parametrize(("why", "model", "profiles"), ELSEWHERE, ids=[row[0] for row in ELSEWHERE])
def test_what_a_namespace_keeps_is_answered_by_nothing_but_itself(
    why: str, model: Manifest, profiles: list[ModelProfile | ClusterModelProfile]
) -> None:
    found = lack_of(facts_for(wish(**model), Files(L4, profiles=profiles), applied_plan=None))
    assert found.kind == "NotFound", found


def test_an_inline_shape_that_cannot_be_read_is_bad_input() -> None:
    found = refused(decide(facts_for(wish(profile={"inline": "[1]"}), Files(L4), applied_plan=None)))
    assert (found.reason, found.field) == (Reason.INVALID_SPEC, "spec.model.profile.inline")


def test_an_inline_shape_never_answers_for_anybody_else() -> None:
    one, other = wish(profile={"inline": config(2)}), wish()
    store = Files(L4)
    assert model_of(facts_for(one, store, applied_plan=None)).source == "inline"
    assert model_of(facts_for(other, store, applied_plan=None)).source == "catalogue"


REFUSALS = [
    ("a named profile of another model", NAMED, [profile(model="acme/other")], "Mismatch"),
    ("a named profile of another commit", NAMED | {"revision": COMMIT_B}, [profile(revision=COMMIT_A)], "Mismatch"),
    ("a named profile that is not there", NAMED, [], "NotFound"),
    ("two profiles that contradict each other", {}, [profile("a"), profile("b", layers=2)], "Ambiguous"),
    ("two of the cluster that do", {}, [profile("a", namespace=""), profile("b", namespace="", layers=2)], "Ambiguous"),
    ("a profile whose config is no JSON", NAMED, [profile(text="{nope")], "Invalid"),
    ("an inline config that is no object", {"profile": {"inline": "[1]"}}, [], "Invalid"),
]


@pytest.mark.parametrize(("why", "model", "profiles", "kind"), REFUSALS, ids=[row[0] for row in REFUSALS])
def test_what_does_not_describe_the_model_is_refused(
    why: str, model: Manifest, profiles: list[ModelProfile | ClusterModelProfile], kind: str
) -> None:
    assert lack_of(facts_for(wish(**model), Files(L4, profiles=profiles), applied_plan=None)).kind == kind


def test_the_digest_names_the_shape_however_it_is_spelled() -> None:
    texts = ['{"a": 1, "b": [2]}', '{ "b":[2],"a":1}', '{"a": 1, "b": [3]}']
    one, same, other = (model_of(facts_for(wish(profile={"inline": text}), Files(L4), applied_plan=None)).digest for text in texts)
    assert one == same != other


SELECTED = {"matchLabels": {"kubernetes.io/metadata.name": "default"}}
POLICIES = [
    ("without any, the defaults hold", [], None),
    ("default holds where nothing else matches", [policy("default", maxGpusPerReplica=1)], 1),
    ("a matching selector goes before default", [policy("default", maxGpusPerReplica=1),
     policy("team", SELECTED, maxGpusPerReplica=2)], 2),
    ("a selector of another namespace does not match", [policy("team", {"matchLabels": {"x": "y"}}, maxGpusPerReplica=2)], None),
    ("of two that match, the first by name holds", [policy("b", SELECTED, maxGpusPerReplica=3),
     policy("a", SELECTED, maxGpusPerReplica=2)], 2),
    ("expressions are read", [policy("a", {"matchExpressions": [{"key": "x", "operator": "DoesNotExist"},
     {"key": "kubernetes.io/metadata.name", "operator": "In", "values": ["default"]}]}, maxGpusPerReplica=4)], 4),
]  # fmt: skip


@pytest.mark.parametrize(("why", "policies", "cap"), POLICIES, ids=[row[0] for row in POLICIES])
def test_one_policy_holds_for_a_namespace(why: str, policies: list[FitPolicy], cap: int | None) -> None:
    for order in (policies, policies[::-1]):
        found = facts_for(deployment(), Files(L4, policies=order), applied_plan=None).policy
        assert found.max_gpus_per_replica == cap


def test_pools_come_by_name_whatever_the_order_of_nodes() -> None:
    one, other = (facts_for(deployment(), Files(*nodes), applied_plan=None) for nodes in ((L4, H100), (H100, L4)))
    assert one.pools == other.pools
