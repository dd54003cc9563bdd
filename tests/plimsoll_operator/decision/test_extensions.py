"""LoRA and speculative decoding from the spec to the pod's arguments, and what is refused by name on the way."""

import json
from typing import Any

import pytest
from tests.plimsoll_operator.decision_world import LLAMA_8B, Files, deployment, manifest, refused, verdict
from tests.plimsoll_operator.nodes import H100, L4, T4

from plimsoll_operator.api import ModelProfile, parse_inference_deployment, parse_object
from plimsoll_operator.decision import decide
from plimsoll_operator.gather import facts_for
from plimsoll_operator.names import API_VERSION
from plimsoll_operator.ports import Manifest
from plimsoll_operator.render import serve_arguments
from plimsoll_operator.verdict import Admit, Plan, Reject, Undecided

DRAFT = "meta-llama/Llama-3.2-1B-Instruct"
BOTH = {"maxModelLen": 8192, "tensorParallelSize": 1}


def plan_and_arguments(**engine: Any) -> tuple[Plan, list[str]]:
    found = verdict(engine=BOTH | engine, placement={"gpuProducts": ["NVIDIA-H100-80GB-HBM3"]})
    assert isinstance(found, Admit)
    return found.plan, serve_arguments(deployment(engine=BOTH | engine), found.plan)


def test_slots_take_memory_and_reach_the_pod() -> None:
    plain, _ = plan_and_arguments()
    plan, arguments = plan_and_arguments(lora={"maxLoras": 8, "maxLoraRank": 64})
    assert plan.predicted.weights_bytes > plain.predicted.weights_bytes
    assert plan.kv_cache_tokens < plain.kv_cache_tokens
    assert {"--enable-lora", "--max-loras=8", "--max-lora-rank=64"} <= set(arguments)
    _, arguments = plan_and_arguments(lora={}, extraArgs=["--lora-modules", "sql=acme/sql-adapter"])
    assert {"--max-loras=1", "--max-lora-rank=16", "--lora-modules"} <= set(arguments)


def test_adapters_by_name_need_slots_for_them() -> None:
    found = verdict(engine=BOTH | {"extraArgs": ["--lora-modules", "sql=acme/sql-adapter"]})
    assert isinstance(found, Reject)
    assert found.field == "spec.engine.extraArgs"
    assert "set spec.engine.lora" in found.message


CONFIGS = [
    ("a draft model by its name", {"model": DRAFT, "numSpeculativeTokens": 3},
     {"method": "draft_model", "model": DRAFT, "num_speculative_tokens": 3}),
    ("n-grams", {"method": "ngram", "numSpeculativeTokens": 4}, {"method": "ngram", "num_speculative_tokens": 4}),
]  # fmt: skip


@pytest.mark.parametrize(("why", "speculative", "config"), CONFIGS, ids=[row[0] for row in CONFIGS])
def test_speculation_reaches_the_pod_as_json(why: str, speculative: Manifest, config: Manifest) -> None:
    _, arguments = plan_and_arguments(speculative=speculative)
    (given,) = [argument for argument in arguments if argument.startswith("--speculative-config=")]
    assert json.loads(given.partition("=")[2]) == config


def test_a_draft_takes_weights_and_cache() -> None:
    plain, _ = plan_and_arguments()
    plan, _ = plan_and_arguments(speculative={"model": DRAFT, "numSpeculativeTokens": 3})
    assert plan.predicted.weights_bytes - plain.predicted.weights_bytes > 2 << 30, "1.24 billion parameters in two bytes"
    assert plan.kv_cache_needed_bytes * 32 == plain.kv_cache_needed_bytes * (32 + 8), "its 16 layers hold half as much each"


REFUSED = [
    ("an unknown draft is undecided", {"speculative": {"model": "acme/draft", "numSpeculativeTokens": 3}}, "UnknownModel",
     "spec.engine.speculative.model"),
    ("a method without a memory rule is undecided", {"speculative": {"method": "medusa", "model": DRAFT, "numSpeculativeTokens": 3}},
     "UnsupportedModel", "spec.engine.speculative.method"),
    ("a head is needed for EAGLE", {"speculative": {"method": "eagle", "numSpeculativeTokens": 3}}, "EngineRefuses",
     "spec.engine.speculative.model"),
    ("n-grams have no draft", {"speculative": {"method": "ngram", "model": DRAFT, "numSpeculativeTokens": 3}}, "InvalidSpec",
     "spec.engine.speculative.model"),
    ("the model has no prediction modules", {"speculative": {"numSpeculativeTokens": 3}}, "EngineRefuses",
     "spec.engine.speculative.method"),
    ("slots said twice", {"lora": {}, "extraArgs": ["--max-loras=3"]}, "InvalidSpec", "spec.engine.extraArgs"),
    ("speculation said twice", {"speculative": {"method": "ngram", "numSpeculativeTokens": 3},
     "extraArgs": ['--speculative-config={"method":"ngram","num_speculative_tokens":3}']}, "InvalidSpec", "spec.engine.extraArgs"),
]  # fmt: skip


@pytest.mark.parametrize(("why", "engine", "reason", "field"), REFUSED, ids=[row[0] for row in REFUSED])
def test_what_is_not_made(why: str, engine: Manifest, reason: str, field: str) -> None:
    found = verdict(engine=engine)
    assert isinstance(found, Reject | Undecided), found
    assert found.reason == reason
    assert getattr(found, "field", None) == field


def test_a_class_without_adapters_names_the_field() -> None:
    found = refused(verdict("tiiuae/falcon-mamba-7b", engine={"lora": {}}))
    assert (found.reason, found.field) == ("EngineRefuses", "spec.engine.lora")


def test_a_profile_makes_a_draft_known() -> None:
    shape = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": 1024,
        "intermediate_size": 4096,
        "vocab_size": 128256,
        "num_hidden_layers": 4,
        "num_attention_heads": 16,
        "num_key_value_heads": 8,
        "torch_dtype": "bfloat16",
    }
    profile = parse_object(ModelProfile, {
        "apiVersion": API_VERSION, "kind": "ModelProfile", "metadata": {"name": "draft", "namespace": "default"},
        "spec": {"model": "acme/draft", "config": json.dumps(shape)},
    })  # fmt: skip
    wish = deployment(engine=BOTH | {"speculative": {"model": "acme/draft", "numSpeculativeTokens": 3}})
    assert isinstance(decide(facts_for(wish, Files(H100, L4, T4, profiles=[profile]), applied_plan=None)), Admit)


def test_a_draft_of_pods_that_are_offline_lies_on_their_volume() -> None:
    item = manifest(engine={"speculative": {"model": DRAFT, "numSpeculativeTokens": 3}})
    shape = {"architectures": ["LlamaForCausalLM"], "model_type": "llama"}
    item["spec"]["model"] |= {"source": {"persistentVolumeClaim": {"claimName": "weights"}}, "profile": {"inline": json.dumps(shape)}}
    found = refused(decide(facts_for(parse_inference_deployment(item), Files(H100), applied_plan=None)))
    assert (found.reason, found.field) == ("InvalidSpec", "spec.engine.speculative.model")
    assert item["spec"]["model"]["name"] == LLAMA_8B
