"""The styles of dense decoders, one per vLLM model class. Values read from vllm/model_executor/models/<file>.py."""

from __future__ import annotations

from dataclasses import replace

from plimsoll_estimator.weights.decoder import DecoderStyle

# The releases whose registry.py first hands a class to the Transformers backend.
_SINCE_0_25, _SINCE_0_26, _SINCE_0_29, _SINCE_0_32 = (0, 25), (0, 26), (0, 29), (0, 32)

LLAMA = DecoderStyle(qkv_bias=("attention_bias", "bias"), o_bias=("attention_bias", "bias"), mlp_bias=("mlp_bias",))
QWEN2 = DecoderStyle(qkv_bias="yes")
QWEN3 = DecoderStyle(qkv_bias=("attention_bias",), qk_norm="head")
GEMMA = DecoderStyle(
    tied=True,
    head_dim=256,
    normalizer=True,
    embedding_always=True,
    norm_always=True,
    qkv_bias=("attention_bias",),
    o_bias=("attention_bias",),
)
CWM = replace(LLAMA, transformers_since=_SINCE_0_32)
GEMMA2 = DecoderStyle(
    tied=True,
    head_dim=256,
    normalizer=True,
    embedding_always=True,
    norm_always=True,
    norms=4,
    qkv_bias=("attention_bias",),
    o_bias=("attention_bias",),
)
GLM4 = DecoderStyle(norms=4, qkv_bias=("attention_bias",), partial_rotary=0.5)
GLM = DecoderStyle(transformers_since=_SINCE_0_32, qkv_bias=("attention_bias",), partial_rotary=0.5)
COHERE = DecoderStyle(embedding_always=True, norm_always=True, tied=True, norms=1, qkv_bias=("attention_bias",), o_bias=("attention_bias",))
PHI3 = DecoderStyle()
PHI = DecoderStyle(
    embedding_always=True,
    norm_always=True,
    head_always=True,
    qkv_bias="yes",
    o_bias="yes",
    mlp_bias="yes",
    head_bias="yes",
    gated=False,
    norms=1,
    norm_bias=True,
    partial_rotary=0.5,
    o_name="dense",
    mlp_names=("fc1",),
    down_name="fc2",
    transformers_since=_SINCE_0_32,
)
GRANITE = DecoderStyle(qkv_bias=("attention_bias",), o_bias=("attention_bias",), mlp_bias=("mlp_bias",), tied=True)
OLMO = DecoderStyle(
    norms=0, qkv_bias=("attention_bias",), o_bias=("attention_bias",), transformers_since=_SINCE_0_26,
    embedding_always=True, head_always=True,
)  # fmt: skip
OLMO2 = replace(OLMO, norms=2, qk_norm="full", norm_always=True)
OLMO3 = replace(OLMO2, sliding_rope=True, transformers_since=_SINCE_0_29)
SMOLLM3 = DecoderStyle(
    qkv_bias=("attention_bias",), o_bias=("attention_bias",), mlp_bias=("mlp_bias",), tied=True, transformers_since=(0, 0)
)
STARCODER2 = DecoderStyle(
    embedding_always=True,
    norm_always=True,
    head_always=True,
    qkv_bias=("use_bias",),
    o_bias=("use_bias",),
    mlp_bias=("use_bias",),
    gated=False,
    norm_bias=True,
    tied=True,
    mlp_names=("c_fc",),
    down_name="c_proj",
    transformers_since=_SINCE_0_25,
)
STABLELM = DecoderStyle(
    embedding_always=True, head_always=True, norm_always=True, qkv_bias=("use_qkv_bias",), norm_bias=True, partial_rotary=0.25
)
SEED_OSS = DecoderStyle(qkv_bias=("attention_bias",), o_bias=("attention_out_bias",), transformers_since=_SINCE_0_32)
EXAONE4 = DecoderStyle(qk_norm="head", qkv_bias=("attention_bias",), o_bias=("attention_bias",))
CHATGLM = DecoderStyle(
    embedding_always=True,
    norm_always=True,
    head_always=True,
    qkv_bias=("add_qkv_bias", "add_bias_linear"),
    head_in_pooling=True,
    partial_rotary=0.5,
)
ORION = DecoderStyle(norm_bias=True, embedding_always=True, norm_always=True, head_always=True)
HUNYUAN = DecoderStyle(
    qk_norm="head",
    qkv_bias=("attention_bias",),
    o_bias=("attention_bias",),
    mlp_bias=("mlp_bias",),
    tied=True,
    transformers_since=_SINCE_0_29,
)
JAIS2 = DecoderStyle(
    qkv_bias=("attention_bias",),
    o_bias=("attention_bias",),
    mlp_bias=("mlp_bias",),
    gated=False,
    norm_bias=True,
    mlp_names=("up_proj",),
    transformers_since=_SINCE_0_32,
)
PLAMO3 = DecoderStyle(
    norms=4, qk_norm="head", attention="mixer", embedding_always=True, norm_always=True, head_always=True, sliding_rope=True
)

INTERNLM2 = DecoderStyle(embedding_always=True, norm_always=True, head_always=True)
EXAONE = DecoderStyle(qkv_bias=("attention_bias", "bias"), o_bias=("attention_bias", "bias"), mlp_bias=("mlp_bias",))
MINICPM = DecoderStyle(tied=True, embedding_always=True, norm_always=True, head_always=True)
ERNIE4_5 = DecoderStyle(tied=True, qkv_bias=("use_bias",), o_bias=("use_bias",), mlp_bias=("use_bias",))
ARCEE = DecoderStyle(
    qkv_bias=("attention_bias",),
    o_bias=("attention_bias",),
    mlp_bias=("mlp_bias",),
    gated=False,
    mlp_names=("up_proj",),
    transformers_since=_SINCE_0_32,
)
NEMOTRON = DecoderStyle(
    qkv_bias=("attention_bias",),
    o_bias=("attention_bias",),
    mlp_bias=("mlp_bias",),
    gated=False,
    mlp_names=("up_proj",),
    norm_bias=True,
    partial_rotary=0.5,
)
_CLASSIC = DecoderStyle(qkv_bias="yes", o_bias="yes", mlp_bias="yes", gated=False, norm_bias=True, mlp_names=("c_fc",), down_name="c_proj")
GPT2 = replace(
    _CLASSIC, tied=True, learned_positions=True, rotates=False, embedding_always=True, norm_always=True, o_name="c_proj", attention="attn"
)
GPT_NEOX = replace(
    _CLASSIC,
    mlp_names=("dense_h_to_4h",),
    down_name="dense_4h_to_h",
    o_name="dense",
    attention="attention",
    partial_rotary=0.25,
    transformers_since=_SINCE_0_32,
)
GPT_J = DecoderStyle(
    mlp_bias="yes",
    head_bias="yes",
    gated=False,
    norms=1,
    norm_bias=True,
    mlp_names=("fc_in",),
    down_name="fc_out",
    o_name="out_proj",
    attention="attn",
    embedding_always=True,
    norm_always=True,
    head_always=True,
)
