"""Molmo: a CLIP of fixed size with attention pooling, before OLMo or Qwen 2 in Molmo's own words.

`models.register` names it. Knows no quantisation. Source: vllm/model_executor/models/molmo.py (0.12.0 and 0.33.0 agree).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from plimsoll_estimator.checks import Check
from plimsoll_estimator.errors import Unsupported
from plimsoll_estimator.hf_config import HfConfig
from plimsoll_estimator.layers.decoder import DecoderStyle, attention, everywhere, mlp, rope_table, stack
from plimsoll_estimator.layers.rank import Rank
from plimsoll_estimator.models.record import Model, seeing
from plimsoll_estimator.models.stacks import dense
from plimsoll_estimator.towers.compose import behind

_WIDTH: Final = 1024
_MLP: Final = 4096
_LAYERS: Final = 23
_POSITIONS: Final = 577
_PATCH: Final = 14
_READ: Final = 2
"""Layers of the tower whose features are read, side by side."""
_ADDED_TOKENS: Final = 128


def _tower_attention(rank: Rank, name: str, inputs: int) -> None:
    for part in ("wq", "wk", "wv"):
        rank.column(name, (part,), inputs, (_WIDTH,), bias=True)
    rank.row(name, "wo", _WIDTH, _WIDTH, bias=True)


def molmo_tower(rank: Rank) -> None:
    """The tower, a pooling by attention and a gated projection, all divided; vectors for padding."""
    rank.tensor(_WIDTH)
    rank.tensor(_POSITIONS * _WIDTH)
    rank.tensor(3 * _PATCH * _PATCH * _WIDTH)
    rank.norm(_WIDTH, bias=True)

    def block(i: int) -> None:
        name = f"vision_backbone.image_vit.transformer.resblocks.{i}"
        _tower_attention(rank, f"{name}.attention", _WIDTH)
        rank.column(f"{name}.feed_forward", ("w1",), _WIDTH, (_MLP,), bias=True)
        rank.row(f"{name}.feed_forward", "w2", _MLP, _WIDTH, bias=True)
        rank.norm(_WIDTH, bias=True, count=2)

    rank.layers(range(_LAYERS), None, block)
    _tower_attention(rank, "vision_backbone.image_pooling_2d", _READ * _WIDTH)
    size = rank.shape.size
    middle = size.intermediate_size
    rank.column("vision_backbone.image_projector", ("gate_proj", "up_proj"), _WIDTH, (middle, middle))
    rank.row("vision_backbone.image_projector", "down_proj", middle, size.hidden_size)
    rank.norm(_READ * _WIDTH, count=2)


def molmo_language(rank: Rank) -> None:
    """The embedding has rows beyond the head's, on every stage."""
    text = rank.text
    if text.bool("weight_tying"):
        raise Unsupported(Check.UNSUPPORTED_ARCHITECTURE, "no rules for a Molmo model with tied embeddings")
    style = everywhere(DecoderStyle(ties=False, qkv_bias=("qkv_bias",), qk_norm="full" if text.bool("attention_layer_norm") else "no"))
    size = rank.shape.size
    rows = text.int_or_none("embedding_size") or size.vocab_size

    def layer(i: int) -> None:
        name = f"layers.{i}"
        attention(rank, name, size, style)
        mlp(rank, f"{name}.mlp", size.hidden_size, size.intermediate_size, style)
        rank.norm(size.hidden_size, count=2)
        rope_table(rank, size, style)

    stack(rank, size, style, layer, vocabularies=(rows + _ADDED_TOKENS, rows))


def _halved(text: HfConfig) -> Mapping[str, int]:
    """Molmo's `intermediate_size` counts both halves of the gated MLP."""
    return {"intermediate_size": text.int("intermediate_size") // 2}


_LANGUAGE = Model(classes=(), model_types=("molmo",), weights=molmo_language, layers=dense(), overrides=_halved)
MODELS = (seeing(_LANGUAGE, behind(molmo_tower), classes=("MolmoForCausalLM",)),)
