"""DeepSeek 1 to V3.2 and what is built of its classes: latents, indexers and experts as vLLM 0.32.0's deepseek_v2.py,
deepseek_v32/attention.py, glm4_moe_lite.py and AXK1.py read them."""

from __future__ import annotations

from dataclasses import replace
from itertools import groupby
from typing import Any

import pytest
from tests.plimsoll_estimator.models.reading import routed, shape_of, shipped
from tests.plimsoll_estimator.shipped import config_of

from plimsoll_estimator.engine_args import EngineArgs
from plimsoll_estimator.engine_version import EngineVersion
from plimsoll_estimator.errors import InvalidInput, Unsupported
from plimsoll_estimator.hardware import gpu_from
from plimsoll_estimator.hf_config import HfConfig
from plimsoll_estimator.mixers import Experts, Latent, Mlp
from plimsoll_estimator.models.register import find
from plimsoll_estimator.resolve import resolve
from plimsoll_estimator.shape import Shape
from plimsoll_estimator.weights import weights_per_stage

SILENT_V3: dict[str, Any] = {"architectures": ["DeepseekV3ForCausalLM"], "model_type": "deepseek_v3", "num_hidden_layers": 8}
SILENT_5: dict[str, Any] = {"architectures": ["GlmMoeDsaForCausalLM"], "model_type": "glm_moe_dsa", "num_hidden_layers": 8}
SILENT_FLASH: dict[str, Any] = {"architectures": ["Glm4MoeLiteForCausalLM"], "model_type": "glm4_moe_lite", "num_hidden_layers": 4}
V3_LATENT = Latent(heads=128, q_lora_rank=1536, kv_lora_rank=512, qk_nope_head_dim=128, qk_rope_head_dim=64, v_head_dim=128)


def indexers(shape: Shape) -> str:
    """`F` a layer that chooses its tokens, `S` one that shares the choice before, `-` one that sees all; runs as `3F1S`."""

    def letter(mixer: Latent) -> str:
        return "-" if not mixer.index_head_dim else "S" if mixer.shares_index else "F"

    letters = (letter(layer.mixer(Latent)) for layer in shape.layers)
    return "".join(f"{len(list(run))}{one}" for one, run in groupby(letters))


def test_deepseek_v3_is_latents_and_experts_behind_three_dense_layers() -> None:
    shape = shipped("deepseek-ai/DeepSeek-V3")
    assert {layer.mixers for layer in shape.layers} == {(V3_LATENT,)}
    assert routed(shape) == list(range(3, 61))
    assert shape.experts == Experts(count=256, per_token=8, width=2048, shared=2048)
    assert shape.layers[0].ffn == Mlp(width=18432)
    assert shape.prediction_modules == 1


def test_experts_by_mixtral_s_key_are_experts() -> None:
    """DeepseekV3Config.attribute_map: a file that says `num_local_experts` was read as dense, a tenth of its weights."""
    shape = shape_of({**SILENT_V3, "num_local_experts": 64})
    assert routed(shape) == [3, 4, 5, 6, 7]
    assert shape.experts == Experts(count=64, per_token=8, width=2048, shared=2048)


@pytest.mark.parametrize("kind", ["llama", "novel"])
def test_latents_of_a_type_that_the_engine_keeps_whole_heads_for_are_unsupported(kind: str) -> None:
    """vllm/transformers_utils/model_arch_config_convertor.py: is_deepseek_mla."""
    with pytest.raises(Unsupported, match=f"latent attention in model type '{kind}'"):
        shape_of({**SILENT_V3, "model_type": kind, "auto_map": {}, "kv_lora_rank": 512, "qk_nope_head_dim": 128, "qk_rope_head_dim": 64,
                  "hidden_size": 7168, "num_attention_heads": 128, "vocab_size": 129280})  # fmt: skip


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("deepseek-ai/DeepSeek-V3", "61-"),
        ("deepseek-ai/DeepSeek-V3.2", "61F"),
        ("zai-org/GLM-5", "78F"),
        ("zai-org/GLM-5.2", "3F" + "3S1F" * 18 + "3S"),
        ("zai-org/GLM-4.7-Flash", "47-"),
        ("moonshotai/Kimi-K2-Instruct", "61-"),
    ],
)
def test_indexers_of_shipped_models(name: str, told: str) -> None:
    assert indexers(shipped(name)) == told


@pytest.mark.parametrize(
    ("sentence", "keys", "told"),
    [
        ("every layer without further keys", {}, "8F"),
        ("every third behind the offset, which is 2", {"index_topk_freq": 3}, "2F2S1F2S1F"),
        ("another offset", {"index_topk_freq": 3, "index_skip_topk_offset": 4}, "4F2S1F1S"),
        ("a pattern wins, and beyond its end every layer chooses", {"index_topk_freq": 3, "index_topk_pattern": "FSSF"}, "1F2S5F"),
        ("vLLM ignores what Transformers saves", {"indexer_types": ["shared"] * 8}, "8F"),
    ],
)
def test_layers_choose_tokens_as_vllm_s_class_counts(sentence: str, keys: dict[str, Any], told: str) -> None:
    assert indexers(shape_of({**SILENT_5, **keys})) == told, sentence


def test_weights_of_a_shared_indexer_are_left_out_since_the_release_that_shares() -> None:
    config = config_of("zai-org/GLM-5.2")
    args = EngineArgs(tensor_parallel_size=8)

    def created(config: HfConfig, release: str) -> int:
        resolved = resolve(config, args, gpu_from("NVIDIA-B200"), EngineVersion.parse(release))
        return weights_per_stage(config, resolved)[0].created_bytes

    owning = HfConfig({**config.as_mapping(), "index_topk_freq": 1}, "config")
    assert created(config, "0.19.0") == created(owning, "0.19.0")
    shared = sum(run.shares_index for run in (layer.mixer(Latent) for layer in shipped("zai-org/GLM-5.2").layers))
    one = 2 * (2048 * 32 * 128 + (128 + 32) * 6144) + 4 * 2 * 128
    quantised = created(owning, "0.22.1") - created(config, "0.22.1")
    assert shared == 57
    assert quantised == shared * one


@pytest.mark.parametrize(
    ("sentence", "name", "modules"),
    [
        ("one, as the file names", "deepseek-ai/DeepSeek-V3", 1),
        ("the file names none", "moonshotai/Kimi-K2.5", 0),
        ("whose last layer shares its choice", "zai-org/GLM-5.2", 1),
    ],
)
def test_a_prediction_module_is_a_layer_that_chooses_its_tokens_itself(sentence: str, name: str, modules: int) -> None:
    shape = shipped(name)
    assert shape.prediction_modules == modules, sentence
    for layer in shape.predictions:
        assert layer.mixer(Latent) == replace(shape.layers[-1].mixer(Latent), shares_index=False)
        assert layer.ffn == shape.experts


@pytest.mark.parametrize(
    ("sentence", "config", "layers"),
    [
        ("DeepseekV3Config keeps three dense", SILENT_V3, [3, 4, 5, 6, 7]),
        ("every second, counted from 0", {**SILENT_V3, "moe_layer_freq": 2}, [4, 6]),
        ("no experts named", {**SILENT_V3, "n_routed_experts": None}, []),
        ("Glm4MoeLiteConfig keeps one dense", SILENT_FLASH, [1, 2, 3]),
        ("its list, as Transformers 5 saves it", {**SILENT_FLASH, "mlp_layer_types": ["dense", "dense", "sparse", "sparse"]}, [2, 3]),
        ("the number wins: vLLM reads it alone", {**SILENT_FLASH, "first_k_dense_replace": 3, "mlp_layer_types": ["sparse"] * 4}, [3]),
        (
            "AXK1Config keeps one dense",
            {"architectures": ["AXK1ForCausalLM"], "model_type": "axk1", "num_hidden_layers": 4},
            [1, 2, 3],
        ),
    ],
)  # fmt: skip
def test_experts_fill_the_layers_that_the_class_counts(sentence: str, config: dict[str, Any], layers: list[int]) -> None:
    assert routed(shape_of(config)) == layers, sentence


def test_the_first_deepseek_attends_as_others_do() -> None:
    shape = shipped("deepseek-ai/deepseek-moe-16b-base")
    assert (shape.size.kv_heads, shape.size.head_dim, routed(shape)) == (16, 128, list(range(1, 28)))
    assert shape.experts == Experts(count=64, per_token=6, width=1408, shared=2816)


def test_a_query_without_compression_has_no_rank() -> None:
    assert shape_of({**SILENT_V3, "q_lora_rank": None}).layers[0].mixer(Latent).q_lora_rank == 0


@pytest.mark.parametrize(("key", "value"), [("kv_lora_rank", None), ("kv_lora_rank", 0), ("index_head_dim", 0), ("moe_layer_freq", 0)])
def test_a_dimension_that_is_missing_or_0_is_named(key: str, value: int | None) -> None:
    with pytest.raises(InvalidInput) as refused:
        shape_of({**SILENT_5, key: value})
    assert refused.value.field.endswith(key)


def test_an_unknown_feed_forward_kind_is_named() -> None:
    with pytest.raises(Unsupported, match="'ring'"):
        shape_of({**SILENT_FLASH, "mlp_layer_types": ["ring"] * 4})


DESCRIBED = (
    "axk1", "deepseek_v2", "deepseek_v3", "deepseek_v32", "glm_moe_dsa", "glm4_moe_lite", "kimi_k2", "kimi_linear", "longcat_flash",
)  # fmt: skip
OTHERS = (
    "deepseek_v41", "dots3_note", "deepseek_mtp", "k3_dspark", "glm5_next", "glm5_next_text", "glm4_moe_lite_mtp", "pangu_ultra_moe",
    "pangu_ultra_moe_mtp", "bailing_hybrid_mtp", "bailing_hybrid_v3_mtp", "hy_v4", "hy_v4_mtp",
)  # fmt: skip
"""What vLLM 0.32.0 plans as latent attention (model_arch_config_convertor.py: is_deepseek_mla), beside DeepSeek V4's and Bailing's."""


def _behind_a_tower(model_type: str) -> HfConfig:
    return HfConfig({"architectures": ["LlavaForConditionalGeneration"], "model_type": "llava", "text_config": {"model_type": model_type}})


@pytest.mark.parametrize("model_type", DESCRIBED)
def test_a_latent_model_type_has_a_record(model_type: str) -> None:
    model = find(_behind_a_tower(model_type), "LlavaForConditionalGeneration")
    assert model is not None
    assert model_type in model.model_types


@pytest.mark.parametrize("model_type", OTHERS)
def test_a_latent_model_type_without_a_record_is_unsupported_by_name(model_type: str) -> None:
    with pytest.raises(Unsupported, match=model_type):
        find(_behind_a_tower(model_type), "LlavaForConditionalGeneration")
