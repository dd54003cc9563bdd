"""Models of nothing but Mamba layers: Mamba, Falcon-Mamba, Mamba 2.

`models.register` names it. Knows no quantisation. Sources: vllm/model_executor/models/{mamba,mamba2}.py.
"""

from __future__ import annotations

from typing import Final

from plimsoll_estimator.errors import InvalidInput
from plimsoll_estimator.hf_config import HfConfig
from plimsoll_estimator.layers.decoder import DecoderStyle, everywhere, stack
from plimsoll_estimator.layers.rank import Rank
from plimsoll_estimator.layers.state import mamba1, mamba2
from plimsoll_estimator.mixers import Mamba1, Mamba2
from plimsoll_estimator.models import stacks
from plimsoll_estimator.models.record import Model
from plimsoll_estimator.reader import MAX_WIDTH, positive
from plimsoll_estimator.shape import Dimensions, Layer, alike

_STYLE: Final = everywhere(DecoderStyle())


def pure(rank: Rank) -> None:
    """MambaForCausalLM, FalconMambaForCausalLM (whose inner norms have no weights) and Mamba2ForCausalLM: a mixer and a norm a layer."""
    text, size = rank.text, rank.shape.size
    bias, conv_bias = text.bool("use_bias"), text.bool("use_conv_bias", True)

    def layer(i: int) -> None:
        name, mixer = f"layers.{i}.mixer", rank.shape.layers[i].mixers[0]
        if isinstance(mixer, Mamba1):
            mamba1(rank, name, size.hidden_size, mixer, bias=bias, conv_bias=conv_bias, norms=False)
        elif isinstance(mixer, Mamba2):
            mamba2(rank, name, size.hidden_size, mixer, bias=bias, conv_bias=conv_bias)
        rank.norm(size.hidden_size)

    stack(rank, size, _STYLE, layer)


def _first(text: HfConfig, size: Dimensions) -> tuple[Layer, ...]:
    """MambaConfig: inner channels as the file says, else `expand` times the hidden size."""
    mixer = Mamba1(
        inner=text.int_or_none("intermediate_size") or positive(text, "expand", default=2, limit=MAX_WIDTH) * size.hidden_size,
        state=positive(text, "state_size", default=16, limit=MAX_WIDTH),
        kernel=positive(text, "conv_kernel", default=4, limit=MAX_WIDTH),
        dt_rank=stacks.dt_rank(text, "time_step_rank", size),
    )
    return alike(Layer(mixers=(mixer,), ffn=None), size.layer_count)


def _second(text: HfConfig, size: Dimensions) -> tuple[Layer, ...]:
    """Mamba2Config, which refuses heads that are not the inner channels."""
    inner = positive(text, "expand", default=2, limit=MAX_WIDTH) * size.hidden_size
    heads, head_dim = positive(text, "num_heads", limit=MAX_WIDTH), positive(text, "head_dim", limit=MAX_WIDTH)
    if heads * head_dim != inner:
        raise InvalidInput(f"{text.path}.num_heads", heads, f"times head_dim {head_dim} must be expand times hidden_size, {inner}")
    mixer = Mamba2(
        inner=inner,
        heads=heads,
        head_dim=head_dim,
        groups=positive(text, "n_groups", limit=MAX_WIDTH),
        state=positive(text, "state_size", limit=MAX_WIDTH),
        kernel=positive(text, "conv_kernel", limit=MAX_WIDTH),
    )
    return alike(Layer(mixers=(mixer,), ffn=None), size.layer_count)


MODELS = (
    Model(
        classes=("MambaForCausalLM", "FalconMambaForCausalLM"),
        model_types=("mamba", "falcon_mamba"),
        weights=pure,
        layers=_first,
        attends=False,
    ),
    Model(
        classes=("Mamba2ForCausalLM",), model_types=("mamba2",), weights=pure, layers=_second, attends=False
    ),
)  # fmt: skip
