"""LongCat-Flash: two latents a layer, and experts beside dense blocks in all of them (LongcatFlashConfig, longcat_flash.py 0.32.0)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from tests.plimsoll_estimator.models.reading import routed, shape_of

from plimsoll_estimator.errors import InvalidInput
from plimsoll_estimator.shape import Experts, Latent

SILENT: dict[str, Any] = {"architectures": ["LongcatFlashForCausalLM"], "model_type": "longcat_flash"}


SPELT = {"expert_ffn_hidden_size": None, "moe_intermediate_size": 1024, "num_layers": None, "num_hidden_layers": 4}
OWN = Experts(count=512, per_token=12, width=2048, shared=12288)


@pytest.mark.parametrize(
    ("sentence", "keys", "layers", "experts"),
    [
        ("LongcatFlashConfig's own", {}, 28, OWN),
        ("layers and the experts' width spelt as others do", SPELT, 4, replace(OWN, width=1024)),
        ("half the experts", {"n_routed_experts": 256}, 28, replace(OWN, count=256)),
    ],
)
def test_every_layer_attends_twice(sentence: str, keys: dict[str, Any], layers: int, experts: Experts) -> None:
    shape = shape_of({**SILENT, **keys})
    latent = Latent(heads=64, q_lora_rank=1536, kv_lora_rank=512, qk_nope_head_dim=128, qk_rope_head_dim=64, v_head_dim=128)
    assert [layer.mixers for layer in shape.layers] == [(latent, latent)] * layers, sentence
    assert (routed(shape), shape.experts) == (list(range(layers)), experts)


def test_experts_that_are_missing_are_named() -> None:
    with pytest.raises(InvalidInput) as refused:
        shape_of({**SILENT, "n_routed_experts": 0})
    assert refused.value.field.endswith("n_routed_experts")
