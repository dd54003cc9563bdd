"""LongCat-Flash: two latent attentions and two dense MLPs a layer.

`models.register` names it. Knows no quantisation. Source: vllm/model_executor/models/longcat_flash.py.
"""

from __future__ import annotations

from plimsoll_estimator.hf_config import HfConfig
from plimsoll_estimator.layers.decoder import DecoderStyle, mlp, stack
from plimsoll_estimator.layers.experts import MoeStyle, feed_forward
from plimsoll_estimator.layers.latent import latent_attention, latent_rope
from plimsoll_estimator.layers.rank import Rank
from plimsoll_estimator.mixers import Latent, Mlp
from plimsoll_estimator.models import stacks
from plimsoll_estimator.models.record import Model
from plimsoll_estimator.models.stacks import prediction_modules, routed_experts
from plimsoll_estimator.reader import MAX_WIDTH, positive
from plimsoll_estimator.shape import Dimensions, Layer

_STYLE = DecoderStyle(ties=False)


def longcat(rank: Rank) -> None:
    """LongcatFlashForCausalLM: two latent attentions and two dense MLPs a layer, one block of experts, some of them without weights."""
    text, size, layers = rank.text, rank.shape.size, rank.shape.layers
    nothing, bias = text.int("zero_expert_num", default=0), text.bool("attention_bias")

    def layer(i: int) -> None:
        name, mixer, block = f"layers.{i}", layers[i].mixer(Latent), layers[i].experts
        for half in range(2):
            latent_attention(rank, f"{name}.self_attn.{half}", mixer, size.hidden_size, bias)
            mlp(rank, f"{name}.mlps.{half}", size.hidden_size, block.shared, _STYLE)
            rank.norm(size.hidden_size, count=2)
        rank.tensor((block.count + nothing) * size.hidden_size, 4)
        rank.tensor(block.count + nothing, 4)
        rank.experts(f"{name}.mlp.experts", block.count, size.hidden_size, block.width)
        latent_rope(rank, mixer, size.positions)

    stack(rank, size, _STYLE, layer)
    # longcat_flash_mtp.py: a latent and a dense block after a joint projection; embedding and head are the target's.
    for i, module in enumerate(rank.modules()):
        name = f"mtp.layers.{i}"
        rank.replicated(name, ("eh_proj",), 2 * size.hidden_size, (size.hidden_size,))
        latent_attention(rank, f"{name}.self_attn", module.mixer(Latent), size.hidden_size, bias)
        feed_forward(rank, name, module.ffn, _STYLE, MoeStyle())
        rank.norm(size.hidden_size, count=5)


def _layers(text: HfConfig, size: Dimensions) -> tuple[Layer, ...]:
    """The same latent twice in every layer, and experts beside a dense block."""
    mixer = stacks.cached_latent(text, size)
    width = positive(text, "expert_ffn_hidden_size", "moe_intermediate_size", limit=MAX_WIDTH)
    block = routed_experts(text, width, shared=size.intermediate_size, count=positive(text, "n_routed_experts", limit=MAX_WIDTH))
    return stacks.stack([(mixer, mixer)] * size.layer_count, [block] * size.layer_count)


def _predictions(text: HfConfig, layers: tuple[Layer, ...]) -> tuple[Layer, ...]:
    """One latent and a dense block; one module where the file is silent (longcat_flash_mtp.py, config/speculative.py)."""
    module = Layer(mixers=layers[-1].mixers[:1], ffn=Mlp(width=layers[-1].experts.shared))
    return (module,) * prediction_modules(text, silent=1)


MODELS = (
    Model(
        classes=("LongcatFlashForCausalLM",),
        model_types=("longcat_flash",),
        weights=longcat,
        layers=_layers,
        predictions=_predictions,
        drafter="LongCatFlashMTPModel",
    ),
)
