"""What the webhook answers to a review: verdicts as kubectl shows them, caps, scale, and what passes unjudged."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from tests.plimsoll_operator.webhook_world import GIB, PLAN, MemoryStore, Webhook, manifest, never, policy, review, says

from plimsoll_operator.facts import DeploymentUse
from plimsoll_operator.use import use_of
from plimsoll_operator.verdict import Admit, Change, Offer, Plan, Reason, Reject, Resize, Undecided

REJECT = Reject(
    reason=Reason.INSUFFICIENT_KV_CACHE,
    message="a/b does not fit: the GPU needs 31.4 GiB, NVIDIA-L4 offers 21.3 GiB, short by 10.1 GiB.",
    field="spec.engine.maxModelLen",
    details=("The KV cache of one request needs 16.0 GiB.",),
    offers=(Offer(summary="With maxModelLen 32768.", patch_json='{"spec":{"engine":{"maxModelLen":32768}}}'),),
)


def test_what_fits_is_admitted_by_the_real_decision() -> None:
    response = Webhook().ask(review())
    assert response["allowed"] is True
    noted = response["auditAnnotations"]
    assert (noted["verdict"], noted["reason"]) == ("Admit", "Fits")
    plan = Plan.from_json(noted["plan"])
    assert (plan.canonical_json(), plan.product, plan.max_model_len) == (noted["plan"], "NVIDIA-L4", 8192)


def test_what_cannot_fit_is_refused_with_the_whole_sentence_as_first_cause() -> None:
    big = manifest(engine={"image": "vllm/vllm-openai:v0.19.0", "maxModelLen": 131072, "tensorParallelSize": 1})
    response = Webhook().ask(review(big))
    assert response["allowed"] is False
    status = response["status"]
    assert (status["code"], status["reason"], status["details"]["kind"]) == (422, "Invalid", "InferenceDeployment")
    first = status["details"]["causes"][0]
    assert first["message"] == status["message"]
    for word in ("needed", "available", "short by", "GiB"):
        assert word in first["message"]


def test_a_rejection_reads_sentence_then_details_then_offers() -> None:
    causes = Webhook(judge=says(REJECT)).ask(review())["status"]["details"]["causes"]
    assert [(cause["field"], cause["message"]) for cause in causes] == [
        ("spec.engine.maxModelLen", REJECT.message),
        ("spec.engine.maxModelLen", "The KV cache of one request needs 16.0 GiB."),
        ("offer", 'With maxModelLen 32768: {"spec":{"engine":{"maxModelLen":32768}}}'),
    ]


def test_offers_that_were_not_looked_for_are_said() -> None:
    causes = Webhook(judge=says(replace(REJECT, offers_cut=True))).ask(review())["status"]["details"]["causes"]
    assert [cause["field"] for cause in causes[-2:]] == ["offer", "offer"]
    assert causes[-1]["message"].startswith("there may be more changes that fit")


def test_dry_run_and_update_get_the_same_answer_as_a_creation() -> None:
    webhook = Webhook(judge=says(REJECT))
    answers = [webhook.ask(review()), webhook.ask(review(dryRun=True)), webhook.ask(review(old=manifest(replicas=0)))]
    assert answers[0] == answers[1]
    assert answers[0] == answers[2]


def test_warnings_are_single_short_printable_lines() -> None:
    verdict = Admit(plan=PLAN, warnings=("one\nline\tonly\x00", "x" * 999))
    warnings = Webhook(judge=says(verdict)).ask(review())["warnings"]
    assert warnings[0] == "one line only"
    assert [len(warning) for warning in warnings] == [13, 256]


def test_a_resize_says_what_moved_from_where_to_where() -> None:
    change = Change(field="spec.engine.maxModelLen", old="131072", new="32768", why="the KV cache does not fit")
    response = Webhook(judge=says(Resize(plan=PLAN, changes=(change,), warnings=("later",)))).ask(review())
    assert response["allowed"] is True
    assert response["warnings"] == ["spec.engine.maxModelLen 131072 -> 32768: the KV cache does not fit", "later"]


UNDECIDED = Undecided(reason=Reason.UNKNOWN_MODEL, message="The shape of a/b is not known.", next_step="No pods are made.")


def test_undecided_passes_with_a_warning_that_says_what_happens_next() -> None:
    response = Webhook(judge=says(UNDECIDED)).ask(review())
    assert response["allowed"] is True
    assert response["warnings"] == ["undecided (UnknownModel): The shape of a/b is not known.", "No pods are made."]


@pytest.mark.parametrize(
    ("reason", "field"),
    [(Reason.UNKNOWN_MODEL, "spec.model.name"), (Reason.UNKNOWN_ENGINE, "spec.engine.image"), (Reason.NO_KNOWN_POOL, "spec.placement")],
)
def test_undecided_is_refused_where_the_policy_denies_and_names_the_field(reason: Reason, field: str) -> None:
    store = MemoryStore(policies=[policy(unknownModel="Deny")])
    response = Webhook(judge=says(replace(UNDECIDED, reason=reason)), store=store).ask(review())
    assert response["allowed"] is False
    cause = response["status"]["details"]["causes"][0]
    assert (cause["field"], "not known" in cause["message"]) == (field, True)


def test_a_doubt_about_one_field_is_refused_there() -> None:
    store = MemoryStore(policies=[policy(unknownModel="Deny")])
    response = Webhook(judge=says(replace(UNDECIDED, field="spec.engine.speculative.method")), store=store).ask(review())
    assert response["status"]["details"]["causes"][0]["field"] == "spec.engine.speculative.method"


def test_warn_mode_lets_a_rejection_pass_as_a_warning_but_only_where_it_holds() -> None:
    trial = policy("trial", mode="Warn", namespaceSelector={"matchLabels": {"stage": "trial"}})
    inside = Webhook(judge=says(REJECT), store=MemoryStore(policies=[trial], labels={"stage": "trial"})).ask(review())
    assert inside["allowed"] is True
    assert inside["warnings"][0].startswith("would be rejected (InsufficientKvCache): a/b does not fit")
    assert Webhook(judge=says(REJECT), store=MemoryStore(policies=[trial])).ask(review())["allowed"] is False


@pytest.mark.parametrize("reason", [Reason.NOT_SUPPORTED_YET, Reason.INVALID_SPEC])
def test_warn_mode_does_not_let_pass_what_would_be_ignored(reason: Reason) -> None:
    verdict = Reject(reason=reason, message="spec.engine.lora is not supported yet.", field="spec.engine.lora")
    response = Webhook(judge=says(verdict), store=MemoryStore(policies=[policy(mode="Warn")])).ask(review())
    assert response["allowed"] is False


PASSING = [
    ("a deletion", review({}, old=manifest(), operation="DELETE")),
    ("a label change", review(manifest() | {"metadata": {"name": "x", "labels": {"a": "b"}}}, old=manifest())),
    ("fewer replicas and nothing else", review(manifest(replicas=1), old=manifest(replicas=5))),
    ("replicas left out after two", review(manifest(), old=manifest(replicas=2))),
    (
        "an object on its way out",
        review(manifest(replicas=9) | {"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}}, old=manifest()),
    ),
    ("a status write", review(manifest(replicas=9), old=manifest(), sub="status")),
    ("fewer replicas by scale", review({"kind": "Scale", "spec": {"replicas": 1}}, old={"spec": {"replicas": 2}}, sub="scale")),
    ("a broken object that keeps its broken spec", review({"spec": {"a": 1}, "metadata": {}}, old={"spec": {"a": 1}})),
]


@pytest.mark.parametrize(("why", "body"), PASSING, ids=[why for why, _ in PASSING])
def test_passes_whatever_the_state(why: str, body: dict[str, Any]) -> None:
    store = MemoryStore(
        policies=[policy(maxGpusPerNamespace=0)], held={"x": DeploymentUse(replicas=2, gpus_per_replica=2, predicted_bytes_per_gpu=0)}
    )
    assert Webhook(judge=never, store=store).ask(body)["allowed"] is True, why


@pytest.mark.parametrize(
    ("why", "old", "new"),
    [
        ("more replicas", manifest(replicas=1), manifest(replicas=2)),
        ("fewer replicas beside another change", manifest(replicas=5), manifest(replicas=1, fit={"minMaxModelLen": 4096})),
        ("another model", manifest(), manifest(model={"name": "c/d"})),
    ],
)
def test_is_judged(why: str, old: dict[str, Any], new: dict[str, Any]) -> None:
    assert Webhook(judge=says(REJECT)).ask(review(new, old=old))["allowed"] is False, why


def test_malformed_objects_are_refused_by_field_without_asking_the_decision() -> None:
    body = review(manifest(replicas=-1, engine={"image": "vllm/vllm-openai:latest", "tensorParalelSize": 2}))
    causes = Webhook(judge=never).ask(body)["status"]["details"]["causes"]
    assert [(cause["field"], cause["message"]) for cause in causes] == [
        ("spec.replicas", "-1 must be at least 0"),
        ("spec.engine.tensorParalelSize", "2 is not a known field"),
    ]


def test_accounts_that_no_policy_lists_and_contradicting_flags_are_named_by_the_real_decision() -> None:
    engine = {"image": "vllm/vllm-openai:v0.19.0", "maxModelLen": 8192}
    flag = Webhook().ask(review(manifest(engine=engine | {"extraArgs": ["--max-model-len=4096"]})))["status"]["details"]["causes"][0]
    assert flag["field"].startswith("spec.engine")
    assert "max-model-len" in flag["message"]
    account = Webhook().ask(review(manifest(template={"serviceAccountName": "admin"})))["status"]["details"]["causes"][0]
    assert (account["field"], "allowedServiceAccounts" in account["message"]) == ("spec.template.serviceAccountName", True)


CAPPED = MemoryStore(
    policies=[policy(maxGpusPerNamespace=8, maxPredictedGibPerNamespace=300)],
    held={
        "x": DeploymentUse(replicas=1, gpus_per_replica=2, predicted_bytes_per_gpu=20 * GIB),
        "y": DeploymentUse(replicas=2, gpus_per_replica=2, predicted_bytes_per_gpu=20 * GIB),
    },
)


@pytest.mark.parametrize(("replicas", "allowed"), [(1, True), (4, True), (5, False)])
def test_the_namespace_cap_counts_the_others_and_this_one_once(replicas: int, allowed: bool) -> None:
    response = Webhook(store=CAPPED).ask(review(manifest(replicas=replicas)))
    assert response["allowed"] is allowed
    if not allowed:
        cause = response["status"]["details"]["causes"][0]
        assert (cause["field"], cause["message"]) == (
            "spec.replicas",
            "5 replicas bring the namespace to 9 GPUs, the FitPolicy allows 8.",
        )


def test_the_cap_on_predicted_memory_counts_every_gpu() -> None:
    store = replace(CAPPED, policies=[policy(maxPredictedGibPerNamespace=90)])
    response = Webhook(store=store).ask(review(manifest(replicas=1)))
    taken = float(response["status"]["message"].partition(" GiB of predicted GPU memory, the FitPolicy allows 90 GiB")[0].split()[-1])
    assert 80 + 15 < taken < 80 + 22, "80 GiB of the others and what one L4 is predicted to hold"


MOVES = {"env": [{"name": "VLLM_ATTENTION_BACKEND", "value": "FLASHINFER"}]}
RUNS = {"x": DeploymentUse(replicas=1, gpus_per_replica=2, predicted_bytes_per_gpu=20 * GIB)}
IMAGE = {"image": "vllm/vllm-openai:v0.19.0", "maxModelLen": 8192}
REPLAN = {"name": "x", "namespace": "team", "annotations": {"inference.plimsoll.dev/replan": "1"}}


def grown(replicas: int, **spec: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """An object with a variable that this release refuses, as it is to be and as it was."""
    return manifest(replicas=replicas, template=MOVES, **spec), manifest(replicas=1, template=MOVES)


def test_more_replicas_of_what_runs_are_not_refused_for_a_variable_that_only_newer_rules_refuse() -> None:
    new, old = grown(3)
    response = Webhook(store=MemoryStore(held=RUNS)).ask(review(new, old=old))
    assert response["allowed"] is True
    (warning,) = response["warnings"]
    assert warning.startswith("would be rejected if it were new (NotSupportedYet): Variable VLLM_ATTENTION_BACKEND")


CDI = {"annotations": {"cdi.k8s.io/x": "nvidia.com/gpu=all"}}
NOT_KEPT: list[tuple[str, dict[str, Any], dict[str, Any] | None, dict[str, Any], str]] = [
    ("a creation", grown(1)[0], None, {}, "VLLM_ATTENTION_BACKEND"),
    ("what has no plan that runs", *grown(3), {"held": {}}, "VLLM_ATTENTION_BACKEND"),
    ("the variable itself is edited", manifest(replicas=1, template={"env": [{"name": "VLLM_MOVED"}]}), grown(1)[1], {}, "VLLM_MOVED"),
    ("it is added", grown(1)[0], manifest(replicas=1), {}, "VLLM_ATTENTION_BACKEND"),
    (
        "a change beside the replicas, which makes new pods",
        manifest(replicas=3, template=MOVES, engine=IMAGE | {"maxModelLen": 4096}),
        grown(1)[1],
        {},
        "VLLM_ATTENTION_BACKEND",
    ),
    ("a fresh plan is asked for as well", grown(3)[0] | {"metadata": REPLAN}, grown(1)[1], {}, "VLLM_ATTENTION_BACKEND"),
    ("more than the cap", *grown(3), {"policies": [policy(maxGpusPerNamespace=4)]}, "3 replicas bring the namespace to 6 GPUs"),
    (
        "an image that the policy forbids, behind the variable",
        *grown(3),
        {"policies": [policy(allowedImages=["registry.example/"])]},
        "allowedImages",
    ),
    (
        "an order to the container runtime, behind the variable",
        manifest(replicas=3, template=MOVES | CDI),
        manifest(replicas=1, template=MOVES | CDI),
        {},
        "order to the container runtime",
    ),
]


@pytest.mark.parametrize(("why", "new", "old", "store", "says_so"), NOT_KEPT, ids=[row[0] for row in NOT_KEPT])
def test_all_else_is_refused_as_if_it_were_new(
    why: str, new: dict[str, Any], old: dict[str, Any] | None, store: dict[str, Any], says_so: str
) -> None:
    response = Webhook(store=MemoryStore(**({"held": RUNS} | store))).ask(review(new, old=old))
    assert response["allowed"] is False, why
    assert says_so in response["status"]["message"]


def test_a_prediction_holds_for_more_replicas_too() -> None:
    new, old = manifest(replicas=3), manifest(replicas=1)
    assert Webhook(judge=says(REJECT), store=MemoryStore(held=RUNS)).ask(review(new, old=old))["allowed"] is False


SCALES = [
    ("within the cap", {}, {"replicas": 2}, True),
    ("beyond it, from none, which a Scale does not spell", {}, {"replicas": 3}, False),
    ("beyond it, from one", {"replicas": 1}, {"replicas": 3}, False),
    ("fewer, though still beyond it: the cap was lowered", {"replicas": 9}, {"replicas": 5}, True),
    ("to none", {"replicas": 9}, {}, True),
    ("no change", {"replicas": 9}, {"replicas": 9}, True),
]


@pytest.mark.parametrize(("why", "old", "new", "allowed"), SCALES, ids=[row[0] for row in SCALES])
def test_scale_is_refused_for_caps_only_and_without_causes(why: str, old: dict[str, int], new: dict[str, int], allowed: bool) -> None:
    body = review({"kind": "Scale", "apiVersion": "autoscaling/v1", "spec": new}, old={"spec": old}, sub="scale")
    response = Webhook(store=CAPPED, judge=never).ask(body)
    assert response["allowed"] is allowed
    if not allowed:
        assert (response["status"]["code"], response["status"]["reason"]) == (403, "Forbidden")
        assert "the FitPolicy allows 8" in response["status"]["message"]


def test_scale_of_what_is_not_in_the_cache_passes() -> None:
    body = review({"kind": "Scale", "spec": {"replicas": 99}}, old={"spec": {}}, sub="scale")
    assert Webhook(store=MemoryStore(policies=[policy(maxGpusPerNamespace=1)]), judge=never).ask(body)["allowed"] is True


@pytest.mark.parametrize("plan", [None, {}, {"gpusPerReplica": "x"}, [], {"tensorParallelSize": -1, "predicted": 3}])
def test_use_is_read_from_any_status_without_a_traceback(plan: Any) -> None:
    assert use_of({"spec": {"replicas": 3}, "status": {"plan": plan}}) == DeploymentUse(
        replicas=3, gpus_per_replica=0, predicted_bytes_per_gpu=0
    )
