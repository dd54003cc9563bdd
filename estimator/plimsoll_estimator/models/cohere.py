"""Command R, R7B and A, and Command with experts.

`models.register` names it. Knows no quantisation. Sources: vllm/model_executor/models/{commandr,cohere2_moe}.py.
"""

from __future__ import annotations

from dataclasses import replace

from plimsoll_estimator.hf_config import HfConfig
from plimsoll_estimator.layers.decoder import DecoderStyle, attention, mlp, rope_table, stack
from plimsoll_estimator.layers.experts import MoeStyle, feed_forward
from plimsoll_estimator.layers.rank import Rank, divide
from plimsoll_estimator.mixers import Attention, Mlp
from plimsoll_estimator.models import stacks
from plimsoll_estimator.models.record import Model
from plimsoll_estimator.models.stacks import dense, routed_experts, windowed
from plimsoll_estimator.shape import Dimensions, Layer

_COHERE = DecoderStyle(every_stage=("embedding", "norm"), norms=1)
_EXPERTS = MoeStyle()


def cohere(rank: Rank) -> None:
    """CohereForCausalLM: one LayerNorm a layer for attention and MLP together, a tied head; perhaps norms of every head's own."""
    size = rank.shape.size
    head_norms = divide(size.heads, rank.tp) + rank.kv_heads(size.kv_heads) if rank.text.bool("use_qk_norm") else 0

    def layer(i: int) -> None:
        name = f"layers.{i}"
        attention(rank, name, size, _COHERE)
        rank.norm(size.head_dim, count=head_norms)
        mlp(rank, f"{name}.mlp", size.hidden_size, size.intermediate_size, _COHERE)
        rank.norm(size.hidden_size)
        rope_table(rank, size, _COHERE)

    stack(rank, size, _COHERE, layer)


def cohere2_moe(rank: Rank) -> None:
    """Cohere2MoeForCausalLM: one LayerNorm a layer for attention and experts together, a tied head."""
    size, layers = rank.shape.size, rank.shape.layers

    def layer(i: int) -> None:
        name = f"layers.{i}"
        attention(rank, name, size, _COHERE)
        feed_forward(rank, name, layers[i].ffn, _COHERE, _EXPERTS)
        rank.norm(size.hidden_size)
        rope_table(rank, size, _COHERE)

    stack(rank, size, _COHERE, layer, rank.kind)


def _prefixed(text: HfConfig, size: Dimensions) -> tuple[Layer, ...]:
    """Dense layers first, which see everything and may be wider; experts behind them, with the windows' pattern counted afresh."""
    count = size.layer_count
    first = min(text.int("first_k_dense_replace", default=0), count)
    kinds = text.list_or_none("mlp_layer_types") or ("dense",) * first + ("sparse",) * (count - first)
    block = routed_experts(text, size.intermediate_size)
    wide = Mlp(width=text.int("prefix_dense_intermediate_size", default=size.intermediate_size))
    ffns = [block if i < len(kinds) and kinds[i] == "sparse" else wide for i in range(count)]
    return stacks.attending(_seen(text, size, first), ffns)


def _seen(text: HfConfig, size: Dimensions, first: int) -> list[Attention]:
    full = stacks.attention(size)
    if "layer_types" in text or not first:
        return windowed(text, size, full, every=4)
    period = text.int("prefix_dense_sliding_window_pattern", default=1) or 1
    behind = windowed(text, size._replace(layer_count=size.layer_count - first), full, every=4)
    local = replace(full, seen="sliding", window=text.int("sliding_window"))
    return [full if (i + 1) % period == 0 else local for i in range(first)] + behind


MODELS = (
    Model(classes=("CohereForCausalLM",), model_types=("cohere",), weights=cohere, layers=dense()),
    Model(classes=("Cohere2ForCausalLM",), model_types=("cohere2",), weights=cohere, layers=dense(every=4)),
    Model(classes=("Cohere2MoeForCausalLM",), model_types=("cohere2_moe",), weights=cohere2_moe, layers=_prefixed),
)
