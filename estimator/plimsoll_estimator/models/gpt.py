"""GPT-2, GPT-NeoX, GPT-J and GPT-BigCode.

`models.register` names it. Knows no quantisation. Sources: vllm/model_executor/models/{gpt2,gpt_neox,gpt_j,gpt_bigcode}.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial

from plimsoll_estimator.engine_version import EngineVersion
from plimsoll_estimator.hf_config import HfConfig
from plimsoll_estimator.layers.decoder import EVERY_PART, DecoderStyle, build_decoder, no_rope, on_transformers
from plimsoll_estimator.layers.rank import BOOL, Rank
from plimsoll_estimator.layers.rope import rope
from plimsoll_estimator.models.record import Model
from plimsoll_estimator.models.stacks import dense
from plimsoll_estimator.shape import Dimensions

_CLASSIC = DecoderStyle(qkv_bias="yes", o_bias="yes", mlp_bias="yes", gated=False, norm_bias=True, mlp_names=("c_fc",), down_name="c_proj")
_GPT2 = replace(_CLASSIC, every_stage=("embedding", "norm"), o_name="c_proj", attention="attn")
_GPT_BIGCODE = replace(_GPT2, transformers_since=EngineVersion(0, 25))
_GPT_NEOX = replace(
    _CLASSIC,
    qkv_bias=("attention_bias",),
    o_bias=("attention_bias",),
    mlp_names=("dense_h_to_4h",),
    down_name="dense_4h_to_h",
    o_name="dense",
    attention="attention",
    partial_rotary=0.25,
    transformers_since=EngineVersion(0, 32),
)
_GPT_J = DecoderStyle(
    mlp_bias="yes",
    head_bias="yes",
    gated=False,
    norms=1,
    norm_bias=True,
    mlp_names=("fc_in",),
    down_name="fc_out",
    o_name="out_proj",
    attention="attn",
    every_stage=EVERY_PART,
)


def gpt2(rank: Rank) -> None:
    """GPT2LMHeadModel: learned positions on every stage."""
    rank.table(rank.shape.size.positions, rank.shape.size.hidden_size)
    build_decoder(rank, _GPT2, no_rope)


def gpt_bigcode(rank: Rank) -> None:
    """GPTBigCodeForCausalLM: GPT-2 with one key-value head; the Transformers backend keeps a boolean causal mask and the MLP whole on
    every rank, and attention too until 0.27.0 cuts what is packed in one projection (models/transformers/fusers/packed_qkv.py)."""
    whole, positions = on_transformers(rank, _GPT_BIGCODE), rank.shape.size.positions
    rank.table(positions, rank.shape.size.hidden_size)
    attends_whole = whole and rank.version.before(0, 27)
    build_decoder(rank, _GPT_BIGCODE, no_rope, mlp_tp=1 if whole else None, attention_tp=1 if attends_whole else None)
    if whole:
        rank.tensor(positions * positions, BOOL)


def gpt_j(rank: Rank) -> None:
    """GPTJForCausalLM: one LayerNorm per layer, a biased head."""
    build_decoder(rank, _GPT_J, _rotary)


def _rotary(rank: Rank, size: Dimensions, style: DecoderStyle) -> None:
    rope(rank, size.head_dim, size.positions, rotary_dim=rank.text.int("rotary_dim", default=64))


def _one_for_all(text: HfConfig) -> Mapping[str, int]:
    """GPTBigCodeConfig.num_key_value_heads: one where `multi_query`, else as many as heads, whatever the file says."""
    return {"num_key_value_heads": 1 if text.bool("multi_query", True) else text.int("num_attention_heads")}


MODELS = (
    Model(classes=("GPT2LMHeadModel",), model_types=("gpt2", "gpt-sw3"), weights=gpt2, layers=dense()),
    Model(classes=("GPTNeoXForCausalLM",), model_types=("gpt_neox",), weights=partial(build_decoder, style=_GPT_NEOX), layers=dense()),
    Model(classes=("GPTJForCausalLM",), model_types=("gptj",), weights=gpt_j, layers=dense()),
    Model(classes=("GPTBigCodeForCausalLM",), model_types=("gpt_bigcode",), weights=gpt_bigcode, layers=dense(), overrides=_one_for_all),
)
