"""A webhook over a store in memory, and reviews to ask it, for the tests of the webhook."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import httpx
from tests.plimsoll_operator import plans

from plimsoll_operator.api import (
    ClusterModelProfile,
    EngineCalibration,
    FitPolicy,
    GPUPool,
    ModelProfile,
    PredictedMemory,
    Unreadable,
    parse_object,
)
from plimsoll_operator.capacity import offered
from plimsoll_operator.decision import decide
from plimsoll_operator.facts import DeploymentUse, Facts, NamespaceUse, PoolFacts
from plimsoll_operator.metrics import Recorder
from plimsoll_operator.names import API_VERSION
from plimsoll_operator.verdict import Verdict
from plimsoll_operator.webhook.app import WebhookApp

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
    policies: list[FitPolicy | Unreadable] = field(default_factory=list)
    held: dict[str, DeploymentUse] = field(default_factory=dict)
    labels: dict[str, str] | None = field(default_factory=dict)
    synced: bool = True
    trouble: str = ""
    bypass: bool = False

    def ready(self) -> bool:
        return self.synced

    def problem(self) -> str:
        return self.trouble or ("" if self.synced else "caches are not synced yet")

    def model_profile(self, namespace: str, name: str) -> ModelProfile | None:
        return None

    def cluster_model_profile(self, name: str) -> ClusterModelProfile | None:
        return None

    def model_profiles(self, namespace: str, model: str) -> Iterable[ModelProfile]:
        return ()

    def cluster_model_profiles(self, model: str) -> Iterable[ClusterModelProfile]:
        return ()

    def pool_facts(self) -> tuple[PoolFacts, ...]:
        return offered(self.pools)

    def fit_policies(self) -> Iterable[FitPolicy | Unreadable]:
        return self.policies

    def calibrations(self) -> Iterable[EngineCalibration]:
        return ()

    def namespace_labels(self, namespace: str) -> Mapping[str, str] | None:
        return self.labels

    def use(self, namespace: str, name: str) -> DeploymentUse | None:
        return self.held.get(name)

    def use_beside(self, namespace: str, name: str) -> NamespaceUse:
        return NamespaceUse.of(use for which, use in self.held.items() if which != name)

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
    options: dict[str, Any] = field(default_factory=dict)
    app: WebhookApp = field(init=False)

    def __post_init__(self) -> None:
        self.app = WebhookApp(store=self.store, decide=lambda facts, _: self.judge(facts), recorder=self.recorder, **self.options)

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
