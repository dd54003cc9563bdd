"""GPT-2, GPT-NeoX, GPT-J and GPT-BigCode.

`models.register` names it. Knows no quantisation. Sources: vllm/model_executor/models/{gpt2,gpt_neox,gpt_j,gpt_bigcode}.py.
"""

from __future__ import annotations

from dataclasses import replace

from plimsoll_estimator.engine_version import EngineVersion
from plimsoll_estimator.hf_config import HfConfig
from plimsoll_estimator.layers.decoder import DecoderStyle, build_plain, on_transformers
from plimsoll_estimator.layers.rank import Rank

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
    transformers_since=EngineVersion(0, 32),
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


def gpt_bigcode(rank: Rank) -> None:
    """GPTBigCodeForCausalLM: GPT-2 with one key-value head; the Transformers backend keeps a boolean causal
    mask and the MLP whole on every rank."""
    text = rank.text
    style = replace(GPT2, transformers_since=EngineVersion(0, 25))
    heads = {"num_key_value_heads": 1} if text.bool("multi_query", True) else {}
    whole = on_transformers(rank, style)
    build_plain(rank, style, HfConfig({**text.as_mapping(), **heads}, text.path), mlp_tp=1 if whole else None)
    if whole:
        positions = text.int("n_positions", "max_position_embeddings", default=1024)
        rank.tensor(positions * positions, 1)


def gpt_j(rank: Rank) -> None:
    """GPTJForCausalLM: one LayerNorm per layer, a biased head."""
    build_plain(rank, GPT_J, rank.text, rotary_dim=rank.text.int("rotary_dim", default=64))
