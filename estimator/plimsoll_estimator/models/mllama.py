"""Llama 3.2 Vision (Mllama): cross-attention layers among the decoder's, a tower of tiles with gated positions.

`models.register` names it. vLLM had a class of its own until 0.10.2; since then the Transformers backend serves it, which shards neither
the tower nor the cross attention, and before 0.20 refuses tensor parallelism. Knows no quantisation.
"""

from __future__ import annotations

from typing import Final

from plimsoll_estimator.checks import Check
from plimsoll_estimator.engine_version import EngineVersion
from plimsoll_estimator.errors import EngineRefusal
from plimsoll_estimator.hf_config import HfConfig
from plimsoll_estimator.layers.decoder import DecoderStyle, attention, mlp, stack
from plimsoll_estimator.layers.rank import Rank
from plimsoll_estimator.layers.rope import rope
from plimsoll_estimator.models.record import Model
from plimsoll_estimator.models.stacks import dense
from plimsoll_estimator.reader import MAX_TOWER_LAYERS, positive, tower_size
from plimsoll_estimator.towers.encoder import patch_count, vision_config

_NATIVE_BEFORE: Final = EngineVersion(0, 11)
_SHARDED_SINCE: Final = EngineVersion(0, 20)
_CROSS_LAYERS = (3, 8, 13, 18, 23, 28, 33, 38)
_ASPECT_RATIOS = 8


def _tower(rank: Rank, vision: HfConfig, tp: int) -> None:
    size = tower_size(vision)
    hidden, heads, intermediate = size.hidden_size, size.heads, size.intermediate_size
    tiles, patch = vision.int("max_num_tiles"), positive(vision, "patch_size")
    ratios = len(vision.list_or_none("supported_aspect_ratios") or range(_ASPECT_RATIOS)) + 1
    positions = patch_count(vision) + 1
    rank.tensor(hidden * 3 * patch * patch + hidden)
    rank.tensor(1 + positions * hidden)
    rank.tensor(ratios * tiles * positions * hidden)
    rank.tensor(2 * (1 + ratios * tiles * hidden))
    rank.norm(hidden, bias=True, count=2)

    def layer(name: str, gates: int) -> None:
        rank.qkv(f"{name}.self_attn", hidden, heads, heads, size.head_dim, tp=tp)
        rank.row(f"{name}.self_attn", "o_proj", hidden, hidden, tp=tp)
        rank.column(f"{name}.mlp", ("fc1",), hidden, (intermediate,), bias=True, tp=tp)
        rank.row(f"{name}.mlp", "fc2", intermediate, hidden, bias=True, tp=tp)
        rank.norm(hidden, bias=True, count=2)
        rank.tensor(gates)

    name = "vision_model.transformer.layers"
    rank.layers(range(size.layers), None, lambda i: layer(f"{name}.{i}", 0))
    name = "vision_model.global_transformer.layers"
    rank.layers(range(positive(vision, "num_global_layers", limit=MAX_TOWER_LAYERS)), None, lambda i: layer(f"{name}.{i}", 2))


def mllama(rank: Rank) -> None:
    """MllamaForConditionalGeneration."""
    native = rank.version < _NATIVE_BEFORE
    if rank.tp > 1 and not native and rank.version < _SHARDED_SINCE:
        raise EngineRefusal(Check.TENSOR_PARALLEL_UNSUPPORTED, "MllamaModel does not support tensor parallel.")
    text = rank.text
    vision = vision_config(rank)
    style, size = DecoderStyle(), rank.shape.size
    cross = set(text.list_or_none("cross_attention_layers") or _CROSS_LAYERS)
    tp = rank.tp if native else 1
    _tower(rank, vision, tp)
    rank.tensor(vision.int("vision_output_dim") * size.hidden_size + size.hidden_size)

    def layer(i: int) -> None:
        name = f"layers.{i}"
        if i in cross:
            parent = f"{name}.cross_attn"
            rank.qkv(parent, size.hidden_size, size.heads, size.kv_heads, size.head_dim, tp=tp)
            rank.row(parent, "o_proj", size.heads * size.head_dim, size.hidden_size, tp=tp)
            rank.norm(size.head_dim, count=2)
            rank.tensor(2)
        else:
            attention(rank, name, size, DecoderStyle(transformers_since=_NATIVE_BEFORE))
        mlp(rank, f"{name}.mlp", size.hidden_size, size.intermediate_size, style)
        rank.norm(size.hidden_size, count=2)

    stack(rank, size, style, layer, lambda i: i in cross)
    if native:
        rope(rank, size.head_dim, size.positions)
    else:
        rank.tensor((2 if rank.version.since(0, 19) else 1) * (size.head_dim // 2), 4)


MODELS = (
    Model(
        classes=("MllamaForConditionalGeneration",), model_types=("mllama", "mllama_text_model"), weights=mllama, layers=dense(),
        multimodal=True,
    ),
)  # fmt: skip
