"""DeepSeek V4: one shared key-value head, grouped output projection, compressors, hyper-connections, hash-routed first layers.

`models.register` names it. Knows no quantisation.
Sources: vllm/models/deepseek_v4/{attention,compressor}.py and nvidia/model.py (0.33.0).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from plimsoll_estimator.checks import Check
from plimsoll_estimator.engine_version import EngineVersion
from plimsoll_estimator.errors import Unsupported
from plimsoll_estimator.hf_config import HfConfig
from plimsoll_estimator.layers.decoder import DecoderStyle, mlp, stack
from plimsoll_estimator.layers.rank import Rank, divide
from plimsoll_estimator.layers.rope import rope, rope_parameters
from plimsoll_estimator.mixers import CompressedLatent, Experts
from plimsoll_estimator.models import stacks
from plimsoll_estimator.models.record import Model
from plimsoll_estimator.models.stacks import predicted, routed_experts
from plimsoll_estimator.reader import MAX_WIDTH, positive
from plimsoll_estimator.shape import Dimensions, Layer
from plimsoll_estimator.units import round_up

_STYLE = DecoderStyle()
_PADDED_HEADS = 64
_OVERLAPPING_RATIO = 4
_RATIOS: Final = (0, 1, _OVERLAPPING_RATIO, 128)


def _compressor(rank: Rank, hidden: int, head_dim: int, ratio: int) -> None:
    """Position table in float32, one unquantised projection to keys and gates, a norm. Ratio 4 overlaps: twice as wide."""
    width = head_dim * (2 if ratio == _OVERLAPPING_RATIO else 1)
    rank.tensor(ratio * width, 4)
    rank.tensor(2 * width * hidden)
    rank.norm(head_dim)


def _attention(rank: Rank, parent: str, hidden: int, heads: int, mixer: CompressedLatent) -> None:
    text, head_dim, ratio = rank.text, mixer.head_dim, mixer.ratio
    q_rank, groups, o_rank = text.int("q_lora_rank"), text.int("o_groups"), text.int("o_lora_rank")
    rank.tensor(round_up(divide(heads, rank.tp), _PADDED_HEADS), 4)
    rank.replicated(parent, ("wq_a", "wkv"), hidden, (q_rank, head_dim))
    rank.norm(q_rank + head_dim)
    rank.column(parent, ("wq_b",), q_rank, (heads * head_dim,))
    rank.column(parent, ("wo_a",), heads * head_dim // groups, (groups * o_rank,))
    rank.row(parent, "wo_b", groups * o_rank, hidden)
    if ratio == _OVERLAPPING_RATIO:
        index_heads, index_dim = text.int("index_n_heads"), mixer.index_head_dim
        rank.replicated(f"{parent}.indexer", ("wq_b",), q_rank, (index_heads * index_dim,))
        rank.tensor(index_heads * hidden)
        _compressor(rank, hidden, index_dim, ratio)
    if ratio > 1:
        _compressor(rank, hidden, head_dim, ratio)


def _experts(rank: Rank, parent: str, hidden: int, block: Experts, hashed: bool) -> None:
    """Routed and shared experts; a hashed layer keeps a table of its vocabulary's experts instead of a correction."""
    rank.tensor(block.count * hidden)
    rank.tensor(rank.shape.size.vocab_size * block.per_token if hashed else block.count, 4)
    if block.shared:
        mlp(rank, f"{parent}.shared_experts", hidden, block.shared, _STYLE, rank.shared_experts_tp(EngineVersion(0, 11)))
    rank.experts(f"{parent}.experts", block.count, hidden, block.width)


def deepseek_v4(rank: Rank) -> None:
    """DeepseekV4ForCausalLM. Two float32 rope tables: plain layers and compressed ones."""
    text, size, layers = rank.text, rank.shape.size, rank.shape.layers
    hashed_layers = text.int("num_hash_layers", default=0)
    streams = text.int("hc_mult", default=4)
    mixing = streams * (2 + streams)
    rotary = text.int("qk_rope_head_dim")
    values = dict(rope_parameters(text))
    if values["rope_type"] != "default":
        values["rope_type"] = "deepseek_yarn"

    def build(name: str, made: Layer, hashed: bool) -> None:
        mixer = made.mixer(CompressedLatent)
        _attention(rank, f"{name}.attn", size.hidden_size, size.heads, mixer)
        _experts(rank, f"{name}.ffn", size.hidden_size, made.experts, hashed)
        rank.norm(size.hidden_size, count=2)
        rank.tensor(2 * (mixing * streams * size.hidden_size + mixing + 3), 4)
        theta = text.float_or_none("compress_rope_theta") if mixer.ratio > 1 else values["rope_theta"]
        rope(rank, size.head_dim, size.positions, parameters={**values, "rope_theta": theta}, rotary_dim=rotary, item=4)

    def layer(i: int) -> None:
        build(f"layers.{i}", layers[i], i < hashed_layers)

    stack(rank, size, _STYLE, layer, lambda i: (id(layers[i]), i < hashed_layers))
    head = streams * streams * size.hidden_size + streams + 1
    rank.tensor(head, 4)
    # nvidia/mtp.py: two projections and a head of the streams of their own; embedding and output head are the target's.
    for i, module in enumerate(rank.modules()):
        name = f"layers.{size.layer_count + i}"
        rank.replicated(name, ("e_proj",), size.hidden_size, (size.hidden_size,))
        rank.replicated(name, ("h_proj",), size.hidden_size, (size.hidden_size,))
        build(name, module, False)
        rank.norm(size.hidden_size, count=3)
        rank.tensor(head, 4)


def _layers(text: HfConfig, size: Dimensions) -> tuple[Layer, ...]:
    """A window of latents in every layer, and one state for 4 or 128 tokens where `compress_ratios` says so (0 and 1: none).

    Raises Unsupported for another ratio and for a list that ends before the layers do.
    """
    count, ratios = size.layer_count, text.list_or_none("compress_ratios") or ()
    if len(ratios) < count or any(ratio not in _RATIOS for ratio in ratios[:count]):
        raise Unsupported(Check.KV_CACHE_FAMILY, "DeepSeek-V4: compress_ratios must name 0, 1, 4 or 128 for every layer")
    window, index = positive(text, "sliding_window"), positive(text, "index_head_dim", default=128, limit=MAX_WIDTH)
    mixers = {
        ratio: CompressedLatent(heads=size.heads, head_dim=size.head_dim, window=window, ratio=ratio or 1, index_head_dim=index)
        for ratio in _RATIOS
    }
    count_of_experts = positive(text, "n_routed_experts", "num_local_experts", limit=MAX_WIDTH)
    block = routed_experts(text, positive(text, "moe_intermediate_size", limit=MAX_WIDTH), count=count_of_experts)
    return stacks.stack([(mixers[ratio],) for ratio in ratios[:count]], [block] * count)


def _windows(text: HfConfig, layers: tuple[Layer, ...]) -> tuple[Layer, ...]:
    """Prediction modules compress nothing and keep a window only: they are not in the list of ratios (attention.py)."""
    return tuple(replace(layer, mixers=(replace(layer.mixer(CompressedLatent), ratio=1),)) for layer in predicted(text, layers))


MODELS = (
    Model(
        classes=("DeepseekV4ForCausalLM",),
        model_types=("deepseek_v4", "deepseek_ref"),
        weights=deepseek_v4,
        layers=_layers,
        predictions=_windows,
        drafter="DeepSeekV4MTPModel",
    ),
)
