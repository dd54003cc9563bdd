"""gpt-oss: biases everywhere, attention sinks, experts.

`models.register` names it. Knows no quantisation. Source: vllm/model_executor/models/gpt_oss.py.
"""

from __future__ import annotations

from plimsoll_estimator.layers.decoder import DecoderStyle, attention, sizes, stack
from plimsoll_estimator.layers.experts import MoeStyle, moe
from plimsoll_estimator.layers.rank import Rank
from plimsoll_estimator.layers.rope import rope


def gpt_oss(rank: Rank) -> None:
    """GptOssForCausalLM: biases everywhere, attention sinks, a float32 rope table."""
    text = rank.text
    style = DecoderStyle(
        ties=False, qkv_bias="yes", o_bias="yes", attention="attn", embedding_always=True, norm_always=True, head_always=True
    )
    size = sizes(text, style, rank.config)
    sparse = MoeStyle(intermediate=("intermediate_size",), gate_bias=True, expert_bias=True)

    def layer(i: int) -> None:
        name = f"layers.{i}"
        attention(rank, name, size, style)
        rank.tensor(size.heads // rank.tp)
        moe(rank, name, size.hidden_size, sparse)
        rank.norm(size.hidden_size, count=2)
        rope(rank, size.head_dim, size.positions, item=4)

    stack(rank, size, style, layer)
