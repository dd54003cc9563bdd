"""Mistral Small 4: latent attention and experts, built through vLLM's Transformers backend, which has no class of its own for it.

Knows no quantisation. Sources: Mistral4Config and modeling_mistral4.py of Transformers 5.19 and 5.24, which list no causal model of this
type; vllm/model_executor/models/transformers/ (0.32.0 and 0.33.0 build the same), ModelConfig.use_mla.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Final

from plimsoll_estimator.checks import Check
from plimsoll_estimator.errors import Unsupported
from plimsoll_estimator.hf_config import HfConfig
from plimsoll_estimator.layers.decoder import DecoderStyle, stack
from plimsoll_estimator.layers.experts import MoeStyle, feed_forward
from plimsoll_estimator.layers.latent import latent_attention
from plimsoll_estimator.layers.rank import FLOAT32, Rank
from plimsoll_estimator.mixers import Latent, Mixer
from plimsoll_estimator.models import stacks
from plimsoll_estimator.models.record import Model
from plimsoll_estimator.models.stacks import behind_dense, routed_experts
from plimsoll_estimator.reader import MAX_WIDTH, positive
from plimsoll_estimator.shape import Dimensions, Layer

_STYLE: Final = DecoderStyle()
_SPARSE: Final = MoeStyle()


def mistral4(rank: Rank) -> None:
    """Mistral4ForCausalLM by itself: its attention is made into vLLM's latent one."""
    mixer, hidden = rank.shape.layers[0].mixer(Latent), rank.shape.size.hidden_size
    bias = rank.text.bool("attention_bias")
    _decoder(rank, lambda name: latent_attention(rank, name, mixer, hidden, bias))


def mistral4_behind_a_tower(rank: Rank) -> None:
    """As another class's language it is not: the projections stay Transformers', whole, and every head's keys and values are kept."""
    if rank.resolved.quantization is not None:
        raise Unsupported(Check.UNSUPPORTED_ARCHITECTURE, "no rules for a quantised Mistral4ForCausalLM behind a tower")
    if rank.tp > 1:
        raise Unsupported(Check.UNSUPPORTED_LAYOUT, "no rules for Mistral4ForCausalLM behind a tower over several ranks")
    mixer, hidden = stacks.latent(rank.text, rank.shape.size), rank.shape.size.hidden_size
    bias = rank.text.bool("attention_bias")

    def attention(name: str) -> None:
        if mixer.q_lora_rank:
            rank.whole(hidden, mixer.q_lora_rank, bias)
        rank.whole(mixer.q_lora_rank or hidden, mixer.query_width)
        rank.whole(hidden, mixer.kv_lora_rank + mixer.qk_rope_head_dim, bias)
        rank.whole(mixer.kv_lora_rank, mixer.expanded_width)
        rank.whole(mixer.heads * mixer.v_head_dim, hidden, bias)
        rank.norm(mixer.q_lora_rank + mixer.kv_lora_rank)
        rank.attention_scales(name)

    _decoder(rank, attention)


def _decoder(rank: Rank, attention: Callable[[str], None]) -> None:
    if rank.version.before(0, 32):
        raise Unsupported(
            Check.UNSUPPORTED_ARCHITECTURE, f"no rules for Mistral4ForCausalLM in vLLM {rank.version}, from 0.32 on there are"
        )
    size, layers = rank.shape.size, rank.shape.layers

    def layer(i: int) -> None:
        attention(f"layers.{i}.self_attn")
        feed_forward(rank, f"layers.{i}", layers[i].ffn, _STYLE, _SPARSE)
        rank.norm(size.hidden_size, count=2)

    stack(rank, size, _STYLE, layer, rank.kind)
    rank.tensor(rank.rules.inverse_frequency_copies * (rank.text.int("qk_rope_head_dim") // 2), FLOAT32)


def _layers(text: HfConfig, size: Dimensions, mixer: Callable[[HfConfig, Dimensions], Mixer]) -> tuple[Layer, ...]:
    """Experts behind `first_k_dense_replace` dense layers."""
    block = routed_experts(text, positive(text, "moe_intermediate_size", limit=MAX_WIDTH))
    return stacks.attending([mixer(text, size)] * size.layer_count, behind_dense(text, size, block))


def _head_width(text: HfConfig) -> Mapping[str, int]:
    """Mistral4Config sets it anew, whatever the file says."""
    return {"head_dim": text.int("qk_nope_head_dim") + text.int("qk_rope_head_dim")}


MODELS = (
    Model(  # the first of its type, which wrappers have inside
        classes=(),
        model_types=("mistral4",),
        weights=mistral4_behind_a_tower,
        layers=partial(_layers, mixer=lambda text, size: stacks.attention(size)),
        overrides=_head_width,
        listed=False,
    ),
    Model(
        classes=("Mistral4ForCausalLM",),
        model_types=("mistral4",),
        weights=mistral4,
        layers=partial(_layers, mixer=stacks.latent),
        overrides=_head_width,
    ),
)
