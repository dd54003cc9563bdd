"""Whisper: an encoder of speech and a decoder with cross-attention.

`models.register` names it. Knows no quantisation. Source: vllm/model_executor/models/whisper.py.
"""

from __future__ import annotations

from plimsoll_estimator.hf_config import HfConfig
from plimsoll_estimator.layers.backends import attention_backend
from plimsoll_estimator.layers.kv_dtype import kv_head_bytes
from plimsoll_estimator.layers.needs import AttentionNeed, ModelNeeds
from plimsoll_estimator.layers.planner_rules import PlannerRules
from plimsoll_estimator.layers.rank import Rank, positive
from plimsoll_estimator.layers.text_shape import within
from plimsoll_estimator.reader import MAX_LAYERS, MAX_WIDTH, language
from plimsoll_estimator.resolved import ResolvedArgs


def whisper(rank: Rank) -> None:
    """WhisperForConditionalGeneration: a convolutional front, an encoder, a decoder with cross attention, a tied head."""
    text = rank.text
    hidden = text.int("d_model")
    rank.tensor(hidden * text.int("num_mel_bins", default=80) * 3 + hidden + hidden * hidden * 3 + hidden)
    rank.tensor((text.int("max_source_positions", default=1500) + text.int("max_target_positions", default=448)) * hidden)
    _whisper_stack(
        rank,
        "encoder",
        hidden,
        positive(text, "encoder_layers", limit=4096),
        positive(text, "encoder_attention_heads"),
        text.int("encoder_ffn_dim"),
        False,
    )
    _whisper_stack(
        rank,
        "decoder",
        hidden,
        positive(text, "decoder_layers", limit=4096),
        positive(text, "decoder_attention_heads"),
        text.int("decoder_ffn_dim"),
        True,
    )
    rank.tensor(text.int("vocab_size") * hidden)


def _whisper_stack(rank: Rank, part: str, hidden: int, layers: int, heads: int, ffn: int, cross: bool) -> None:
    def layer(i: int) -> None:
        name = f"{part}.layers.{i}"
        rank.qkv(f"{name}.self_attn", hidden, heads, heads, hidden // heads, bias=True)
        rank.row(f"{name}.self_attn", "out_proj", hidden, hidden, bias=True)
        if cross:
            rank.attention_scales(f"{name}.self_attn")
            parent = f"{name}.encoder_attn"
            rank.column(parent, ("q_proj",), hidden, (hidden,), bias=True)
            rank.column(parent, ("k_proj", "v_proj"), hidden, (hidden, hidden), bias=True)
            rank.row(parent, "out_proj", hidden, hidden, bias=True)
            rank.attention_scales(parent)
        rank.column(f"{name}.mlp", ("fc1",), hidden, (ffn,), bias=True)
        rank.row(f"{name}.mlp", "fc2", ffn, hidden, bias=True)
        rank.norm(hidden, bias=True, count=3 if cross else 2)

    rank.layers(range(layers), None, layer)
    rank.norm(hidden, bias=True)


def whisper_caches(config: HfConfig, resolved: ResolvedArgs, rules: PlannerRules) -> ModelNeeds:
    """A decoder layer keeps its own tokens and, per request, the encoder's 30 seconds."""
    text = language(config)
    heads = within(text, "decoder_attention_heads", text.int("decoder_attention_heads"), MAX_WIDTH)
    head_dim = within(text, "d_model", text.int("d_model", "hidden_size") // heads, MAX_WIDTH)
    layers = within(text, "decoder_layers", text.int("decoder_layers"), MAX_LAYERS)
    token_bytes = max(1, heads // resolved.tensor_parallel_size) * kv_head_bytes(
        resolved.kv_cache_dtype, resolved.dtype, head_dim, head_dim
    )
    own = AttentionNeed(kind="full", token_bytes=token_bytes)
    cross = AttentionNeed(kind="cross", token_bytes=token_bytes)
    backend = attention_backend(
        resolved.gpu.capability, resolved.kv_cache_dtype, rules, head_sizes=frozenset({head_dim}), mm_prefix=False, has_sink=False
    )
    return ModelNeeds(
        layers=((own, cross),) * layers,
        backend=backend,
        attention_token_bytes=token_bytes,
        encoder_tokens=text.int("max_source_positions", default=1500),
    )
