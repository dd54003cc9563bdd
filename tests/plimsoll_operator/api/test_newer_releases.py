"""Objects of a newer release: what this one does not know is passed over, and what it cannot read does not vanish but denies."""

import gc
import sys
from collections.abc import Callable
from functools import partial
from types import FrameType
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.plimsoll_operator.decision_world import LLAMA_8B, Files, deployment, manifest, verdict
from tests.plimsoll_operator.nodes import gpu_node
from tests.plimsoll_operator.webhook_world import MemoryStore

from plimsoll_operator.api import (
    KINDS,
    ApiError,
    ClusterModelProfile,
    FitPolicy,
    FitPolicySpec,
    ModelProfile,
    Unreadable,
    parse_object,
    read_stored,
    unknown_fields,
)
from plimsoll_operator.cli.world import World, take, take_stored
from plimsoll_operator.controller.cluster.store import Parsed
from plimsoll_operator.decision import decide
from plimsoll_operator.facts import DeploymentUse, ModelFacts, ModelUnknown
from plimsoll_operator.gather import facts_for, policy_for
from plimsoll_operator.names import API_VERSION
from plimsoll_operator.ports import Manifest
from plimsoll_operator.reasons import NoShape
from plimsoll_operator.verdict import Admit, Reason, Reject
from plimsoll_operator.webhook.judge import judge
from plimsoll_operator.webhook.review import Answer, Review

if TYPE_CHECKING:
    from _typeshed import TraceFunction

BLUE: Manifest = {"matchLabels": {"team": "blue"}}
ALL: Manifest = {}
WRONG = "Someday"
"""A mode that a newer release may have."""


def policy(name: str = "default", **spec: Any) -> Manifest:
    return {"apiVersion": API_VERSION, "kind": "FitPolicy", "metadata": {"name": name, "generation": 3}, "spec": spec}


def stored(*policies: Manifest) -> list[FitPolicy | Unreadable]:
    return [read_stored(FitPolicy, one) for one in policies]


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_a_field_of_a_newer_release_is_passed_over_where_the_server_keeps_it_and_refused_where_a_user_writes_it(kind: str) -> None:
    specs: dict[str, Manifest] = {
        "InferenceDeployment": {"model": {"name": "a/b"}, "engine": {"image": "vllm/vllm-openai:v0.19.0"}},
        "ModelProfile": {"model": "a/b", "config": "{}"},
        "ClusterModelProfile": {"model": "a/b", "config": "{}"},
        "FitPolicy": {"unknownModel": "Deny", "calibrationTrust": {"mode": "Apply", "ofTomorrow": 1}},
        "EngineCalibration": {"corrections": [{"engineMinor": "0.19", "component": "weights", "addBytes": 1, "ofTomorrow": 1}]},
    }
    spec = specs.get(kind, {}) | {"ofTomorrow": {"deep": [1]}}
    obj = {"apiVersion": API_VERSION, "kind": kind, "metadata": {"name": "default"}, "spec": spec}
    found = read_stored(KINDS[kind], obj)
    assert not isinstance(found, Unreadable), found
    with pytest.raises(ApiError, match=r"ofTomorrow.* is not a known field"):
        parse_object(KINDS[kind], obj)


def test_the_rest_of_a_newer_policy_holds() -> None:
    (found,) = stored(policy(unknownModel="Deny", maxGpusPerNamespace=3, ofTomorrow=True))
    assert isinstance(found, FitPolicy)
    assert (found.spec.unknown_model, found.spec.max_gpus_per_namespace) == ("Deny", 3)


def test_what_is_said_of_it_is_one_printable_line_however_it_is_written() -> None:
    (found,) = stored(policy(mode="a\nplimsoll: all is well", maxGpusPerNamespace="\u202e"))
    assert isinstance(found, Unreadable)
    assert found.problem.isprintable()
    newer: Manifest = {"a\nb": 1} | {f"x{number:03}" * 100: 1 for number in range(50)}
    names = unknown_fields(FitPolicy, policy(**newer))
    assert len(names) == 8
    assert all(name.isprintable() and len(name) < 80 for name in names)


def test_a_status_that_cannot_be_read_hides_no_policy() -> None:
    found = read_stored(FitPolicy, policy(mode="Warn") | {"status": {"conditions": [{"type": 1}]}})
    assert isinstance(found, FitPolicy)
    assert (found.spec.mode, found.status) == ("Warn", None)


UNREADABLE = [
    ("a value of a newer release", {"mode": WRONG}),
    ("a type of a newer release", {"maxGpusPerNamespace": {"h100": 3}}),
    ("a cap beyond the bounds of this one", {"maxGpusPerReplica": 1 << 40}),
    ("a move that this release does not know", {"allowedMoves": ["maxModelLen", "somethingNew"]}),
]


@pytest.mark.parametrize(("why", "spec"), UNREADABLE, ids=[row[0] for row in UNREADABLE])
def test_a_policy_that_cannot_be_read_denies_with_a_reason_of_its_own_that_names_it(why: str, spec: Manifest) -> None:
    found = verdict(LLAMA_8B, engine={"maxModelLen": 8192}, store=Files(L4, policies=stored(policy(**spec))))
    assert isinstance(found, Reject)
    assert found.reason == Reason.POLICY_UNREADABLE
    assert "FitPolicy default cannot be read by this release: spec." in found.message


L4 = gpu_node("l4", "NVIDIA-L4", 4, 23034, host="180Gi", cpu="47")
READABLE = {"mode": "Warn"}
GREATER = {"matchExpressions": [{"key": "team", "operator": "Gt", "values": ["1"]}]}
BLUE_A, EVERY_B = policy("a", namespaceSelector=BLUE), policy("b", namespaceSelector=ALL, mode=WRONG)
EVERY_A, BLUE_B = policy("a", namespaceSelector=ALL, mode=WRONG), policy("b", namespaceSelector=BLUE, **READABLE)
WHERE = [
    ("its selector leaves the namespace out", [policy("a", namespaceSelector=BLUE, mode=WRONG)], "red", False),
    ("its selector takes the namespace in", [policy("a", namespaceSelector=BLUE, mode=WRONG)], "blue", True),
    ("its selector cannot be read", [policy("a", namespaceSelector={"matchLabels": {"team": 1}}, mode=WRONG)], "red", True),
    ("its selector knows more than this release", [policy("a", namespaceSelector=BLUE | {"matchAges": [1]})], "red", True),
    ("an operator that this release does not know", [policy("a", namespaceSelector=GREATER)], "red", True),
    ("it selects in a way that this release does not know", [policy("a", namespaceSelectors=[BLUE])], "red", True),
    (
        "an earlier policy by name holds",
        [policy("a", namespaceSelector=BLUE), policy("b", namespaceSelector=ALL, mode=WRONG)],
        "blue",
        False,
    ),
    ("a later policy by name would have held", [EVERY_A, BLUE_B], "blue", True),
    ("default is for everybody else", [policy(mode=WRONG), BLUE_B], "red", True),
    ("and not for who has a policy", [policy(mode=WRONG), BLUE_B], "blue", False),
]


@pytest.mark.parametrize(("why", "policies", "team", "denies"), WHERE, ids=[row[0] for row in WHERE])
def test_it_denies_wherever_it_could_hold_and_nowhere_else(why: str, policies: list[Manifest], team: str, denies: bool) -> None:
    held = policy_for("n", MemoryStore(policies=stored(*policies), labels={"team": team}))
    assert bool(held.problem) is denies


UNKNOWN_LABELS = [
    ("no policy selects", [policy()], False),
    ("a policy may select it", [policy(), BLUE_B], True),
    ("an earlier one selects every namespace", [policy("a", namespaceSelector=ALL), BLUE_B], False),
]


@pytest.mark.parametrize(("why", "policies", "denies"), UNKNOWN_LABELS, ids=[row[0] for row in UNKNOWN_LABELS])
def test_a_namespace_of_which_nobody_has_told_yet_is_taken_for_none_that_a_selector_leaves_out(
    why: str, policies: list[Manifest], denies: bool
) -> None:
    held = policy_for("n", MemoryStore(policies=stored(*policies), labels=None))
    assert ("labels of namespace n are not known yet" in held.problem) is denies


def test_neither_warn_mode_nor_a_bypass_lifts_it() -> None:
    """The mode of what cannot be read is not known either."""
    broken = stored(policy(mode="Warn", capacity=WRONG))
    store = Files(L4, policies=broken, protected=True)
    item = deployment(LLAMA_8B, engine={"maxModelLen": 8192})
    noted = item.metadata.model_copy(update={"annotations": {"inference.plimsoll.dev/bypass": "I know better"}})
    found = decide(facts_for(item.model_copy(update={"metadata": noted}), store, applied_plan=None))
    assert isinstance(found, Reject)
    assert found.reason == Reason.POLICY_UNREADABLE


def test_scale_is_refused_under_it_upward_only() -> None:
    use = DeploymentUse(replicas=1, gpus_per_replica=1, predicted_bytes_per_gpu=1)
    store = MemoryStore(policies=stored(policy(mode=WRONG)), held={"chat": use})

    def scale(replicas: int) -> Answer:
        obj = {"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": {"name": "chat"}, "spec": {"replicas": replicas}}
        review = Review(
            uid="1", operation="UPDATE", sub_resource="scale", namespace="n", name="chat", obj=obj, old={"spec": {"replicas": 1}}
        )
        return judge(review, store, decide)

    assert (scale(2).allowed, scale(2).reason) == (False, Reason.POLICY_UNREADABLE)
    assert scale(1).allowed
    assert scale(0).allowed


def test_a_wish_of_a_newer_release_is_refused_at_the_door_by_its_field() -> None:
    obj = manifest(LLAMA_8B, engine={"ofTomorrow": 1}, placement={"ofTomorrow": {"a": 1}})
    review = Review(uid="1", operation="CREATE", sub_resource="", namespace="n", name="x", obj=obj, old={})
    answer = judge(review, MemoryStore(), decide)
    assert (answer.allowed, answer.reason) == (False, Reason.NOT_SUPPORTED_YET)
    assert [fault.message for fault in answer.faults] == [
        "spec.engine.ofTomorrow is a field that this release does not know.",
        "spec.placement.ofTomorrow is a field that this release does not know",
    ]


def test_a_profile_read_from_a_place_that_this_release_does_not_know_answers_for_no_other() -> None:
    origin = {"persistentVolumeClaim": {"claimName": "c", "snapshot": "s"}}
    found = read_stored(ModelProfile, profile(origin=origin))
    assert isinstance(found, Unreadable)
    assert "snapshot" in found.problem


def profile(kind: str = "ModelProfile", **spec: Any) -> Manifest:
    metadata = {"name": "p"} | ({"namespace": "default"} if kind == "ModelProfile" else {})
    return {"apiVersion": API_VERSION, "kind": kind, "metadata": metadata, "spec": {"model": LLAMA_8B, "config": "{}"} | spec}


@pytest.mark.parametrize("kind", [ModelProfile, ClusterModelProfile])
def test_nobody_else_answers_for_a_model_whose_profile_cannot_be_read(kind: type[ModelProfile | ClusterModelProfile]) -> None:
    """Llama 3.1 8B is in the catalogue: the profile may say that these weights are larger."""
    world = World()
    take_stored(world, profile(kind.__name__, weights={"totalBytes": "many"}))
    model = facts_for(deployment(LLAMA_8B), world, applied_plan=None).model
    assert isinstance(model, ModelUnknown)
    assert model.kind is NoShape.INVALID
    assert (
        f"{kind.__name__} {'default/' if kind is ModelProfile else ''}p cannot be read by this release: spec.weights.totalBytes"
        in model.problem
    )


def test_a_profile_that_cannot_be_read_speaks_for_its_own_model_alone() -> None:
    world = World()
    take_stored(world, profile(weights={"totalBytes": "many"}) | {"spec": {"model": "other/model", "config": 1}})
    model = facts_for(deployment(LLAMA_8B), world, applied_plan=None).model
    assert isinstance(model, ModelFacts)
    assert model.name == LLAMA_8B
    assert isinstance(verdict(LLAMA_8B, engine={"maxModelLen": 8192}, store=Files(L4)), Admit)


def test_the_command_line_sees_the_cluster_s_unreadable_policy_and_refuses_one_in_a_file() -> None:
    world = World()
    take_stored(world, policy(mode=WRONG))
    assert policy_for("n", world).problem.startswith("FitPolicy default cannot be read")
    with pytest.raises(ApiError, match=r"nodes[.]yaml: FitPolicy default: spec[.]ofTomorrow: true is not a known field"):
        take(World(), policy(ofTomorrow=True), "nodes.yaml")


WORDS = st.sampled_from(["spec", "metadata", "name", "generation", "namespaceSelector", "matchLabels", "mode", "status"])
LEAVES = st.none() | st.booleans() | st.integers() | st.text(max_size=5)
JSON = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=4), max_leaves=12)


@given(JSON)
def test_whatever_the_server_keeps_is_a_value(
    anything: object,
) -> None:
    obj = anything if isinstance(anything, dict) else {"spec": anything}
    assert isinstance(read_stored(FitPolicy, obj), FitPolicy | Unreadable)


def steps(action: Callable[[], object]) -> int:
    """Bytecodes that an action executes in Python code."""
    count = 0

    def trace(frame: FrameType, event: str, _arg: object) -> "TraceFunction":
        nonlocal count
        frame.f_trace_opcodes = True
        count += event == "opcode"
        return trace

    before, collects = sys.gettrace(), gc.isenabled()
    gc.disable()  # a collection calls back into Python code that is none of the action's
    sys.settrace(trace)
    try:
        action()
    finally:
        sys.settrace(before)
        if collects:
            gc.enable()
    return count


def many(count: int) -> Parsed[ModelProfile]:
    parsed = Parsed(ModelProfile)
    for number in range(count):
        change(parsed, number)
    return parsed


def change(parsed: Parsed[ModelProfile], number: int, text: str = "{}") -> None:
    made = profile(config=text) | {"metadata": {"namespace": "default", "name": f"p{number}"}}
    made["spec"]["model"] = f"acme/m{number}"
    parsed.changed(("default", f"p{number}"), None, made)


def test_taking_in_one_profile_costs_the_same_however_many_there_are() -> None:
    few, lots = many(3), many(300)
    for _ in range(2):  # the second time nothing is compiled or cached any more
        costs = [steps(partial(change, parsed, 1, '{"a": 1}')) for parsed in (few, lots)]
    assert costs[0] == costs[1]


def test_looking_one_model_up_costs_the_same_however_many_there_are() -> None:
    few, lots = many(3), many(300)
    costs = [steps(partial(parsed.of_model, "default", "acme/m1")) for parsed in (few, lots)]
    assert costs[0] == costs[1]


def test_a_profile_is_found_under_the_model_it_speaks_of_now() -> None:
    parsed = many(2)
    parsed.changed(("default", "p0"), None, profile() | {"metadata": {"namespace": "default", "name": "p0"}})
    (found,) = parsed.of_model("default", LLAMA_8B)
    assert not isinstance(found, Unreadable)
    assert found.metadata.name == "p0"
    assert list(parsed.of_model("default", "acme/m0")) == []
    parsed.changed(("default", "p0"), {}, None)
    assert list(parsed.of_model("default", LLAMA_8B)) == []
    (left,) = parsed.values()
    assert not isinstance(left, Unreadable)
    assert left.metadata.name == "p1"


def test_what_is_built_in_holds_where_there_is_no_policy() -> None:
    held = policy_for("n", MemoryStore())
    assert (held.spec, held.problem) == (FitPolicySpec(), "")
