"""ChatGLM, GLM-4, GLM-4.5 with experts, and their towers: GLM-4.1V, GLM-4.5V, GLM-OCR.

GLM-5 and GLM-4.7-Flash are of `models.deepseek`. `models.register` names it. Knows no quantisation.
Sources: vllm/model_executor/models/{chatglm,glm,glm4,glm4_moe,glm4_1v,glm_ocr}.py.
"""

from __future__ import annotations

from dataclasses import replace

from plimsoll_estimator.engine_version import EngineVersion
from plimsoll_estimator.layers.decoder import DecoderStyle, build_decoder
from plimsoll_estimator.layers.experts import MoeStyle, build_moe
from plimsoll_estimator.layers.rank import Rank
from plimsoll_estimator.towers.compose import with_tower
from plimsoll_estimator.towers.glm_vit import glm4v_tower, glm_ocr_tower

GLM4 = DecoderStyle(norms=4, qkv_bias=("attention_bias",), partial_rotary=0.5)
GLM = DecoderStyle(transformers_since=EngineVersion(0, 32), qkv_bias=("attention_bias",), partial_rotary=0.5)
CHATGLM = DecoderStyle(
    embedding_always=True,
    norm_always=True,
    head_always=True,
    qkv_bias=("add_qkv_bias", "add_bias_linear"),
    head_in_pooling=True,
    partial_rotary=0.5,
)


def glm4_moe(rank: Rank) -> None:
    """Glm4MoeForCausalLM: dense layers first, float32 correction, shared experts."""
    text = rank.text
    style = DecoderStyle(ties=False, qkv_bias=("attention_bias",), partial_rotary=0.5, qk_norm="head" if text.bool("use_qk_norm") else "no")
    sparse = MoeStyle(gate_item=4, correction=True, shared="count", intermediate=("moe_intermediate_size",))
    build_moe(rank, style, sparse, first_dense=text.int("first_k_dense_replace", default=0))


def _glm4v_language(rank: Rank) -> None:
    build_decoder(rank, GLM4)


glm4v = with_tower(glm4v_tower, _glm4v_language)
glm4v_moe = with_tower(glm4v_tower, glm4_moe)
glm_ocr = with_tower(glm_ocr_tower, lambda rank: build_decoder(rank, replace(GLM4, partial_rotary=1.0)))
