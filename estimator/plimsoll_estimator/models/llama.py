"""Llama, and the dense decoders of its build: CWM, SmolLM 3, Seed-OSS, Arcee, Orion, Jais 2, PLaMo 3, InternLM 2, HyperCLOVA X.

`models.register` names it; whoever wraps or varies it is its heir. Knows no quantisation.
Sources: vllm/model_executor/models/{llama,orion,jais2,plamo3,internlm2}.py and the Transformers backend.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from plimsoll_estimator.engine_version import OLDEST_KNOWN, EngineVersion
from plimsoll_estimator.layers.decoder import DecoderStyle, build_decoder, rope_tables_by_window
from plimsoll_estimator.layers.rank import Rank
from plimsoll_estimator.models.record import Model, unless_causal
from plimsoll_estimator.models.stacks import dense

LLAMA = DecoderStyle(qkv_bias=("attention_bias", "bias"), o_bias=("attention_bias", "bias"), mlp_bias=("mlp_bias",))
CWM = replace(LLAMA, transformers_since=EngineVersion(0, 32))
SMOLLM3 = DecoderStyle(qkv_bias=("attention_bias",), o_bias=("attention_bias",), mlp_bias=("mlp_bias",), transformers_since=OLDEST_KNOWN)
SEED_OSS = DecoderStyle(qkv_bias=("attention_bias",), o_bias=("attention_out_bias",), transformers_since=EngineVersion(0, 32))
ARCEE = DecoderStyle(
    qkv_bias=("attention_bias",),
    o_bias=("attention_bias",),
    mlp_bias=("mlp_bias",),
    gated=False,
    mlp_names=("up_proj",),
    transformers_since=EngineVersion(0, 32),
)
ORION = DecoderStyle(norm_bias=True, embedding_always=True, norm_always=True, head_always=True)
JAIS2 = DecoderStyle(
    qkv_bias=("attention_bias",),
    o_bias=("attention_bias",),
    mlp_bias=("mlp_bias",),
    gated=False,
    norm_bias=True,
    mlp_names=("up_proj",),
    transformers_since=EngineVersion(0, 32),
)
PLAMO3 = DecoderStyle(norms=4, qk_norm="head", attention="mixer", embedding_always=True, norm_always=True, head_always=True)
INTERNLM2 = DecoderStyle(embedding_always=True, norm_always=True, head_always=True)


def hyperclovax(rank: Rank) -> None:
    """HyperCLOVAXForCausalLM: Llama, with a norm behind each block where `use_post_norm` says so."""
    build_decoder(rank, replace(LLAMA, norms=4 if rank.text.bool("use_post_norm") else 2))


def _dense(style: DecoderStyle, *classes: str, model_types: tuple[str, ...]) -> Model:
    return Model(classes=classes, model_types=model_types, weights=partial(build_decoder, style=style), layers=dense())


DENSE = replace(
    _dense(
        LLAMA, "LlamaForCausalLM", "LLaMAForCausalLM", "AquilaForCausalLM", "AquilaModelForCausalLM", "InternLMForCausalLM",
        "InternLM3ForCausalLM", "XverseForCausalLM", "YiForCausalLM", "TeleFLMForCausalLM", "TeleChat3ForCausalLM",
        "IQuestCoderForCausalLM", "SolarForCausalLM", "TeleChat2ForCausalLM",
        model_types=("llama", "aquila", "internlm", "internlm3", "xverse", "Yi", "telefm", "telechat3", "iquestcoder",
                     "solar", "telechat"),
    ),
    encodes=unless_causal,
)  # fmt: skip
MODELS = (
    DENSE,
    replace(
        _dense(LLAMA, "MistralForCausalLM", "Ministral3ForCausalLM", model_types=("mistral", "ministral3", "ministral")),
        encodes=unless_causal,
    ),
    _dense(CWM, "CwmForCausalLM", model_types=("cwm",)),
    _dense(SMOLLM3, "SmolLM3ForCausalLM", model_types=("smollm3",)),
    _dense(SEED_OSS, "SeedOssForCausalLM", model_types=("seed_oss",)),
    _dense(ARCEE, "ArceeForCausalLM", model_types=("arcee",)),
    _dense(ORION, "OrionForCausalLM", model_types=("orion",)),
    _dense(JAIS2, "Jais2ForCausalLM", model_types=("jais2",)),
    replace(
        _dense(PLAMO3, "Plamo3ForCausalLM", model_types=("plamo3",)),
        weights=partial(build_decoder, style=PLAMO3, rotary=rope_tables_by_window),
    ),
    _dense(INTERNLM2, "InternLM2ForCausalLM", "InternLM2VEForCausalLM", model_types=("internlm2", "internlm2ve")),
    Model(classes=("HyperCLOVAXForCausalLM",), model_types=("hyperclovax",), weights=hyperclovax, layers=dense()),
)  # fmt: skip
