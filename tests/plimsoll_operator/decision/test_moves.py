"""Resize and offers: what is moved, by how much, and that what is offered would be admitted."""

import dataclasses
import json
from typing import Any

import pytest
from tests.plimsoll_operator.decision_world import (
    LLAMA_8B,
    LLAMA_70B,
    Files,
    deployment,
    manifest,
    model_of,
    offered,
    refused,
    resized,
    verdict,
)
from tests.plimsoll_operator.nodes import H100, L4, T4, gpu_node

from plimsoll_estimator import catalogue
from plimsoll_operator.api import parse_inference_deployment
from plimsoll_operator.decision import decide
from plimsoll_operator.decision.fit.engine import engine_for
from plimsoll_operator.decision.refusal.changes import changes_of, refused_of
from plimsoll_operator.decision.request.request import read_request
from plimsoll_operator.decision.search.moves import Mover
from plimsoll_operator.gather import facts_for
from plimsoll_operator.ports import Manifest
from plimsoll_operator.verdict import Admit, Reason, Reject, Resize

ONE_L4 = {"gpuProducts": ["NVIDIA-L4"]}


def resize(*fields: str, **fit: Any) -> Manifest:
    return {"policy": "Resize", "mayChange": list(fields), **fit}


RESIZES = [
    ("context is lowered to what fits one L4", LLAMA_8B, {"maxModelLen": 131072, "tensorParallelSize": 1},
     ["maxModelLen"], ["maxModelLen"]),
    ("tensor parallelism is raised to the next size that fits", LLAMA_8B, {"maxModelLen": 65536, "tensorParallelSize": 1},
     ["tensorParallelSize"], ["tensorParallelSize"]),
    ("the first field that suffices alone is the only one moved", LLAMA_8B, {"maxModelLen": 131072, "tensorParallelSize": 1},
     ["tensorParallelSize", "maxModelLen"], ["tensorParallelSize"]),
    ("a utilisation too low for the weights is computed instead", LLAMA_8B, {"maxModelLen": 8192, "gpuMemoryUtilization": 0.5,
     "tensorParallelSize": 1}, ["gpuMemoryUtilization"], ["gpuMemoryUtilization"]),
    ("two fields move where neither suffices alone", LLAMA_70B, {"maxModelLen": 131072, "tensorParallelSize": 1, "kvCacheDtype": "auto"},
     ["tensorParallelSize", "maxModelLen"], ["tensorParallelSize"]),
]  # fmt: skip


@pytest.mark.parametrize(("why", "model", "engine", "may_change", "moved"), RESIZES, ids=[row[0] for row in RESIZES])
def test_resize_moves_what_it_may_and_a_second_look_changes_nothing(
    why: str, model: str, engine: Manifest, may_change: list[str], moved: list[str]
) -> None:
    placement = ONE_L4 if model == LLAMA_8B else {}
    found = verdict(model, engine=engine, fit=resize(*may_change), placement=placement)
    assert isinstance(found, Resize)
    assert [change.field.removeprefix("spec.engine.") for change in found.changes] == moved
    kinds = {"kvCacheDtype": str, "gpuMemoryUtilization": float}
    new = {change.field.removeprefix("spec.engine."): change.new for change in found.changes}
    again = verdict(model, engine=engine | {name: kinds.get(name, int)(value) for name, value in new.items()}, placement=placement)
    assert isinstance(again, Admit)
    assert again.plan == found.plan


def test_every_change_says_from_what_to_what_and_why() -> None:
    engine = {"maxModelLen": 131072, "tensorParallelSize": 1}
    as_asked = refused(verdict(engine=engine, placement=ONE_L4))
    found = resized(verdict(engine=engine, fit=resize("maxModelLen"), placement=ONE_L4))
    (change,) = found.changes
    assert (change.field, change.old, change.new) == ("spec.engine.maxModelLen", "131072", str(found.plan.max_model_len))
    assert change.why == as_asked.message


ORDERS = [
    ("the cache's type first", ["kvCacheDtype", "maxModelLen", "tensorParallelSize"], ["kvCacheDtype"]),
    ("the context first", ["maxModelLen", "kvCacheDtype", "tensorParallelSize"], ["maxModelLen"]),
    ("the size first", ["tensorParallelSize", "kvCacheDtype", "maxModelLen"], ["tensorParallelSize"]),
]


@pytest.mark.parametrize(("why", "order", "moved"), ORDERS, ids=[row[0] for row in ORDERS])
def test_the_users_order_decides_which_field_moves(why: str, order: list[str], moved: list[str]) -> None:
    engine = {"maxModelLen": 65536, "tensorParallelSize": 1, "kvCacheDtype": "auto"}
    found = verdict(engine=engine, fit=resize(*order), placement=ONE_L4)
    assert isinstance(found, Resize)
    assert [change.field.removeprefix("spec.engine.") for change in found.changes] == moved


def test_a_tensor_parallel_size_that_moves_opens_no_stages() -> None:
    """Pinned again it would close them, and the plan would not be found a second time."""
    store = Files(gpu_node("a100", "NVIDIA-A100-SXM4-40GB", 4, 40960))
    engine = {"tensorParallelSize": 1, "maxModelLen": 4096, "gpuMemoryUtilization": 0.5, "maxNumSeqs": 256}
    found = verdict(LLAMA_70B, engine=engine, fit=resize("maxNumSeqs", "tensorParallelSize", "gpuMemoryUtilization"), store=store)
    assert isinstance(found, Resize)
    assert (found.plan.tensor_parallel_size, found.plan.pipeline_parallel_size) == (4, 1)
    moved = {change.field.removeprefix("spec.engine."): float(change.new) for change in found.changes}
    kept = {name: value if name == "gpuMemoryUtilization" else int(value) for name, value in moved.items()}
    again = verdict(LLAMA_70B, engine=engine | kept, store=store)
    assert isinstance(again, Admit)
    assert again.plan == found.plan


def test_resize_takes_the_smallest_step() -> None:
    found = resized(verdict(engine={"maxModelLen": 131072, "tensorParallelSize": 1}, fit=resize("maxModelLen"), placement=ONE_L4))
    context = found.plan.max_model_len
    assert found.plan.kv_cache_needed_bytes <= found.plan.kv_cache_interval_bytes[0], "what we choose surely starts"
    following = verdict(engine={"maxModelLen": context + 16, "tensorParallelSize": 1}, placement=ONE_L4)
    assert isinstance(following, Admit)
    assert any(line.startswith("On the edge: ") for line in following.warnings), "one step further is no longer sure"


def test_resize_respects_the_least_context() -> None:
    found = verdict(
        engine={"maxModelLen": 131072, "tensorParallelSize": 1}, fit=resize("maxModelLen", minMaxModelLen=65536), placement=ONE_L4
    )
    assert isinstance(found, Reject)


def test_nothing_pinned_moves_without_leave() -> None:
    assert isinstance(verdict(engine={"maxModelLen": 131072, "tensorParallelSize": 1}, placement=ONE_L4), Reject)


REJECTS = [
    ("context too long for the pinned size", LLAMA_70B, {"maxModelLen": 131072, "tensorParallelSize": 2}, {}, 3),
    ("more GPUs than a node has", LLAMA_8B, {"tensorParallelSize": 16}, {}, 1),
    ("a product that is not there", LLAMA_8B, {}, {"gpuProducts": ["NVIDIA-B200"]}, 1),
    ("a model too large for the product", LLAMA_70B, {"maxModelLen": 8192}, ONE_L4, 1),
    ("a context that only fp8 or less context allows", LLAMA_8B, {"maxModelLen": 65536, "tensorParallelSize": 1}, ONE_L4, 4),
]


@pytest.mark.parametrize(("why", "model", "engine", "placement", "least"), REJECTS, ids=[row[0] for row in REJECTS])
def test_every_offer_applied_is_admitted(why: str, model: str, engine: dict[str, int], placement: Manifest, least: int) -> None:
    found = verdict(model, engine=engine, placement=placement)
    assert isinstance(found, Reject)
    assert least <= len(found.offers) <= 4
    for offer in found.offers:
        answer = offered(offer, model, engine=engine, placement=placement)
        assert isinstance(answer, Admit), offer
        assert len(offer.summary) < 256
        assert len(offer.patch_json) < 1024, "status and the webhook's causes hold it whole"


ORDER = [  # sentence, model, engine, placement, what the patches of the offers change, in order
    ("a size, a context, weights quantised at load, then two at once", LLAMA_70B, {"maxModelLen": 131072, "tensorParallelSize": 2}, {},
     [{"tensorParallelSize"}, {"maxModelLen"}, {"quantization"}, {"kvCacheDtype", "maxModelLen"}]),
    ("a utilisation pinned too low is computed before anything else moves", LLAMA_8B,
     {"maxModelLen": 8192, "gpuMemoryUtilization": 0.5, "tensorParallelSize": 1}, ONE_L4,
     [{"gpuMemoryUtilization"}, {"tensorParallelSize"}, {"gpuProducts"}, {"quantization"}]),
    ("another pool, then the same model as published with quantised weights", "meta-llama/Llama-3.1-70B-Instruct", {"maxModelLen": 8192},
     ONE_L4, [{"gpuProducts"}, {"name"}, {"quantization"}]),
    ("an fp8 cache before other weights", "Qwen/Qwen3-8B", {"maxModelLen": 40960, "tensorParallelSize": 1}, ONE_L4,
     [{"tensorParallelSize"}, {"gpuProducts"}, {"maxModelLen"}, {"kvCacheDtype"}]),
]  # fmt: skip


@pytest.mark.parametrize(("why", "model", "engine", "placement", "changed"), ORDER, ids=[row[0] for row in ORDER])
def test_the_smallest_change_comes_first(why: str, model: str, engine: Manifest, placement: Manifest, changed: list[set[str]]) -> None:
    found = verdict(model, engine=engine, placement=placement)
    assert isinstance(found, Reject)
    patches = [json.loads(offer.patch_json)["spec"] for offer in found.offers]
    assert [{field for part in patch.values() for field in part} for patch in patches] == changed
    for offer in found.offers:
        assert isinstance(offered(offer, model, engine=engine, placement=placement), Admit)


@pytest.mark.parametrize(("version", "cached"), [("0.9.2", False), ("0.10.2", False), ("0.11.0", True)])
def test_no_offer_of_an_fp8_cache_leads_to_the_older_engine(version: str, cached: bool) -> None:
    """Up to 0.10.2 an fp8 cache on an L4 runs on V0 (engine/arg_utils.py: _is_v1_supported_oracle)."""
    engine = {"maxModelLen": 65536, "tensorParallelSize": 1}
    found = verdict(version=version, engine=engine, placement=ONE_L4)
    assert isinstance(found, Reject)
    assert found.offers
    assert any("kvCacheDtype" in offer.patch_json for offer in found.offers) is cached
    for offer in found.offers:
        assert isinstance(offered(offer, version=version, engine=engine, placement=ONE_L4), Admit), offer


@pytest.mark.parametrize(
    ("why", "version", "product", "memory", "model", "context", "cached"),
    [
        ("0.11.0 has Triton's kernels on Ampere", "0.11.0", "NVIDIA-A10G", 23028, LLAMA_8B, 65536, False),
        ("0.11.1 has FlashInfer's", "0.11.1", "NVIDIA-A10G", 23028, LLAMA_8B, 65536, True),
        ("on Turing too", "0.19.1", "Tesla-T4", 15360, "Qwen/Qwen3-4B", 40960, True),
        ("until 0.24.0", "0.24.0", "Tesla-T4", 15360, "Qwen/Qwen3-4B", 40960, False),
    ],
)
def test_an_fp8_cache_is_offered_only_where_it_is_served(
    why: str, version: str, product: str, memory: int, model: str, context: int, cached: bool
) -> None:
    """vllm#26431, vllm#47549, and platforms/cuda.py of each release (`layers.fp8_cache`)."""
    asked = {"engine": {"maxModelLen": context, "tensorParallelSize": 1, "dtype": "float16"}, "placement": {"gpuProducts": [product]}}
    store = Files(gpu_node("n", product, 1, memory))
    found = verdict(model, version=version, store=store, **asked)
    assert isinstance(found, Reject)
    assert any("kvCacheDtype" in offer.patch_json for offer in found.offers) is cached
    for offer in found.offers:
        assert isinstance(offered(offer, model, version=version, store=store, **asked), Admit), offer


def test_a_quantised_sibling_takes_what_was_said_of_the_other_checkpoint_along() -> None:
    item = manifest("Qwen/Qwen3-8B", engine={"maxModelLen": 40960, "quantization": "fp8"})
    item["spec"]["model"] |= {"revision": "main", "profile": {"name": "mine"}}
    facts = dataclasses.replace(
        facts_for(deployment("Qwen/Qwen3-8B"), Files(T4), applied_plan=None), deployment=parse_inference_deployment(item)
    )
    ask = read_request(facts.deployment, facts.policy)
    ways = list(changes_of(refused_of(facts, ask, lambda products: Mover(engine_for(model_of(facts), ask.version), products, None))))
    (way,) = [way for way in ways if way.model is not None]
    assert way.model is not None
    assert way.model.name == "Qwen/Qwen3-8B-FP8"
    said = {"name": "Qwen/Qwen3-8B-FP8", "revision": None, "profile": None}
    assert way.patch == {"spec": {"model": said, "engine": {"quantization": None}}}


def test_a_volume_holds_the_weights_it_holds() -> None:
    item = manifest("meta-llama/Llama-3.1-70B-Instruct", engine={"maxModelLen": 8192}, placement=ONE_L4)
    known = catalogue.lookup("meta-llama/Llama-3.1-70B-Instruct")
    assert known is not None
    shape = json.dumps(dict(known.as_mapping()))
    item["spec"]["model"] |= {"source": {"persistentVolumeClaim": {"claimName": "weights"}}, "profile": {"inline": shape}}
    found = decide(facts_for(parse_inference_deployment(item), Files(H100, L4), applied_plan=None))
    assert isinstance(found, Reject)
    assert not any("model" in json.loads(offer.patch_json)["spec"] for offer in found.offers)


def test_no_offer_where_nothing_would_help() -> None:
    found = verdict(LLAMA_70B, engine={"maxModelLen": 8192}, store=Files(T4))
    assert isinstance(found, Reject)
    assert found.offers == ()


def test_the_order_of_nodes_changes_nothing() -> None:
    nodes = [H100, L4, T4, gpu_node("l4b", "NVIDIA-L4", 4, 23034, host="180Gi", cpu="47")]
    for engine in ({"maxModelLen": 32768}, {"maxModelLen": 131072, "tensorParallelSize": 1}, {"tensorParallelSize": 16}):
        assert verdict(engine=engine, store=Files(*nodes)) == verdict(engine=engine, store=Files(*reversed(nodes)))


def test_a_context_of_one_token_that_does_not_fit_is_refused_for_what_it_lacks() -> None:
    """There is no shorter context to offer."""
    found = refused(verdict(LLAMA_8B, engine={"maxModelLen": 1}, fit={"reserveBytes": "300Ti"}))
    assert found.reason == Reason.INSUFFICIENT_GPU_MEMORY
