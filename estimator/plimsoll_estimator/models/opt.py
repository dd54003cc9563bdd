"""OPT: learned positions, perhaps an embedding narrower than the layers.

`models.register` names it. Knows no quantisation. Source: vllm/model_executor/models/opt.py.
"""

from __future__ import annotations

from plimsoll_estimator.layers.decoder import Bias, DecoderStyle, attention, mlp, stack
from plimsoll_estimator.layers.rank import Rank
from plimsoll_estimator.models.record import Model
from plimsoll_estimator.models.stacks import dense


def opt(rank: Rank) -> None:
    """OPTForCausalLM: learned positions (two more than the maximum), biases, tied head, perhaps a narrower embedding."""
    text, size = rank.text, rank.shape.size
    bias: Bias = "yes" if text.bool("enable_bias", True) else "no"
    norms = 1 if text.bool("layer_norm_elementwise_affine", True) else 0  # without, they have no parameters at all
    style = DecoderStyle(
        gated=False, qkv_bias=bias, o_bias=bias, mlp_bias=bias, norms=0, o_name="out_proj", mlp_names=("fc1",), down_name="fc2",
    every_stage=("embedding",),
    )  # fmt: skip
    projected = text.int("word_embed_proj_dim", default=size.hidden_size)

    def layer(i: int) -> None:
        name = f"decoder.layers.{i}"
        attention(rank, name, size, style)
        mlp(rank, name, size.hidden_size, size.intermediate_size, style)
        rank.norm(size.hidden_size, bias=True, count=2 * norms)

    rank.table(size.positions + 2, size.hidden_size)
    if projected != size.hidden_size:
        rank.replicated("decoder", ("project_in",), projected, (size.hidden_size,))
        rank.replicated("decoder", ("project_out",), size.hidden_size, (projected,))
    stack(rank, size._replace(hidden_size=projected), style, layer)
    if text.bool("do_layer_norm_before", True) and not text.bool("_remove_final_layer_norm"):
        rank.norm(size.hidden_size, bias=True, count=norms)


MODELS = (Model(classes=("OPTForCausalLM",), model_types=("opt",), weights=opt, layers=dense()),)
