"""ChatGLM, GLM-4, GLM-4.5 with experts, and their towers: GLM-4.1V, GLM-4.5V, GLM-OCR.

GLM-5 and GLM-4.7-Flash are of `models.deepseek`. `models.register` names it. Knows no quantisation.
Sources: vllm/model_executor/models/{chatglm,glm,glm4,glm4_moe,glm4_1v,glm_ocr}.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial

from plimsoll_estimator.engine_version import EngineVersion
from plimsoll_estimator.hf_config import HfConfig
from plimsoll_estimator.layers.decoder import EVERY_PART, DecoderStyle, build_decoder
from plimsoll_estimator.layers.experts import MoeStyle, build_moe
from plimsoll_estimator.layers.predictions import decoder_modules
from plimsoll_estimator.layers.rank import Rank
from plimsoll_estimator.models import stacks
from plimsoll_estimator.models.record import Model, seeing
from plimsoll_estimator.models.stacks import dense, routed_experts, sparse_from, windowed
from plimsoll_estimator.reader import positive
from plimsoll_estimator.shape import Dimensions, Layer
from plimsoll_estimator.towers.compose import behind
from plimsoll_estimator.towers.glm_vit import glm4v_tower, glm_ocr_tower

GLM4 = DecoderStyle(norms=4, qkv_bias=("attention_bias",), partial_rotary=0.5)
GLM = DecoderStyle(transformers_since=EngineVersion(0, 32), qkv_bias=("attention_bias",), partial_rotary=0.5)
CHATGLM = DecoderStyle(
    every_stage=EVERY_PART,
    qkv_bias=("add_qkv_bias", "add_bias_linear"),
    partial_rotary=0.5,
)


def chatglm(rank: Rank) -> None:
    """ChatGLMForCausalLM, which builds its head for pooling too."""
    build_decoder(rank, CHATGLM)
    if rank.resolved.runner != "generate" and not rank.shape.size.tied:
        rank.lm_head(rank.shape.size.vocab_size, rank.shape.size.hidden_size)


def glm4_moe(rank: Rank) -> None:
    """Glm4MoeForCausalLM: dense layers first, float32 correction, shared experts."""
    qk_norm = rank.text.bool("use_qk_norm")
    style = DecoderStyle(ties=False, qkv_bias=("attention_bias",), partial_rotary=0.5, qk_norm="head" if qk_norm else "no")
    sparse = MoeStyle(gate_item=4, correction=True)
    build_moe(rank, style, sparse)
    decoder_modules(rank, style, sparse)


def _sparse_layers(text: HfConfig, size: Dimensions) -> tuple[Layer, ...]:
    """Experts behind `first_k_dense_replace` layers, where the file names any."""
    seen = windowed(text, size, stacks.attention(size))
    block = routed_experts(text, text.int("moe_intermediate_size"))
    return stacks.attending(seen, sparse_from(size, block, first=text.int("first_k_dense_replace", default=0)))


def _chatglm_heads(text: HfConfig) -> Mapping[str, int]:
    """GLMAttention shares key-value heads only where `multi_query_attention` says so, and splits the hidden size over the heads."""
    heads = positive(text, "num_attention_heads")
    shared = text.int_or_none("num_key_value_heads") if text.bool("multi_query_attention") else None
    return {"num_key_value_heads": shared or heads, "head_dim": text.int("hidden_size") // heads}


def _dense(style: DecoderStyle, *classes: str, model_types: tuple[str, ...]) -> Model:
    return Model(classes=classes, model_types=model_types, weights=partial(build_decoder, style=style), layers=dense())


DENSE_4 = _dense(GLM4, "Glm4ForCausalLM", model_types=("glm4",))
SPARSE_4 = Model(
    classes=("Glm4MoeForCausalLM",),
    model_types=("glm4_moe", "sarvam_moe"),
    weights=glm4_moe,
    layers=_sparse_layers,
    drafter="Glm4MoeMTPModel",
)
_OCR = _dense(replace(GLM4, partial_rotary=1.0), model_types=("glm_ocr_text",))
MODELS = (
    _dense(GLM, "GlmForCausalLM", model_types=("glm",)),
    DENSE_4,
    Model(
        classes=("ChatGLMModel", "ChatGLMForConditionalGeneration"),
        model_types=("chatglm",),
        weights=chatglm,
        layers=dense(),
        overrides=_chatglm_heads,
    ),
    SPARSE_4,
    seeing(DENSE_4, behind(glm4v_tower), classes=("Glm4vForConditionalGeneration",), model_types=("glm4v_text",)),
    seeing(SPARSE_4, behind(glm4v_tower), classes=("Glm4vMoeForConditionalGeneration",), model_types=("glm4v_moe_text",)),
    seeing(_OCR, behind(glm_ocr_tower), classes=("GlmOcrForConditionalGeneration",), drafter="GlmOcrMTPModel"),
)
