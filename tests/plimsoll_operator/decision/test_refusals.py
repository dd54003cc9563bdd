"""What vLLM refuses names the field of the spec that it is about, and other layouts are tried only where they may help."""

import dataclasses
import json
from typing import Any, get_args

import pytest
from tests.bench.timing import forget
from tests.plimsoll_operator.decision_world import LLAMA_8B, Files, deployment, manifest, model_of, refused, undecided, verdict
from tests.plimsoll_operator.nodes import H100, gpu_node

from plimsoll_estimator.catalogue import lookup
from plimsoll_estimator.checks import Check
from plimsoll_estimator.engine_args import EngineArgs
from plimsoll_estimator.errors import InvalidInput
from plimsoll_operator.api import InferenceDeployment, InferenceDeploymentSpec, parse_inference_deployment
from plimsoll_operator.api.base import ApiModel
from plimsoll_operator.decision import decide
from plimsoll_operator.decision.fit.engine import engine_for
from plimsoll_operator.decision.request.fields import FIELD_OF, field_of_input
from plimsoll_operator.decision.request.placement import match
from plimsoll_operator.decision.request.request import read_request
from plimsoll_operator.decision.search.candidate import Found, Missed
from plimsoll_operator.decision.search.products import products_of
from plimsoll_operator.decision.search.search import search
from plimsoll_operator.gather import facts_for
from plimsoll_operator.ports import Manifest

COMPRESSED = "ibm-granite/granite-3.3-8b-instruct-FP8"
VISION = "meta-llama/Llama-3.2-11B-Vision-Instruct"
SPARSE = "deepseek-ai/DeepSeek-V3.2"
WITH_STATE = "Qwen/Qwen3-Next-80B-A3B-Instruct"
WHOLE_PROMPTS = {"enableChunkedPrefill": False}

FIELDS = [
    ("a quantisation that contradicts the checkpoint", COMPRESSED, "0.19.0", {"quantization": "awq"}, "spec.engine.quantization"),
    ("a class that the release cannot shard", VISION, "0.19.0", {"tensorParallelSize": 2, "maxModelLen": 8192},
     "spec.engine.tensorParallelSize"),
    ("whole prompts that a pinned batch cannot hold", LLAMA_8B, "0.19.0",
     WHOLE_PROMPTS | {"maxNumBatchedTokens": 4096, "maxModelLen": 8192}, "spec.engine.maxNumBatchedTokens"),
    ("the same where no context is pinned", LLAMA_8B, "0.19.0", WHOLE_PROMPTS | {"maxNumBatchedTokens": 4096},
     "spec.engine.maxNumBatchedTokens"),
    ("prefix caching of states without chunks", WITH_STATE, "0.25.1", WHOLE_PROMPTS | {"enablePrefixCaching": True, "maxModelLen": 8192},
     "spec.engine.enableChunkedPrefill"),
    ("a cache dtype for which sparse attention has no backend", SPARSE, "0.25.1", {"kvCacheDtype": "fp8_e4m3", "maxModelLen": 8192},
     "spec.engine.kvCacheDtype"),
    ("a LoRA rank that the release does not have", LLAMA_8B, "0.11.0", {"lora": {"maxLoraRank": 1}}, "spec.engine.lora.maxLoraRank"),
    ("an EAGLE head that is not named", LLAMA_8B, "0.19.0", {"speculative": {"method": "eagle", "numSpeculativeTokens": 3}},
     "spec.engine.speculative.model"),
    ("a release without decode context parallelism", LLAMA_8B, "0.9.2", {"decodeContextParallelSize": 2},
     "spec.engine.decodeContextParallelSize"),
]  # fmt: skip


@pytest.mark.parametrize(("why", "model", "version", "engine", "field"), FIELDS, ids=[row[0] for row in FIELDS])
def test_a_refusal_names_the_field_it_is_about(why: str, model: str, version: str, engine: Manifest, field: str) -> None:
    found = refused(verdict(model, version=version, engine=engine, store=Files(H100)))
    assert (found.reason, found.field) == ("EngineRefuses", field), found.message


def with_shape(**changes: Any) -> Manifest:
    known = lookup(LLAMA_8B)
    assert known is not None
    shape = json.dumps(dict(known.as_mapping()) | changes)
    return {**manifest(LLAMA_8B, version="0.25.1")["spec"], "model": {"name": "acme/own", "profile": {"inline": shape}}}


def of_shape(**changes: Any) -> InferenceDeployment:
    return parse_inference_deployment(manifest(LLAMA_8B) | {"spec": with_shape(**changes)})


def test_a_rope_that_the_release_does_not_know_is_the_models() -> None:
    wish = of_shape(rope_scaling={"rope_type": "acme", "factor": 2.0})
    found = refused(decide(facts_for(wish, Files(H100), applied_plan=None)))
    assert (found.reason, found.field) == ("EngineRefuses", "spec.model.name")


def test_a_generator_without_a_cache_is_refused_by_vllm_not_for_want_of_memory() -> None:
    wish = of_shape(architectures=["Qwen2ForCausalLM"], model_type="qwen2", is_causal=False)
    found = refused(decide(facts_for(wish, Files(H100), applied_plan=None)))
    assert (found.reason, found.field) == ("EngineRefuses", "spec.engine.extraArgs")
    assert found.needed_bytes is None


IN_VAIN = [
    ("a quantisation that contradicts the checkpoint", COMPRESSED, "0.19.0", {"quantization": "awq"}),
    ("a release without decode context parallelism", LLAMA_8B, "0.9.2", {"decodeContextParallelSize": 2}),
    ("whole experts of a dense model", LLAMA_8B, "0.19.0", {"expertParallel": True}),
    ("a context beyond the model's own", LLAMA_8B, "0.19.0", {"maxModelLen": 1 << 20}),
    ("a speculative method without a rule", LLAMA_8B, "0.19.0", {"speculative": {"method": "medusa", "numSpeculativeTokens": 3}}),
]


def misses_of(wish: InferenceDeployment, *nodes: Manifest) -> tuple[Missed, ...]:
    facts = facts_for(wish, Files(*nodes), applied_plan=None)
    ask = read_request(wish, facts.policy)
    products, _ = products_of(match(ask.placement, facts.pools).pools)
    found = search(engine_for(model_of(facts), ask.version), ask, products, None)
    assert not isinstance(found, Found), found
    return found


@pytest.mark.parametrize(("why", "model", "version", "engine"), IN_VAIN, ids=[row[0] for row in IN_VAIN])
def test_what_no_layout_passes_is_tried_in_one(why: str, model: str, version: str, engine: Manifest) -> None:
    forget()
    misses = misses_of(deployment(model, version=version, engine=engine), H100)
    assert len(misses) == 1, [str(missed.candidate.layout) for missed in misses]


def test_what_another_layout_passes_is_tried_in_others() -> None:
    misses = misses_of(deployment(LLAMA_8B, engine={"decodeContextParallelSize": 2, "pipelineParallelSize": 1}), H100)
    assert [missed.candidate.layout.tensor_parallel_size for missed in misses] == list(range(1, 9)), "8 KV heads want more than 8 ranks"


def test_one_refusing_product_does_not_end_the_search_on_the_others() -> None:
    """A Turing card has no bfloat16, which no layout removes; what the H100 refuses beside it another layout may pass."""
    both = {"gpuProducts": ["NVIDIA-GeForce-RTX-2080-Ti", "NVIDIA-H100-80GB-HBM3"]}
    engine = {"dtype": "bfloat16", "decodeContextParallelSize": 2}
    misses = misses_of(
        deployment(LLAMA_8B, engine=engine, placement=both), gpu_node("turing", "NVIDIA-GeForce-RTX-2080-Ti", 8, 11264), H100
    )
    assert {missed.candidate.layout.tensor_parallel_size for missed in misses} == set(range(1, 9))


def test_every_argument_has_its_field() -> None:
    arguments = {field.name for field in dataclasses.fields(EngineArgs)}
    assert set(FIELD_OF) == arguments | {"model_config", "gpu", "engine_version"}
    assert {check.about for check in Check} <= set(FIELD_OF)


def spelt(model: type[ApiModel], path: str) -> bool:
    """Whether the API has a field of this path."""
    head, _, rest = path.partition(".")
    found = next((field for name, field in model.model_fields.items() if (field.alias or name) == head), None)
    if found is None:
        return False
    inner = next((kind for kind in (found.annotation, *get_args(found.annotation)) if isinstance(kind, type)), None)
    return not rest or (inner is not None and issubclass(inner, ApiModel) and spelt(inner, rest))


@pytest.mark.parametrize("path", sorted(set(FIELD_OF.values())))
def test_every_field_is_one_of_the_api(path: str) -> None:
    assert spelt(InferenceDeploymentSpec, path.removeprefix("spec."))


INPUTS = [
    ("engine_args.max_num_seqs", "spec.engine.maxNumSeqs"),
    ("engine_args.runner", "spec.engine.extraArgs"),
    ("engine_args.acme", "spec.engine"),
    ("spec.engine.extraArgs", "spec.engine.extraArgs"),
    ("--max-num-seqs", "spec.engine.extraArgs"),
    ("engine_version", "spec.engine.image"),
    ("config.text_config.num_hidden_layers", "spec.model.profile"),
    ("quantization_config.bits", "spec.model.profile"),
]


@pytest.mark.parametrize(("named", "field"), INPUTS, ids=[row[0] for row in INPUTS])
def test_bad_input_names_the_field_it_came_from(named: str, field: str) -> None:
    assert field_of_input(InvalidInput(named, 0, "must be at least 1")) == field


DOUBTS = [
    ("a speculative method without a rule", LLAMA_8B, {"speculative": {"method": "medusa", "numSpeculativeTokens": 3}},
     "spec.engine.speculative.method"),
    ("a draft that nobody knows", LLAMA_8B, {"speculative": {"model": "acme/draft", "numSpeculativeTokens": 3}},
     "spec.engine.speculative.model"),
    ("a quantisation without a rule", LLAMA_8B, {"quantization": "gguf"}, "spec.engine.quantization"),
]  # fmt: skip


@pytest.mark.parametrize(("why", "model", "engine", "field"), DOUBTS, ids=[row[0] for row in DOUBTS])
def test_a_doubt_names_the_field_it_is_about(why: str, model: str, engine: Manifest, field: str) -> None:
    found = undecided(verdict(model, engine=engine))
    assert found.field == field
