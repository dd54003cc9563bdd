"""Decoders of an older dialect and of irregular blocks: Qwen 1, Baichuan, GPT-BigCode, GPT-J, Nemotron-NAS.

Sources: vllm/model_executor/models/{qwen,baichuan,gpt_bigcode,gpt_j,nemotron_nas}.py.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import replace

from plimsoll_estimator.errors import InvalidInput
from plimsoll_estimator.hf_config import HfConfig
from plimsoll_estimator.units import round_up
from plimsoll_estimator.weights import dense
from plimsoll_estimator.weights.decoder import DecoderStyle, attention, mlp, on_transformers, sizes, stack
from plimsoll_estimator.weights.rank import Rank
from plimsoll_estimator.weights.rope import rope


def _simple(rank: Rank, style: DecoderStyle, text: HfConfig, halves: bool = False, rotary_dim: int | None = None) -> None:
    size = sizes(text, style, rank.config)
    if halves:
        size = replace(size, intermediate=size.intermediate // 2)

    def layer(i: int) -> None:
        name = f"layers.{i}"
        attention(rank, name, size, style)
        mlp(rank, f"{name}.{style.mlp}", size.hidden, size.intermediate, style)
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
    """GPTBigCodeForCausalLM: GPT-2 with one key-value head; the Transformers backend keeps a boolean causal mask."""
    text = rank.text
    style = replace(dense.GPT2, transformers_since=(0, 20))
    heads = {"num_key_value_heads": 1} if text.bool("multi_query", True) else {}
    _simple(rank, style, HfConfig({**text.as_mapping(), **heads}, text.path))
    if on_transformers(rank, style):
        positions = text.int("n_positions", "max_position_embeddings", default=1024)
        rank.tensor(positions * positions, 1)


def gpt_j(rank: Rank) -> None:
    """GPTJForCausalLM: one LayerNorm per layer, a biased head."""
    _simple(rank, dense.GPT_J, rank.text, rotary_dim=rank.text.int("rotary_dim", default=64))


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
