"""LongCat-Flash: two latents a layer, and experts beside dense blocks in all of them (LongcatFlashConfig, longcat_flash.py 0.32.0)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from tests.plimsoll_estimator.models.reading import routed, shape_of

from plimsoll_estimator.engine_args import EngineArgs
from plimsoll_estimator.engine_version import EngineVersion
from plimsoll_estimator.errors import InvalidInput
from plimsoll_estimator.hardware import gpu_from
from plimsoll_estimator.hf_config import HfConfig
from plimsoll_estimator.mixers import Experts, Latent, Mlp
from plimsoll_estimator.resolve import resolve
from plimsoll_estimator.weights import weights_per_stage

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


@pytest.mark.parametrize(("sentence", "named", "modules"), [("one where the file is silent", None, 1), ("none", 0, 0), ("two", 2, 2)])
def test_a_prediction_module_is_one_latent_and_a_dense_block(sentence: str, named: int | None, modules: int) -> None:
    shape = shape_of({**SILENT, "num_nextn_predict_layers": named})
    assert [len(layer.mixers) for layer in shape.predictions] == [1] * modules, sentence
    assert {layer.ffn for layer in shape.predictions} <= {Mlp(width=12288)}


def test_drafting_loads_the_module() -> None:
    def created(**given: Any) -> int:
        config, args = HfConfig(SILENT), EngineArgs(tensor_parallel_size=8, **given)
        resolved = resolve(config, args, gpu_from("NVIDIA-B200"), EngineVersion.parse("0.33.0"))
        return weights_per_stage(config, resolved)[0].created_bytes

    latent = 6144 * (1536 + 576) + 1536 + 512 + (1536 * 64 * 192 + 512 * 64 * 256 + 64 * 128 * 6144) // 8
    module = 2 * 6144 * 6144 + latent + 3 * 6144 * 12288 // 8 + 5 * 6144
    drafting = created(num_speculative_tokens=1, speculative_method="mtp")
    assert drafting - created() == 2 * module + 16
