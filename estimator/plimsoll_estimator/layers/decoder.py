"""Decoder stacks of the common build: embedding, attention and MLP, final norm, head.

`DecoderStyle` says how a line differs; `build_decoder` walks through one pipeline stage. The lines with layers of their
own reuse the pieces here. Sources: vllm/model_executor/models/{llama,qwen2,gemma*,...}.py. Knows no quantisation.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final, Literal

from plimsoll_estimator.engine_version import EngineVersion
from plimsoll_estimator.hf_config import HfConfig
from plimsoll_estimator.layers.rank import FLOAT32, Kind, Rank
from plimsoll_estimator.layers.rope import rope, rope_parameters
from plimsoll_estimator.shape import Dimensions, stage_layers

Bias = Literal["no", "yes"] | tuple[str, ...]
Part = Literal["embedding", "norm", "head"]
EVERY_PART: Final[tuple[Part, ...]] = ("embedding", "norm", "head")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DecoderStyle:
    """How a line's decoder layer is built.

    Biases: "no", "yes", or configuration keys any of which turns them on. `norms` of a layer, LayerNorms with `norm_bias`. `ties` false:
    the class always builds a head of its own. `every_stage`: parts that the class builds on every pipeline stage, the final norm among
    them. `transformers_since`: the release from which the class is served by the Transformers backend.
    """

    qkv_bias: Bias = "no"
    o_bias: Bias = "no"
    mlp_bias: Bias = "no"
    head_bias: Bias = "no"
    gated: bool = True
    norms: int = 2
    norm_bias: bool = False
    qk_norm: Literal["no", "head", "full"] = "no"
    ties: bool = True
    partial_rotary: float | None = None
    attention: str = "self_attn"
    mlp: str = "mlp"
    o_name: str = "o_proj"
    mlp_names: tuple[str, ...] = ("gate_proj", "up_proj")
    down_name: str = "down_proj"
    transformers_since: EngineVersion | None = None
    every_stage: tuple[Part, ...] = ()


Rotary = Callable[[Rank, Dimensions, DecoderStyle], None]


def ties(size: Dimensions, style: DecoderStyle) -> bool:
    """Whether the class builds one embedding for input and output."""
    return style.ties and size.tied


def has_bias(text: HfConfig, bias: Bias) -> bool:
    """Whether a linear of this style has a bias under this configuration."""
    if isinstance(bias, str):
        return bias == "yes"
    return any(text.raw(key) is True for key in bias)


def attention(rank: Rank, layer: str, size: Dimensions, style: DecoderStyle, tp: int | None = None) -> None:
    """Fused q, k, v; output projection; query and key norms; scales. `tp`: where it is not the rank's."""
    parent = f"{layer}.{style.attention}"
    text = rank.text
    rank.qkv(parent, size.hidden_size, size.heads, size.kv_heads, size.head_dim, bias=has_bias(text, style.qkv_bias), tp=tp)
    rank.row(parent, style.o_name, size.heads * size.head_dim, size.hidden_size, bias=has_bias(text, style.o_bias), tp=tp)
    if style.qk_norm == "head":
        rank.norm(size.head_dim, count=2)
    elif style.qk_norm == "full":
        rank.norm(size.heads * size.head_dim)
        rank.norm(size.kv_heads * size.head_dim)
    if not on_transformers(rank, style) or rank.rules.transformers_keeps_scales:
        rank.attention_scales(parent)


def mlp(rank: Rank, parent: str, hidden: int, intermediate: int, style: DecoderStyle, tp: int | None = None) -> None:
    """Gated (two merged columns) or plain MLP."""
    bias = has_bias(rank.text, style.mlp_bias)
    parts = (intermediate, intermediate) if style.gated else (intermediate,)
    rank.column(parent, style.mlp_names, hidden, parts, bias=bias, tp=tp)
    rank.row(parent, style.down_name, intermediate, hidden, bias=bias, tp=tp)


def on_transformers(rank: Rank, style: DecoderStyle) -> bool:
    """Whether this release serves the class through its Transformers backend (whose older form hid attention scales)."""
    return style.transformers_since is not None and rank.version >= style.transformers_since


def rope_table(rank: Rank, size: Dimensions, style: DecoderStyle, mrope_factor: int = 4) -> None:
    """The line's one rope table, or the small inverse frequencies of the Transformers backend.

    `mrope_factor`: rows of a multimodal table per position.
    """
    if on_transformers(rank, style):
        transformers_rope(rank, size, style)
    else:
        rope(rank, size.head_dim, size.positions, partial=style.partial_rotary, mrope_factor=mrope_factor)


def rope_tables_by_window(rank: Rank, size: Dimensions, style: DecoderStyle) -> None:
    """Two tables: layers with a window have an unscaled one of their own."""
    if on_transformers(rank, style):
        transformers_rope(rank, size, style, tables=2)
        return
    rope_table(rank, size, style)
    local = "rope_local_theta" in rank.text or rank.rules.local_rope_apart
    theta = "sliding" if local else rope_parameters(rank.text).get("rope_theta")
    rope(rank, size.head_dim, size.positions, parameters={"rope_type": "default", "rope_theta": theta})


def no_rope(rank: Rank, size: Dimensions, style: DecoderStyle) -> None:
    """ALiBi, or learned positions: no table."""


def transformers_rope(rank: Rank, size: Dimensions, style: DecoderStyle, tables: int = 1) -> None:
    """Transformers' RotaryEmbedding: inv_freq (with Transformers 5 a copy too) in float32, per layer type where nested."""
    nested = rank.text.sub("rope_parameters")
    if nested is not None and any(isinstance(value, dict) for value in nested.as_mapping().values()):
        tables = sum(isinstance(value, dict) for value in nested.as_mapping().values())
    share = rank.text.float_or_none("partial_rotary_factor", "rotary_pct") or style.partial_rotary or 1.0
    copies = rank.rules.inverse_frequency_copies
    rank.once("inv_freq", copies * tables * (int(size.head_dim * share) // 2) * FLOAT32)


def stack(
    rank: Rank,
    size: Dimensions,
    style: DecoderStyle,
    build: Callable[[int], None],
    kind: Kind | None = None,
    layers: int | None = None,
    vocabularies: tuple[int, int] | None = None,
) -> None:
    """Embedding on the first stage (last too when tied), the stage's layers, final norm and head on the last.

    `vocabularies` are the rows of embedding and head where they differ.
    """
    count = size.layer_count if layers is None else layers
    head = rank.resolved.runner == "generate"
    tied = ties(size, style)
    native = not on_transformers(rank, style)  # the backend leaves out what a stage does not use
    embedded, decoded = vocabularies or (size.vocab_size, size.vocab_size)
    if rank.first or ("embedding" in style.every_stage and native) or (rank.last and tied and (head or not native)):
        rank.embedding(embedded, size.hidden_size)
    rank.stacked(stage_layers(count, rank.resolved.pipeline_parallel_size)[rank.stage], kind, build)
    if style.norms and (rank.last or ("norm" in style.every_stage and native)):
        rank.norm(size.hidden_size, bias=style.norm_bias)
    if head and not tied and (rank.last or ("head" in style.every_stage and native)):
        bias = has_bias(rank.text, style.head_bias) and native
        rank.lm_head(decoded, size.hidden_size, bias=bias)


def build_decoder(
    rank: Rank, style: DecoderStyle, rotary: Rotary = rope_table, mlp_tp: int | None = None, attention_tp: int | None = None
) -> None:
    """A dense decoder of one style. `mlp_tp` and `attention_tp`: their tensor-parallel sizes, where they are not the rank's."""
    size = rank.shape.size

    def layer(i: int) -> None:
        name = f"layers.{i}"
        attention(rank, name, size, style, attention_tp)
        mlp(rank, f"{name}.{style.mlp}", size.hidden_size, size.intermediate_size, style, mlp_tp)
        rank.norm(size.hidden_size, bias=style.norm_bias, count=style.norms)
        rotary(rank, size, style)

    stack(rank, size, style, layer)


def everywhere(style: DecoderStyle) -> DecoderStyle:
    """The same style in a class that builds embedding, final norm and head on every pipeline stage."""
    return replace(style, every_stage=EVERY_PART)


def layer_flag(text: HfConfig, key: str, layer: int) -> bool:
    """Whether the list under `key` has a true entry for this layer."""
    values = text.list_or_none(key)
    return bool(values[layer]) if values is not None and layer < len(values) else False
