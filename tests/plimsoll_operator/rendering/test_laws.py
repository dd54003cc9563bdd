"""Whatever is admitted can be rendered and read back: every engine field alone and the sizes in pairs, by release and kind of model."""

import itertools
import json
from collections.abc import Iterator
from dataclasses import replace

import pytest
from tests.plimsoll_operator.decision_world import LLAMA_8B, Files, manifest
from tests.plimsoll_operator.nodes import gpu_node

from plimsoll_operator.api import ApiError, PlanStatus, parse_inference_deployment
from plimsoll_operator.controller.children.course import applied_from_child
from plimsoll_operator.decision import decide
from plimsoll_operator.gather import facts_for
from plimsoll_operator.ports import Manifest
from plimsoll_operator.render import Origin, render_workload
from plimsoll_operator.verdict import Admit, Reason, Reject, Resize

NODES = [gpu_node("h100", "NVIDIA-H100-80GB-HBM3", 8, 81559), gpu_node("l4", "NVIDIA-L4", 4, 23034)]
MODELS = {
    "dense": LLAMA_8B,
    "latent attention and experts": "deepseek-ai/DeepSeek-V2-Lite",
    "experts": "Qwen/Qwen1.5-MoE-A2.7B",
    "hybrid": "ai21labs/AI21-Jamba-1.5-Mini",
    "small": "Qwen/Qwen2.5-1.5B-Instruct",
}
VERSIONS = ("0.8.0", "0.8.5", "0.9.2", "0.10.0", "0.10.2", "0.11.0", "0.12.0", "0.19.0", "0.25.1", "0.33.0", "0.34.0")
ALONE = {
    "tensorParallelSize": (1, 2, 4),
    "pipelineParallelSize": (2,),
    "dataParallelSize": (2,),
    "expertParallel": (True, False),
    "decodeContextParallelSize": (2,),
    "gpuMemoryUtilization": (0.5, 0.9, 1.0),
    "maxModelLen": (1, 2048, 4096),
    "maxNumSeqs": (1, 64),
    "maxNumBatchedTokens": (2048, 65536),
    "dtype": ("auto", "half", "bfloat16", "float32"),
    "quantization": ("fp8", "bitsandbytes", "awq"),
    "kvCacheDtype": ("auto", "fp8", "fp8_e5m2"),
    "blockSize": (16, 64),
    "enforceEager": (True, False),
    "enablePrefixCaching": (True, False),
    "enableChunkedPrefill": (True, False),
    "lora": ({}, {"maxLoras": 2, "maxLoraRank": 32}),
    "speculative": ({"method": "ngram", "numSpeculativeTokens": 3}, {"method": "mtp", "numSpeculativeTokens": 1}),
}
SIZES = ("tensorParallelSize", "pipelineParallelSize", "dataParallelSize", "expertParallel", "decodeContextParallelSize")


IN_PAIRS = ("0.8.5", "0.11.0", "0.19.0", "0.34.0")
"""Releases of V0, of the first and of later rules of the cache, and the newest: between them sizes differ by what each alone does."""


def _engines(version: str) -> Iterator[Manifest]:
    for name, values in ALONE.items():
        for value in values:
            yield {name: value}
    if version not in IN_PAIRS:
        return
    for one, other in itertools.combinations(SIZES, 2):
        for first, second in itertools.product(ALONE[one], ALONE[other]):
            yield {one: first, other: second}
    yield dict.fromkeys(("tensorParallelSize", "decodeContextParallelSize", "dataParallelSize"), 2) | {"expertParallel": True}


@pytest.mark.thorough
@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("kind", MODELS)
def test_what_is_admitted_can_be_rendered_and_read_back(kind: str, version: str) -> None:
    admitted = 0
    files = Files(*NODES)
    for engine in _engines(version):
        try:
            wish = parse_inference_deployment(manifest(MODELS[kind], version=version, engine=engine))
        except ApiError:
            continue  # the API refuses the combination
        found = decide(facts_for(wish, files, applied_plan=None))
        if not isinstance(found, Admit | Resize):
            continue
        admitted += 1
        child = render_workload(wish, found.plan, Origin(generation=1, spec_digest="", replan=""))
        json.dumps(child)
        applied = applied_from_child(child)
        assert applied is not None, engine
        assert applied.plan == found.plan, engine
        assert PlanStatus.of(found.plan).digest == found.plan.digest
    assert admitted or kind != "dense", "nothing was admitted: the law would hold of nothing"


def test_decode_context_parallelism_is_refused_where_the_release_has_none() -> None:
    engine = {"tensorParallelSize": 2, "decodeContextParallelSize": 2, "extraArgs": ["--trust-remote-code"]}
    wish = parse_inference_deployment(manifest("deepseek-ai/DeepSeek-V2-Lite", version="0.9.2", engine=engine))
    found = decide(facts_for(wish, Files(*NODES), applied_plan=None))
    assert isinstance(found, Reject)
    assert found.reason == Reason.ENGINE_REFUSES
    assert found.field == "spec.engine.decodeContextParallelSize"
    assert "0.9.2 has no decode context parallelism" in found.message


@pytest.mark.parametrize(
    ("template", "why"),
    [
        ({"resources": {"cpu": "9999999"}}, "ten million cores"),
        ({"resources": {"cpu": "999999999"}}, "as many as the API's pattern lets through"),
        ({"resources": {"memory": "999999999999999T"}}, "as much memory as the pattern lets through"),
        (
            {"sidecars": [{"name": f"s{n}", "image": "i", "resources": {"memory": "900000Ti"}} for n in range(4)]},
            "in sum beyond the API's figures",
        ),
    ],
)
def test_what_the_spec_may_ask_for_the_status_can_show(template: Manifest, why: str) -> None:
    wish = parse_inference_deployment(manifest(LLAMA_8B, engine={"tensorParallelSize": 1, "gpuMemoryUtilization": 0.9}, template=template))
    facts = facts_for(wish, Files(*NODES), applied_plan=None)
    warned = facts.policy.model_copy(update={"mode": "Warn"})
    found = decide(replace(facts, policy=warned))
    assert isinstance(found, Admit), why
    assert PlanStatus.of(found.plan).digest == found.plan.digest
