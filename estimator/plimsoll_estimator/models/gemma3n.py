"""Gemma 3n's text model: alternating updates (AltUp), low-rank residuals (LAuReL), per-layer embeddings, shared keys and values.

`models.register` names it. Knows no quantisation. Source: vllm/model_executor/models/gemma3n.py (0.22.1 and 0.33.0 agree).
"""

from __future__ import annotations

from typing import Final

from plimsoll_estimator.engine_version import EngineVersion
from plimsoll_estimator.hf_config import HfConfig
from plimsoll_estimator.layers.caches import dense_caches
from plimsoll_estimator.layers.decoder import attention, mlp, sizes
from plimsoll_estimator.layers.experts import expert_count
from plimsoll_estimator.layers.needs import ModelNeeds
from plimsoll_estimator.layers.planner_rules import PlannerRules
from plimsoll_estimator.layers.rank import Rank, positive
from plimsoll_estimator.layers.rope import rope, rope_parameters
from plimsoll_estimator.layers.text_shape import TextShape
from plimsoll_estimator.layers.windows import locality
from plimsoll_estimator.models.gemma import GEMMA3
from plimsoll_estimator.reader import language
from plimsoll_estimator.resolved import ResolvedArgs

MOST_STREAMS = 64
OWN_QUERIES_SINCE: Final = EngineVersion(0, 30)  # before, layers that read another's cache projected keys and values all the same


def gemma3n(rank: Rank) -> None:
    """Gemma3nForCausalLM; the class takes one pipeline stage. Later layers read the cache of earlier ones and project queries alone."""
    text = rank.text
    wide = expert_count(text, ("intermediate_size",))  # a list, one entry a layer, in published files
    size = sizes(HfConfig({**text.as_mapping(), "intermediate_size": wide}, text.path), GEMMA3, rank.config)
    hidden, streams = size.hidden_size, positive(text, "altup_num_inputs", default=4, limit=MOST_STREAMS)
    low, per_layer = text.int("laurel_rank", default=64), text.int("hidden_size_per_layer_input", default=256)
    first_shared = size.num_hidden_layers - text.int("num_kv_shared_layers", default=15)

    is_local = locality(text, 5)
    scales = 1 if rank.version.since(0, 29) else 0  # scalars kept as buffers since then

    def layer(i: int) -> None:
        name = f"layers.{i}"
        if i < first_shared or rank.version < OWN_QUERIES_SINCE:
            attention(rank, name, size, GEMMA3)
        else:
            _queries(rank, f"{name}.self_attn", hidden, size.heads, size.head_dim)
        mlp(rank, f"{name}.mlp", hidden, size.intermediate_size, GEMMA3)
        rank.tensor(streams * streams + streams * streams * streams)  # correction and prediction coefficients
        rank.tensor(streams * hidden + hidden + scales)
        if text.bool("altup_correct_scale", True):
            rank.tensor(hidden, 4)
        rank.column(f"{name}.laurel", ("linear_left",), hidden, (low,))
        rank.row(f"{name}.laurel", "linear_right", low, hidden)
        rank.replicated(name, ("per_layer_input_gate",), hidden, (per_layer,))
        rank.replicated(name, ("per_layer_projection",), per_layer, (hidden,))
        rank.norm(hidden, count=6)
        local = is_local(i)
        kind = {"rope_type": "default", "rope_theta": "local"} if local else rope_parameters(text, "full_attention")
        rope(rank, size.head_dim, size.positions, parameters=kind)

    rank.layers(range(size.num_hidden_layers), lambda i: (i < first_shared, is_local(i)), layer)
    rank.embedding(size.vocab_size, hidden)
    rank.embedding(text.int("vocab_size_per_layer_input", default=262144), size.num_hidden_layers * per_layer)
    rank.column("self_decoder", ("per_layer_model_projection",), hidden, (size.num_hidden_layers * per_layer,))
    for _ in range(2 * (streams - 1)):
        rank.column("altup", ("projection",), hidden, (hidden,))
    rank.norm(hidden + per_layer)
    rank.tensor(4 * scales)


def _queries(rank: Rank, parent: str, hidden: int, heads: int, head_dim: int) -> None:
    """A layer that reads another's keys and values: the query projection, its norm, the output projection."""
    rank.column(parent, ("q_proj",), hidden, (heads * head_dim,))
    rank.row(parent, "o_proj", heads * head_dim, hidden)
    rank.norm(head_dim)
    rank.attention_scales(parent)


def gemma3n_caches(config: HfConfig, shape: TextShape, resolved: ResolvedArgs, rules: PlannerRules) -> ModelNeeds:
    """As Gemma 2 with windows, but the last layers read the cache of earlier ones."""
    needs = dense_caches(config, shape, resolved, rules)
    shared = language(config).int("num_kv_shared_layers", default=15)
    own = shape.layers - shared
    layers = tuple(layer if i < own else () for i, layer in enumerate(needs.layers))
    return ModelNeeds(layers=layers, backend=needs.backend, attention_token_bytes=needs.attention_token_bytes)
