"""Models of nothing but Mamba layers: Mamba, Falcon-Mamba, Mamba 2.

`models.register` names it. Knows no quantisation. Sources: vllm/model_executor/models/{mamba,mamba2}.py.
"""

from __future__ import annotations

from plimsoll_estimator.hf_config import HfConfig
from plimsoll_estimator.layers.backends import Backend
from plimsoll_estimator.layers.caches import state_chunk
from plimsoll_estimator.layers.decoder import DecoderStyle, everywhere, sizes, stack
from plimsoll_estimator.layers.needs import ModelNeeds
from plimsoll_estimator.layers.planner_rules import PlannerRules
from plimsoll_estimator.layers.rank import Rank
from plimsoll_estimator.layers.recurrent import mamba1_bytes, mamba2_bytes, state_need
from plimsoll_estimator.layers.state import Mamba2, mamba1, mamba2
from plimsoll_estimator.layers.text_shape import within
from plimsoll_estimator.reader import MAX_LAYERS, language
from plimsoll_estimator.resolved import ResolvedArgs


def _pure(rank: Rank, second: bool) -> None:
    text = rank.text
    heads = text.int("num_heads", default=1)
    style = everywhere(DecoderStyle(tied=True))
    size = sizes(HfConfig({"num_attention_heads": heads, **text.as_mapping()}, text.path), style, rank.config)
    dims = Mamba2(
        hidden=size.hidden_size,
        inner=text.int("expand", default=2) * size.hidden_size,
        heads=heads,
        groups=text.int("n_groups", default=1),
        state=text.int("state_size", default=128),
        kernel=text.int("conv_kernel", default=4),
        bias=text.bool("use_bias"),
        conv_bias=text.bool("use_conv_bias", True),
    )

    def layer(i: int) -> None:
        name = f"layers.{i}.mixer"
        if second:
            mamba2(rank, name, dims)
        else:
            mamba1(rank, name, text, norms=False)
        rank.norm(size.hidden_size)

    stack(rank, size, style, layer)


def mamba(rank: Rank) -> None:
    """MambaForCausalLM and FalconMambaForCausalLM: Mamba 1 alone."""
    _pure(rank, second=False)


def mamba2_model(rank: Rank) -> None:
    """Mamba2ForCausalLM: Mamba 2 alone."""
    _pure(rank, second=True)


def mamba_caches(config: HfConfig, resolved: ResolvedArgs, rules: PlannerRules) -> ModelNeeds:
    """Models of nothing but Mamba layers."""
    text = language(config)
    hidden, layers = (
        text.int("hidden_size", "d_model"),
        within(text, "num_hidden_layers", text.int("num_hidden_layers", "n_layer"), MAX_LAYERS),
    )
    conv_kernel, second = text.int("conv_kernel", default=4), text.model_type == "mamba2"
    if second:
        state_bytes = mamba2_bytes(
            resolved, inner=text.int("expand", default=2) * hidden, groups=text.int("n_groups", default=8),
            heads=text.int("num_heads", default=128), head_dim=text.int("head_dim", default=64),
            state_size=text.int("state_size", default=128), conv_kernel=conv_kernel,
        )  # fmt: skip
    else:
        inner = text.int_or_none("intermediate_size", "d_inner") or text.int("expand", default=2) * hidden
        state_bytes = mamba1_bytes(resolved, inner=inner, state_size=text.int("state_size", default=16), conv_kernel=conv_kernel)
    state = state_need(
        resolved,
        rules,
        state_bytes,
        role="mamba2" if second else "mamba1",
        supports_all=True,
        checkpoints=second and rules.mamba2_checkpoints,
    )
    return ModelNeeds(
        layers=((state,),) * layers, backend=Backend(name="NONE"), state=state, supports_mode_all=True, chunk_size=state_chunk(text)
    )
