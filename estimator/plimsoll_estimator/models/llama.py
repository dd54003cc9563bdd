"""Llama, and the dense decoders of its build: CWM, SmolLM 3, Seed-OSS, Arcee, Orion, Jais 2, PLaMo 3, InternLM 2, HyperCLOVA X.

`models.register` names it; whoever wraps or varies it is its heir. Knows no quantisation.
Sources: vllm/model_executor/models/{llama,orion,jais2,plamo3,internlm2}.py and the Transformers backend.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial

from plimsoll_estimator.engine_version import OLDEST_KNOWN, EngineVersion
from plimsoll_estimator.hf_config import HfConfig
from plimsoll_estimator.layers.decoder import EVERY_PART, DecoderStyle, build_decoder, rope_tables_by_window
from plimsoll_estimator.layers.rank import FLOAT32, Rank, divide
from plimsoll_estimator.mixers import Mlp
from plimsoll_estimator.models import stacks
from plimsoll_estimator.models.record import Model, unless_causal
from plimsoll_estimator.models.stacks import Layers, dense, windowed
from plimsoll_estimator.reader import TIES, positive
from plimsoll_estimator.shape import Dimensions, Layer

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
ORION = DecoderStyle(norm_bias=True, every_stage=EVERY_PART)
JAIS2 = DecoderStyle(
    qkv_bias=("attention_bias",),
    o_bias=("attention_bias",),
    mlp_bias=("mlp_bias",),
    gated=False,
    norm_bias=True,
    mlp_names=("up_proj",),
    transformers_since=EngineVersion(0, 32),
)
PLAMO3 = DecoderStyle(norms=4, qk_norm="head", attention="mixer", every_stage=EVERY_PART)
INTERNLM2 = DecoderStyle(every_stage=EVERY_PART)


def hyperclovax(rank: Rank) -> None:
    """HyperCLOVAXForCausalLM: Llama, with a norm behind each block where `use_post_norm` says so."""
    build_decoder(rank, replace(LLAMA, norms=4 if rank.text.bool("use_post_norm") else 2))


def internlm2_reward(rank: Rank) -> None:
    """InternLM2ForRewardModel: on every stage one value for a head, in the heads' float32."""
    build_decoder(rank, INTERNLM2)
    rank.whole(divide(rank.shape.size.hidden_size, rank.tp), 1, item=FLOAT32)


def _patterned(full: Callable[[HfConfig, int], bool]) -> Layers:
    """Attention and an MLP in every layer, windowed but where `full` says of the config and the layer that the class fills in so."""

    def layers(text: HfConfig, size: Dimensions) -> tuple[Layer, ...]:
        everything = stacks.attention(size)
        seen = windowed(text, size, everything)
        if "layer_types" not in text:
            seen = [everything if full(text, i) else one for i, one in enumerate(seen)]
        return stacks.attending(seen, [Mlp(width=size.intermediate_size)] * len(seen))

    return layers


def _every_fourth(text: HfConfig, layer: int) -> bool:
    """CwmConfig: the first of every four layers."""
    return layer % 4 == 0


def _rotates(text: HfConfig, layer: int) -> bool:
    """SmolLM3Config: a window, where there is one, is for the layers without rotary positions."""
    flags = text.list_or_none("no_rope_layers")
    if flags is not None:
        return layer >= len(flags) or bool(flags[layer])
    return (layer + 1) % positive(text, "no_rope_layer_interval", default=4) != 0


def _plamo3_layers(text: HfConfig, size: Dimensions) -> tuple[Layer, ...]:
    """Plamo3Config, of the checkpoint's own code: the window is `window_size`, or older files' `sliding_window`, once or for each layer."""
    older = text.raw("sliding_window")
    named = next((one for one in older if one is not None), None) if isinstance(older, list | tuple) else older
    read = HfConfig({**text.as_mapping(), "sliding_window": named if named is not None else text.int("window_size")}, text.path)
    return dense(every=8)(read, size)


def _tied_unless_told(text: HfConfig) -> Mapping[str, int]:
    return {TIES: text.bool(TIES, True)}


def _dense(style: DecoderStyle, *classes: str, model_types: tuple[str, ...], layers: Layers | None = None) -> Model:
    return Model(classes=classes, model_types=model_types, weights=partial(build_decoder, style=style), layers=layers or dense())


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
    _dense(CWM, "CwmForCausalLM", model_types=("cwm",), layers=_patterned(_every_fourth)),
    _dense(SMOLLM3, "SmolLM3ForCausalLM", model_types=("smollm3",), layers=_patterned(_rotates)),
    _dense(SEED_OSS, "SeedOssForCausalLM", model_types=("seed_oss",)),
    _dense(ARCEE, "ArceeForCausalLM", model_types=("arcee",)),
    _dense(ORION, "OrionForCausalLM", model_types=("orion",)),
    _dense(JAIS2, "Jais2ForCausalLM", model_types=("jais2",)),
    Model(
        classes=("Plamo3ForCausalLM",), model_types=("plamo3",), weights=partial(build_decoder, style=PLAMO3, rotary=rope_tables_by_window),
        layers=_plamo3_layers, overrides=_tied_unless_told,
    ),
    _dense(INTERNLM2, "InternLM2ForCausalLM", "InternLM2VEForCausalLM", model_types=("internlm2", "internlm2ve")),
    Model(
        classes=("InternLM2ForRewardModel",), model_types=("internlm2",), weights=internlm2_reward, layers=dense(),
    ),
    Model(classes=("HyperCLOVAXForCausalLM",), model_types=("hyperclovax",), weights=hyperclovax, layers=dense()),
)  # fmt: skip
