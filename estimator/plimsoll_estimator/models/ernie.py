"""ERNIE 4.5, dense and with experts.

`models.register` names it; `models.paddleocr` is its heir. Knows no quantisation.
Sources: vllm/model_executor/models/{ernie45,ernie45_moe}.py.
"""

from __future__ import annotations

from plimsoll_estimator.hf_config import HfConfig
from plimsoll_estimator.layers.decoder import DecoderStyle
from plimsoll_estimator.layers.experts import MoeStyle, build_moe
from plimsoll_estimator.layers.rank import Rank

ERNIE4_5 = DecoderStyle(tied=True, qkv_bias=("use_bias",), o_bias=("use_bias",), mlp_bias=("use_bias",))


def ernie4_5_moe(rank: Rank) -> None:
    """Ernie4_5_MoeForCausalLM: float32 router with correction, dense layers at the start."""
    text = rank.text
    style = DecoderStyle(tied=True, qkv_bias=("use_bias",), o_bias=("use_bias",), mlp_bias=("use_bias",))
    sparse = MoeStyle(gate_item=4, correction=True, shared="count")
    build_moe(rank, style, sparse, first_dense=_first_of(text, "moe_layer_start_index"), step=1)


def _first_of(text: HfConfig, key: str) -> int:
    value = text.raw(key)
    if isinstance(value, list | tuple):
        return min((v for v in value if isinstance(v, int)), default=0)
    return text.int(key, default=0)
