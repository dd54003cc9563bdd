"""Decoders of an older dialect and of irregular blocks: Qwen 1, Baichuan, GPT-BigCode, GPT-J, Persimmon,
HyperCLOVA X, Granite with windows, Nemotron-NAS.

Sources: vllm/model_executor/models/{qwen,baichuan,gpt_bigcode,gpt_j,nemotron_nas}.py.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import replace

from plimsoll_estimator.errors import InvalidInput, Unsupported
from plimsoll_estimator.hf_config import HfConfig
from plimsoll_estimator.units import round_up
from plimsoll_estimator.weights import dense
from plimsoll_estimator.weights.decoder import DecoderStyle, attention, mlp, on_transformers, rope_table, sizes, stack
from plimsoll_estimator.weights.rank import Rank
from plimsoll_estimator.weights.rope import rope


def _simple(
    rank: Rank, style: DecoderStyle, text: HfConfig, halves: bool = False, rotary_dim: int | None = None, mlp_tp: int | None = None
) -> None:
    size = sizes(text, style, rank.config)
    if halves:
        size = replace(size, intermediate=size.intermediate // 2)

    def layer(i: int) -> None:
        name = f"layers.{i}"
        attention(rank, name, size, style)
        mlp(rank, f"{name}.{style.mlp}", size.hidden, size.intermediate, style, mlp_tp)
        rank.norm(size.hidden, bias=style.norm_bias, count=style.norms)
        if style.rotates:
            rope(rank, size.head_dim, size.positions, rotary_dim=rotary_dim)

    stack(rank, size, style, layer)


def qwen(rank: Rank) -> None:
    """QWenLMHeadModel: biased query, key and value; `intermediate_size` counts both halves of the gated MLP."""
    style = DecoderStyle(qkv_bias="yes", attention="attn", o_name="c_proj", mlp_names=("w2", "w1"), down_name="c_proj")
    _simple(rank, style, rank.text, halves=True)


def baichuan(rank: Rank) -> None:
    """BaichuanForCausalLM: 13B models use ALiBi instead of rope."""
    hidden = rank.text.int("hidden_size")
    style = DecoderStyle(rotates=hidden == 4096, embedding_always=True, norm_always=True, head_always=True)
    _simple(rank, style, rank.text)


def gpt_bigcode(rank: Rank) -> None:
    """GPTBigCodeForCausalLM: GPT-2 with one key-value head; the Transformers backend keeps a boolean causal
    mask and the MLP whole on every rank."""
    text = rank.text
    style = replace(dense.GPT2, transformers_since=(0, 25))
    heads = {"num_key_value_heads": 1} if text.bool("multi_query", True) else {}
    whole = on_transformers(rank, style)
    _simple(rank, style, HfConfig({**text.as_mapping(), **heads}, text.path), mlp_tp=1 if whole else None)
    if whole:
        positions = text.int("n_positions", "max_position_embeddings", default=1024)
        rank.tensor(positions * positions, 1)


def gpt_j(rank: Rank) -> None:
    """GPTJForCausalLM: one LayerNorm per layer, a biased head."""
    _simple(rank, dense.GPT_J, rank.text, rotary_dim=rank.text.int("rotary_dim", default=64))


def hyperclovax(rank: Rank) -> None:
    """HyperCLOVAXForCausalLM: Llama, with a norm behind each block where `use_post_norm` says so."""
    _simple(rank, replace(dense.LLAMA, norms=4 if rank.text.bool("use_post_norm") else 2), rank.text)


def persimmon(rank: Rank) -> None:
    """PersimmonForCausalLM: biased LayerNorms on the heads of queries and keys; through the Transformers backend since 0.26."""
    text = rank.text
    style = DecoderStyle(
        qkv_bias="yes", o_bias="yes", mlp_bias="yes", gated=False, norm_bias=True, partial_rotary=0.5, o_name="dense",
        mlp_names=("dense_h_to_4h",), down_name="dense_4h_to_h", transformers_since=(0, 26),
        embedding_always=True, norm_always=True, head_always=True,
    )  # fmt: skip
    size = sizes(text, style, rank.config)
    if on_transformers(rank, style) and rank.tp > 1:
        raise Unsupported("UnsupportedArchitecture", "no rules for Persimmon over several ranks, which this release serves whole on each")

    def layer(i: int) -> None:
        name = f"layers.{i}"
        attention(rank, name, size, style)
        if text.bool("qk_layernorm", True):
            rank.norm(size.head_dim, bias=True, count=2)
        mlp(rank, f"{name}.mlp", size.hidden, size.intermediate, style)
        rank.norm(size.hidden, bias=True, count=2)
        rope_table(rank, size, style)

    stack(rank, size, style, layer)


def granite_swa(rank: Rank) -> None:
    """GraniteSWAForCausalLM: Granite with attention sinks."""
    style = dense.GRANITE
    size = sizes(rank.text, style, rank.config)

    def layer(i: int) -> None:
        name = f"layers.{i}"
        attention(rank, name, size, style)
        rank.tensor(size.heads // rank.tp)
        mlp(rank, f"{name}.mlp", size.hidden, size.intermediate, style)
        rank.norm(size.hidden, count=2)
        rope_table(rank, size, style)

    stack(rank, size, style, layer)


def _block(config: HfConfig, index: int) -> tuple[HfConfig, HfConfig]:
    blocks = config.list_or_none("block_configs") or ()
    if index >= len(blocks) or not isinstance(blocks[index], Mapping):
        raise InvalidInput(f"{config.path}.block_configs", len(blocks), f"must have an object for layer {index}")
    block = HfConfig(blocks[index], f"{config.path}.block_configs[{index}]")
    empty = HfConfig({}, block.path)
    return block.sub("attention") or empty, block.sub("ffn") or empty


def nemotron_nas(rank: Rank) -> None:
    """DeciLMForCausalLM (Nemotron-NAS): every block has its own key-value heads and MLP width, or lacks one of them."""
    text = rank.text
    style = dense.LLAMA
    size = sizes(text, style, rank.config)

    def ffn_width(ffn: HfConfig) -> int:
        ratio = ffn.float_or_none("ffn_mult")
        if ratio is None:
            return ffn.int("intermediate_size")
        return round_up(int(2 * ratio * size.hidden / 3), 256)

    def layer(i: int) -> None:
        heads, ffn = _block(text, i)
        name = f"layers.{i}"
        if not heads.bool("no_op"):
            group = max(heads.int("n_heads_in_group", default=1), 1)
            attention(rank, name, replace(size, kv_heads=size.heads // group), style)
            rank.norm(size.hidden)
            rope(rank, size.head_dim, size.positions)
        if not ffn.bool("no_op"):
            mlp(rank, f"{name}.mlp", size.hidden, ffn_width(ffn), style)
            rank.norm(size.hidden)

    def kind(i: int) -> Hashable:
        heads, ffn = _block(text, i)
        return (
            heads.raw("no_op"),
            heads.raw("n_heads_in_group"),
            ffn.raw("no_op"),
            ffn.raw("ffn_mult"),
            ffn.raw("intermediate_size"),
        )

    stack(rank, size, style, layer, kind)
