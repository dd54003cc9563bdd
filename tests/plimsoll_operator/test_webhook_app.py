"""The webhook as the API server meets it: HTTP in, AdmissionReview out, over the real decision and a store in memory."""

from __future__ import annotations

import asyncio
import copy
import json
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import httpx
import pytest
from tests.plimsoll_operator import plans

from plimsoll_operator.api import (
    API_VERSION,
    ClusterModelProfile,
    EngineCalibration,
    FitPolicy,
    GPUPool,
    ModelProfile,
    parse_object,
)
from plimsoll_operator.decision import decide
from plimsoll_operator.facts import DeploymentUse, Facts
from plimsoll_operator.metrics import Recorder
from plimsoll_operator.use import use_of
from plimsoll_operator.verdict import Admit, Change, Offer, Plan, PredictedMemory, Reason, Reject, Resize, Undecided, Verdict
from plimsoll_operator.webhook.app import MAX_BODY_BYTES, WebhookApp

GIB = 1 << 30
PLAN = replace(
    plans.PLAN,
    pools=("l4",),
    model="a/b",
    tensor_parallel_size=2,
    gpus_per_replica=2,
    max_num_seqs=128,
    gpu_total_bytes=22 * GIB,
    allocated_bytes=20 * GIB,
    predicted=PredictedMemory(
        weights_bytes=8 * GIB, activation_bytes=GIB, cuda_graph_bytes=GIB, non_torch_bytes=GIB, kv_cache_bytes=9 * GIB
    ),
)
POOL = parse_object(
    GPUPool,
    {
        "apiVersion": API_VERSION,
        "kind": "GPUPool",
        "metadata": {"name": "l4"},
        "spec": {
            "declared": True,
            "product": "NVIDIA-L4",
            "gpusPerNode": 4,
            "maxNodes": 4,
            "usableMemoryBytes": "22Gi",
            "computeCapability": "8.9",
            "node": {"hostMemoryBytes": "128Gi", "cpu": "32", "ephemeralStorageBytes": "500Gi"},
        },
    },
)


def policy(name: str = "default", **spec: Any) -> FitPolicy:
    return parse_object(FitPolicy, {"apiVersion": API_VERSION, "kind": "FitPolicy", "metadata": {"name": name}, "spec": spec})


@dataclass(kw_only=True)
class MemoryStore:
    """A ReviewStore of plain values."""

    pools: list[GPUPool] = field(default_factory=lambda: [POOL])
    policies: list[FitPolicy] = field(default_factory=list)
    held: dict[str, DeploymentUse] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)
    synced: bool = True
    bypass: bool = False

    def ready(self) -> bool:
        return self.synced

    def model_profile(self, namespace: str, name: str) -> ModelProfile | None:
        return None

    def model_profiles(self, namespace: str) -> Iterable[ModelProfile]:
        return ()

    def cluster_model_profiles(self) -> Iterable[ClusterModelProfile]:
        return ()

    def gpu_pools(self) -> Iterable[GPUPool]:
        return self.pools

    def fit_policies(self) -> Iterable[FitPolicy]:
        return self.policies

    def calibrations(self) -> Iterable[EngineCalibration]:
        return ()

    def namespace_labels(self, namespace: str) -> Mapping[str, str]:
        return self.labels

    def uses(self, namespace: str) -> Mapping[str, DeploymentUse]:
        return self.held

    def serves_leader_worker_sets(self) -> bool:
        return False

    def bypass_is_protected(self) -> bool:
        return self.bypass


def manifest(**spec: Any) -> dict[str, Any]:
    base = {"model": {"name": "meta-llama/Llama-3.1-8B-Instruct"}, "engine": {"image": "vllm/vllm-openai:v0.19.0", "maxModelLen": 8192}}
    return {"apiVersion": API_VERSION, "kind": "InferenceDeployment", "metadata": {"name": "x", "namespace": "team"}, "spec": base | spec}


def review(obj: Any = None, *, old: Any = None, operation: str = "", sub: str | None = None, **request: Any) -> dict[str, Any]:
    return {
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "request": {
            "uid": "u-1",
            "operation": operation or ("UPDATE" if old else "CREATE"),
            "resource": {"group": "inference.plimsoll.dev", "version": "v1alpha1", "resource": "inferencedeployments"},
            "subResource": sub,
            "namespace": "team",
            "name": "x",
            "object": manifest() if obj is None else obj,
            "oldObject": old,
            "dryRun": False,
        }
        | request,
    }


@dataclass(kw_only=True)
class Webhook:
    store: MemoryStore = field(default_factory=MemoryStore)
    judge: Callable[[Facts], Verdict] = decide
    recorder: Recorder = field(default_factory=Recorder)
    app: WebhookApp = field(init=False)

    def __post_init__(self) -> None:
        self.app = WebhookApp(store=self.store, decide=self.judge, recorder=self.recorder)

    def call(self, method: str, path: str, **options: Any) -> httpx.Response:
        async def go() -> httpx.Response:
            transport = httpx.ASGITransport(app=self.app)
            async with httpx.AsyncClient(transport=transport, base_url="https://webhook") as client:
                return await client.request(method, path, **options)

        return asyncio.run(go())

    def ask(self, body: dict[str, Any]) -> dict[str, Any]:
        answer = self.call("POST", "/validate?timeout=5s", json=body)
        assert answer.status_code == 200, answer.text
        decoded = answer.json()
        assert (decoded["apiVersion"], decoded["kind"], decoded["response"]["uid"]) == ("admission.k8s.io/v1", "AdmissionReview", "u-1")
        response: dict[str, Any] = decoded["response"]
        return response


def says(verdict: Verdict) -> Callable[[Facts], Verdict]:
    return lambda facts: verdict


def never(facts: Facts) -> Verdict:
    raise AssertionError("this request must pass without a judgement")


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


@pytest.mark.parametrize(("replicas", "allowed"), [(2, True), (3, False)])
def test_scale_is_refused_for_caps_only_and_without_causes(replicas: int, allowed: bool) -> None:
    body = review({"kind": "Scale", "apiVersion": "autoscaling/v1", "spec": {"replicas": replicas}}, old={"spec": {}}, sub="scale")
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


def broken(**request: Any) -> bytes:
    body = review()
    body["request"] |= request
    return json.dumps(body).encode()


BAD = [
    ("no body", b""),
    ("no JSON", b"{"),
    ("not UTF-8", b"\xff\xfe{}"),
    ("nested beyond the parser", b"[" * 100_000),
    ("a list", b"[]"),
    ("another kind", b'{"apiVersion":"v1","kind":"Pod"}'),
    ("no request", b'{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview"}'),
    ("an old version", broken().replace(b"admission.k8s.io/v1", b"admission.k8s.io/v1beta1")),
    ("no uid", broken(uid=None)),
    ("an unknown operation", broken(operation="PATCH")),
    ("an operation that is a list", broken(operation="x" * 10)),
    ("another resource", broken(resource={"group": "", "resource": "pods"})),
    ("a resource that is text", broken(resource="pods")),
    ("an object that is text", broken(object="x")),
    ("a namespace that is a number", broken(namespace=3)),
]


@pytest.mark.parametrize(("why", "body"), BAD, ids=[why for why, _ in BAD])
def test_what_is_no_review_is_a_400_that_says_why(why: str, body: bytes) -> None:
    answer = Webhook(judge=never).call("POST", "/validate", content=body)
    assert (answer.status_code, bool(answer.json()["error"])) == (400, True), why


def test_bodies_are_bounded_whether_they_say_their_length_or_not() -> None:
    body = b'{"a":"' + b"x" * MAX_BODY_BYTES + b'"}'

    async def chunks() -> AsyncIterator[bytes]:
        for start in range(0, len(body), 1 << 16):
            yield body[start : start + (1 << 16)]

    webhook = Webhook(judge=never)
    assert webhook.call("POST", "/validate", content=body).status_code == 413
    assert webhook.call("POST", "/validate", content=chunks()).status_code == 413


def test_two_mebibytes_of_annotations_are_judged_like_any_object() -> None:
    heavy = manifest()
    heavy["metadata"] = heavy["metadata"] | {"annotations": {"a": "x" * (2 << 20)}}
    assert Webhook().ask(review(heavy))["allowed"] is True


def test_not_ready_before_the_caches_are_and_while_stopping() -> None:
    webhook = Webhook(store=MemoryStore(synced=False), judge=never)
    assert [webhook.call("GET", path).status_code for path in ("/healthz", "/readyz")] == [200, 503]
    assert webhook.call("POST", "/validate", json=review()).status_code == 503
    webhook.store.synced = True
    assert webhook.call("GET", "/readyz").status_code == 200
    webhook.app.stopping = True
    assert webhook.call("GET", "/readyz").status_code == 503


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/validate", 405), ("POST", "/metrics", 405), ("GET", "/", 404), ("POST", "/validate/x", 404), ("PUT", "/readyz", 405)],
)
def test_other_paths_and_methods(method: str, path: str, status: int) -> None:
    assert Webhook(judge=never).call(method, path).status_code == status


def test_every_review_is_counted_once_by_operation_verdict_and_reason() -> None:
    webhook = Webhook()
    webhook.ask(review())
    webhook.ask(review(manifest(replicas=-1)))
    webhook.ask(review({}, old=manifest(), operation="DELETE"))
    webhook.call("POST", "/validate", content=b"{")
    text = webhook.call("GET", "/metrics").text
    for labels in (
        'operation="CREATE",reason="Fits",verdict="Admit"',
        'operation="CREATE",reason="Invalid",verdict="Invalid"',
        'operation="DELETE",reason="Unchanged",verdict="Skipped"',
    ):
        assert f"plimsoll_admission_reviews_total{{{labels}}} 1.0" in text
    assert "plimsoll_admission_review_duration_seconds_count 3.0" in text


def test_a_bug_in_the_decision_is_not_dressed_up_as_an_answer() -> None:
    with pytest.raises(AssertionError, match="without a judgement"):
        Webhook(judge=never).ask(review())


def test_a_review_changes_nothing_it_was_given() -> None:
    body = review()
    before = copy.deepcopy(body)
    Webhook().ask(body)
    assert body == before


def test_a_name_with_a_line_break_forges_no_line_of_the_log(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"):
        Webhook().ask(review(name="x\n2026 ERROR forged"))
    assert [record.getMessage() for record in caplog.records if "team/x" in record.getMessage()] == [
        "CREATE team/x 2026 ERROR forged: Admit Fits"
    ]
