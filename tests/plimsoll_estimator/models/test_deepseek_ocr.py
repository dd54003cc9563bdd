"""DeepSeek-OCR: DeepSeek's experts with ordinary attention behind two towers."""

from __future__ import annotations

from typing import Any

import pytest
from tests.plimsoll_estimator.models.reading import routed, shape_of

from plimsoll_estimator.errors import Unsupported
from plimsoll_estimator.mixers import Attention, Experts

TEXT: dict[str, Any] = {
    "model_type": "deepseek_v2", "hidden_size": 1280, "intermediate_size": 6848, "moe_intermediate_size": 896, "num_hidden_layers": 12,
    "num_attention_heads": 10, "num_key_value_heads": 10, "n_routed_experts": 64, "n_shared_experts": 2, "num_experts_per_tok": 6,
    "first_k_dense_replace": 1, "vocab_size": 129280, "kv_lora_rank": None, "q_lora_rank": None, "qk_nope_head_dim": 0,
    "qk_rope_head_dim": 0, "v_head_dim": 0,
}  # fmt: skip


def ocr(**changed: Any) -> dict[str, Any]:
    return {"architectures": ["DeepseekOCRForCausalLM"], "model_type": "deepseek_vl_v2", "language_config": {**TEXT, **changed}}


def test_its_layers_attend_as_usual_and_are_made_of_experts_behind_the_first() -> None:
    shape = shape_of(ocr())
    assert routed(shape) == list(range(1, 12))
    assert shape.experts == Experts(count=64, per_token=6, width=896, shared=1792)
    assert shape.mixers == (Attention(heads=10, kv_heads=10, head_dim=128, v_head_dim=128),)
    assert shape.multimodal


@pytest.mark.parametrize("key", ["qk_nope_head_dim", "qk_rope_head_dim"])
def test_latent_attention_is_unsupported(key: str) -> None:
    with pytest.raises(Unsupported, match="latent attention behind DeepSeek-OCR"):
        shape_of(ocr(**{key: 128}))
