"""ERNIE 4.5, dense and with experts.

`models.register` names it; `models.paddleocr` is its heir. Knows no quantisation.
Sources: vllm/model_executor/models/{ernie45,ernie45_moe}.py.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from plimsoll_estimator.hf_config import HfConfig
from plimsoll_estimator.layers.decoder import DecoderStyle, build_decoder
from plimsoll_estimator.layers.experts import MoeStyle, build_moe
from plimsoll_estimator.layers.predictions import decoder_modules
from plimsoll_estimator.layers.rank import Rank
from plimsoll_estimator.mixers import Mlp
from plimsoll_estimator.models import stacks
from plimsoll_estimator.models.record import Model
from plimsoll_estimator.models.stacks import dense, predicted, routed_experts, windowed
from plimsoll_estimator.reader import positive
from plimsoll_estimator.shape import Dimensions, Layer

ERNIE4_5 = DecoderStyle(qkv_bias=("use_bias",), o_bias=("use_bias",), mlp_bias=("use_bias",))


def _sparse_layers(text: HfConfig, size: Dimensions) -> tuple[Layer, ...]:
    """Experts in every `moe_layer_interval`-th layer from the start to the end index, both included (ernie45_moe.py).

    Ernie4_5_MoeConfig starts behind the first layer and ends with the last (-1) where a file is silent.
    """
    first, end = _least(text.raw("moe_layer_start_index"), 1), text.raw("moe_layer_end_index")
    last = size.layer_count - 1 if end in (None, -1) else text.int("moe_layer_end_index")
    step = positive(text, "moe_layer_interval", default=1)
    block, plain = routed_experts(text, text.int("moe_intermediate_size")), Mlp(width=size.intermediate_size)
    routed = range(first, last + 1) if text.bool("use_moe", default=block.count > 0) else range(0)
    ffns = [block if i in routed and (i + 1) % step == 0 else plain for i in range(size.layer_count)]
    return stacks.attending(windowed(text, size, stacks.attention(size)), ffns)


def _least(value: object, silent: int) -> int:
    """A layer index; of a list (one a modality) the least."""
    values = value if isinstance(value, list | tuple) else (value,)
    return min((index for index in values if isinstance(index, int)), default=silent)


def ernie4_5_moe(rank: Rank) -> None:
    """Ernie4_5_MoeForCausalLM: float32 routers with a correction; its prediction modules are Llama's dense layers (ernie_mtp.py)."""
    sparse = MoeStyle(gate_item=4, correction=True)
    build_moe(rank, ERNIE4_5, sparse)
    decoder_modules(rank, DecoderStyle(), sparse, norms=2)


def _dense_modules(text: HfConfig, layers: tuple[Layer, ...]) -> tuple[Layer, ...]:
    return tuple(replace(layer, ffn=Mlp(width=text.int("intermediate_size"))) for layer in predicted(text, layers))


DENSE = Model(
    classes=("Ernie4_5ForCausalLM", "Ernie4_5_ForCausalLM"),
    model_types=("ernie4_5",),
    weights=partial(build_decoder, style=ERNIE4_5),
    layers=dense(),
)
MODELS = (
    DENSE,
    Model(
        classes=("Ernie4_5_MoeForCausalLM",),
        model_types=("ernie4_5_moe",),
        weights=ernie4_5_moe,
        layers=_sparse_layers,
        predictions=_dense_modules,
        drafter="ErnieMTPModel",
    ),
)
