"""Gemma 3n's text model: alternating updates (AltUp), low-rank residuals (LAuReL), per-layer embeddings, shared keys and values.

Source: vllm/model_executor/models/gemma3n.py (0.22.1 and 0.33.0 agree). Knows no quantisation.
"""

from __future__ import annotations

from plimsoll_estimator.hf_config import HfConfig
from plimsoll_estimator.weights.decoder import attention, expert_count, mlp, sizes
from plimsoll_estimator.weights.gemma import GEMMA3, locality
from plimsoll_estimator.weights.rank import Rank, positive
from plimsoll_estimator.weights.rope import rope, rope_parameters

_DEFAULTS = {
    "hidden_size": 2048, "num_hidden_layers": 35, "num_attention_heads": 8, "num_key_value_heads": 2, "head_dim": 256,
    "vocab_size": 262400, "max_position_embeddings": 32768, "intermediate_size": 16384,
}  # fmt: skip
MOST_STREAMS = 64
OWN_QUERIES_SINCE = (0, 30)  # before, layers that read another's cache projected keys and values all the same


def gemma3n(rank: Rank) -> None:
    """Gemma3nForCausalLM; the class takes one pipeline stage. Later layers read the cache of earlier ones and project queries alone."""
    text = HfConfig({**_DEFAULTS, **rank.text.as_mapping()}, rank.text.path)
    wide = expert_count(text, ("intermediate_size",))  # a list, one entry a layer, in published files
    size = sizes(HfConfig({**text.as_mapping(), "intermediate_size": wide}, text.path), GEMMA3, rank.config)
    hidden, streams = size.hidden, positive(text, "altup_num_inputs", default=4, limit=MOST_STREAMS)
    low, per_layer = text.int("laurel_rank", default=64), text.int("hidden_size_per_layer_input", default=256)
    first_shared = size.layers - text.int("num_kv_shared_layers", default=15)

    is_local = locality(text, 5)
    scales = 1 if rank.version >= (0, 29) else 0  # scalars kept as buffers since then

    def layer(i: int) -> None:
        name = f"layers.{i}"
        if i < first_shared or rank.version < OWN_QUERIES_SINCE:
            attention(rank, name, size, GEMMA3)
        else:
            _queries(rank, f"{name}.self_attn", hidden, size.heads, size.head_dim)
        mlp(rank, f"{name}.mlp", hidden, size.intermediate, GEMMA3)
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

    rank.layers(range(size.layers), lambda i: (i < first_shared, is_local(i)), layer)
    rank.embedding(size.vocabulary, hidden)
    rank.embedding(text.int("vocab_size_per_layer_input", default=262144), size.layers * per_layer)
    rank.column("self_decoder", ("per_layer_model_projection",), hidden, (size.layers * per_layer,))
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
