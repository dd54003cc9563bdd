"""Time of one webhook answer for the worst inputs that the API admits, printed and held to a hundred floors. Run: make bench

From the body's bytes to the answer's, nothing remembered: parsed, judged on 64 pools over up to 64 nodes a replica among thousands of
profiles, with offers. The floor is decoding the body, which nobody can leave out: on a machine that does that in 10 ms, a hundred of
them are a second.
"""

import json
import time
from functools import partial
from typing import Any

import pytest
from tests.bench.timing import FLOOR, Action, Row, forget, hold, show, taken
from tests.plimsoll_estimator.shipped import config_of
from tests.plimsoll_operator.decision_world import FilesForReviews
from tests.plimsoll_operator.nodes import gpu_node
from tests.plimsoll_operator.webhook_world import review

from plimsoll_operator.api import ModelProfile, parse_object
from plimsoll_operator.decision import decide_within
from plimsoll_operator.names import API_VERSION
from plimsoll_operator.ports import Manifest
from plimsoll_operator.reasons import Reason
from plimsoll_operator.webhook.judge import judge
from plimsoll_operator.webhook.ports import ReviewStore
from plimsoll_operator.webhook.review import Answer, parse_review, render_review

MOST_FLOORS = 100
PAD = 2000
"""Entries of a list in a config: no more than layers."""
LIMIT_BYTES = 1_500_000
POOLS = [
    ("NVIDIA-H100-80GB-HBM3", 81559), ("NVIDIA-H200", 143771), ("NVIDIA-A100-SXM4-80GB", 81920), ("NVIDIA-B200", 183359),
    ("NVIDIA-A100-SXM4-40GB", 40960), ("NVIDIA-L40S", 46068), ("NVIDIA-L4", 23034), ("NVIDIA-A10G", 23028), ("Tesla-T4", 15360),
    ("NVIDIA-H100-PCIe", 81559), ("NVIDIA-H20", 97871), ("NVIDIA-A40", 46068), ("NVIDIA-RTX-A6000", 49140),
    ("NVIDIA-A30", 24576), ("Tesla-V100-SXM2-32GB", 32768), ("NVIDIA-L20", 46068),
]  # fmt: skip
CLASSES = [
    {"name": f"c{n}", "promptTokens": 1000 + 977 * n, "outputTokens": 300 + 37 * n, "concurrency": 40 + 900 * n, "burst": 2.5,
     "prefixCacheHitPercent": 20} for n in range(16)
]  # fmt: skip


def shape(model: str, **keys: Any) -> str:
    """A config of nearly 64 KiB: the model's own, padded with what is ignored and what is not."""
    config = {**config_of(model).as_mapping(), **keys}
    room = 65_000 - len(json.dumps(config))
    return json.dumps(config | {f"pad{n}": [[] for _ in range(PAD)] for n in range(room // (4 * PAD + 12))})


def wish(**spec: Any) -> Manifest:
    template = {"annotations": {f"a{n}": "x" * 4000 for n in range(20)}, "env": [{"name": f"E{n}", "value": "x" * 4000} for n in range(40)]}
    metadata: Manifest = {"name": "worst", "namespace": "team"}
    found = {"apiVersion": API_VERSION, "kind": "InferenceDeployment", "metadata": metadata, "spec": {"template": template} | spec}
    left = LIMIT_BYTES - len(json.dumps(found))
    metadata["labels"] = {f"{n:07d}": "x" for n in range(left // 16)}
    return found


def engine(**fields: Any) -> Manifest:
    return {"image": "vllm/vllm-openai:v0.19.0", **fields}


R1, MIXED = "deepseek-ai/DeepSeek-R1", "meta-llama/Llama-3.3-70B-Instruct"
DEEP = shape(MIXED, num_hidden_layers=2048)
LORA = {"maxLoras": 64, "maxLoraRank": 64}
DRAFT = {"method": "eagle3", "model": "team/draft", "numSpeculativeTokens": 8}
SPAN = {"maxNodesPerReplica": 64}
RESIZE = {
    "policy": "Resize",
    "mayChange": ["maxModelLen", "kvCacheDtype", "maxNumSeqs", "tensorParallelSize", "gpuMemoryUtilization"],
}
WISHES: dict[str, Manifest] = {
    "a worksheet nobody can hold, experts": {"model": {"name": R1, "profile": {"inline": shape(R1)}}, "engine": engine(), "replicas": 3,
        "workload": {"requestClasses": CLASSES}, "placement": SPAN},
    "a worksheet nobody can hold, dense": {"model": {"name": MIXED, "profile": {"inline": shape(MIXED)}}, "engine": engine(lora=LORA),
        "workload": {"requestClasses": CLASSES}, "placement": SPAN, "fit": RESIZE},
    "too long a context with draft and adapters": {"model": {"name": MIXED, "profile": {"inline": shape(MIXED)}},
        "engine": engine(lora=LORA, speculative=DRAFT, maxModelLen=131072, tensorParallelSize=1), "placement": SPAN, "fit": RESIZE},
    "a thousand layers": {"model": {"name": MIXED, "profile": {"inline": DEEP}}, "engine": engine(maxModelLen=131072),
        "placement": SPAN, "fit": RESIZE},
    "one of thousands of profiles": {"model": {"name": "acme/many"}, "engine": engine(maxModelLen=131072), "placement": SPAN},
}  # fmt: skip


def world() -> FilesForReviews:
    def profile(name: str, model: str, config: str) -> ModelProfile:
        metadata = {"namespace": "team", "name": name}
        return parse_object(
            ModelProfile,
            {"apiVersion": API_VERSION, "kind": "ModelProfile", "metadata": metadata, "spec": {"model": model, "config": config}},
        )

    nodes = [
        gpu_node(f"n{n}-{copy}", POOLS[n % len(POOLS)][0], 8 if n // len(POOLS) else 4, POOLS[n % len(POOLS)][1] - 64 * (n // len(POOLS)),
                 labels={"topology": f"z{n // len(POOLS)}"})
        for n in range(64)
        for copy in range(4)
    ]  # fmt: skip
    config = shape(MIXED)
    profiles = [profile(f"p{n:04d}", f"acme/other-{n}", config) for n in range(3000)]
    profiles += [profile(f"many{n:04d}", "acme/many", config) for n in range(100)]
    profiles.append(profile("draft", "team/draft", json.dumps(dict(config_of("meta-llama/Llama-3.2-1B-Instruct").as_mapping()))))
    return FilesForReviews(*nodes, profiles=profiles, keys=("topology",), lws=True)


def answered(body: bytes, store: ReviewStore) -> tuple[Answer, bytes]:
    found = parse_review(body)
    answer = judge(found, store, lambda facts: decide_within(facts, time.monotonic, 30, effort=time.thread_time))
    return answer, render_review(found, answer)


@pytest.fixture(scope="module")
def store() -> FilesForReviews:
    return world()


def test_the_worst_admissible_reviews(store: FilesForReviews) -> None:
    rows: list[Row] = []
    for name, spec in WISHES.items():
        body = json.dumps(review(wish(**spec))).encode()
        assert LIMIT_BYTES * 0.9 < len(body) < 3 << 20
        answer, _ = answered(body, store)
        assert answer.reason is not Reason.INVALID_SPEC, answer.faults
        actions = {FLOOR: Action(run=partial(json.loads, body)), name: Action(run=partial(answered, body, store), before=forget)}
        times = taken(actions, 3)
        rows.append((f"{answer.verdict} {answer.reason}: {name}", times[name], MOST_FLOORS, times[FLOOR]))
    show(f"one webhook answer, {len(store.pools)} pools, 1.5 MiB; floor: decoding the body", rows)
    hold(rows)
