"""Kimi-Linear and Kimi-K3: which layers keep a state, as vLLM's KimiLinearConfig says (is_kda_layer, 0.32.0)."""

from __future__ import annotations

from typing import Any

import pytest
from tests.plimsoll_estimator.models.hybrids import mixed, shipped
from tests.plimsoll_estimator.models.reading import routed, shape_of
from tests.plimsoll_estimator.shipped import config_of

from plimsoll_estimator.engine_args import EngineArgs
from plimsoll_estimator.engine_version import EngineVersion
from plimsoll_estimator.errors import EngineRefusal, InvalidInput
from plimsoll_estimator.hardware import gpu_from
from plimsoll_estimator.mixers import Experts, KimiDelta, Latent
from plimsoll_estimator.resolve import resolve
from plimsoll_estimator.weights import weights_per_stage

LINEAR: dict[str, Any] = {"kda_layers": [1, 2, 3, 5], "full_attn_layers": [4, 6], "num_heads": 32, "head_dim": 128}
SMALL: dict[str, Any] = {
    "architectures": ["KimiLinearForCausalLM"], "model_type": "kimi_linear", "num_hidden_layers": 6, "kv_lora_rank": 512,
    "qk_nope_head_dim": 128, "qk_rope_head_dim": 64, "v_head_dim": 128, "mla_use_nope": True, "linear_attn_config": LINEAR,
    "num_experts": 256, "num_experts_per_token": 8, "moe_intermediate_size": 1024, "num_shared_experts": 1, "first_k_dense_replace": 1,
}  # fmt: skip


def test_kimi_k3_as_shipped() -> None:
    shape = shipped("moonshotai/Kimi-K3")
    assert mixed(shape) == "3K 1V " * 22 + "3K 2V"
    assert shape.layers[0].mixer(KimiDelta) == KimiDelta(heads=96, head_dim=128, kernel=4)
    assert shape.layers[3].mixer(Latent).q_lora_rank == 1536
    assert shape.experts == Experts(count=896, per_token=16, width=3072, shared=6144)
    assert routed(shape) == list(range(1, 93))
    assert shape.hybrid


@pytest.mark.parametrize(
    ("sentence", "keys", "told"),
    [
        ("as listed, counted from one", {}, "3K 1V 1K 1V"),
        ("`kda_layers` decide, not `full_attn_layers`", {"linear_attn_config": {**LINEAR, "full_attn_layers": []}}, "3K 1V 1K 1V"),
        ("without the list none keeps a state", {"linear_attn_config": {**LINEAR, "kda_layers": []}}, "6V"),
        ("nor without the object", {"linear_attn_config": None}, "6V"),
        ("Transformers' `layer_types` are not read", {"layer_types": ["linear_attention"] * 6}, "3K 1V 1K 1V"),
    ],
)
def test_layers_keep_a_state_as_the_config_class_says(sentence: str, keys: dict[str, Any], told: str) -> None:
    assert mixed(shape_of({**SMALL, **keys})) == told, sentence


@pytest.mark.parametrize(
    ("sentence", "keys", "layers"),
    [
        ("behind one dense layer", {}, [1, 2, 3, 4, 5]),
        ("KimiLinearConfig's own: none dense", {"first_k_dense_replace": None}, [0, 1, 2, 3, 4, 5]),
        ("every second, counted from 0", {"moe_layer_freq": 2}, [2, 4]),
        ("no experts named", {"num_experts": None}, []),
    ],
)
def test_experts_fill_the_layers_that_the_class_counts(sentence: str, keys: dict[str, Any], layers: list[int]) -> None:
    assert routed(shape_of({**SMALL, **keys})) == layers, sentence


@pytest.mark.parametrize("key", ["num_heads", "head_dim"])
def test_a_missing_width_is_named(key: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        shape_of({**SMALL, "linear_attn_config": {**LINEAR, key: None}})
    assert refused.value.field.endswith(key)


def test_the_engine_refuses_latents_that_would_rotate() -> None:
    """A file saved by Transformers 5 names neither `mla_use_nope` nor `linear_attn_config`; vLLM's class asserts the first."""
    config = config_of("moonshotai/Kimi-Linear-48B-A3B-Instruct")
    resolved = resolve(config, EngineArgs(), gpu_from("NVIDIA-B200"), EngineVersion.parse("0.33.0"))
    with pytest.raises(EngineRefusal, match="mla_use_nope"):
        weights_per_stage(config, resolved)
