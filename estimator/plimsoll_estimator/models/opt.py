"""OPT: learned positions, perhaps an embedding narrower than the layers.

`models.register` names it. Knows no quantisation. Source: vllm/model_executor/models/opt.py.
"""

from __future__ import annotations

from dataclasses import replace

from plimsoll_estimator.layers.decoder import DecoderStyle, attention, mlp, sizes, stack
from plimsoll_estimator.layers.rank import Rank


def opt(rank: Rank) -> None:
    """OPTForCausalLM: learned positions (two more than the maximum), biases, tied head, perhaps a narrower embedding."""
    text = rank.text
    biased = text.bool("enable_bias", True)
    style = DecoderStyle(
        tied=True,
        gated=False,
        qkv_bias="yes" if biased else "no",
        o_bias="yes" if biased else "no",
        mlp_bias="yes" if biased else "no",
        norm_bias=text.bool("layer_norm_elementwise_affine", True),
        o_name="out_proj",
        mlp_names=("fc1",),
        down_name="fc2",
        embedding_always=True,
    )
    size = sizes(text, style, rank.config)
    projected = text.int("word_embed_proj_dim", default=size.hidden_size)
    final = text.bool("do_layer_norm_before", True) and not text.bool("_remove_final_layer_norm")
    if not final:
        style = replace(style, norms=0)

    def layer(i: int) -> None:
        name = f"decoder.layers.{i}"
        attention(rank, name, size, style)
        mlp(rank, name, size.hidden_size, size.intermediate_size, style)
        rank.norm(size.hidden_size, bias=style.norm_bias, count=2)

    rank.tensor((size.positions + 2) * size.hidden_size)
    if projected != size.hidden_size:
        rank.tensor(2 * projected * size.hidden_size)
        rank.embedding(size.vocab_size, projected)
        rank.created_bytes -= _embedding_bytes(rank, size.vocab_size, size.hidden_size)
    stack(rank, size, replace(style, norm_always=True), layer)


def _embedding_bytes(rank: Rank, vocabulary: int, hidden: int) -> int:
    before = rank.created_bytes
    rank.embedding(vocabulary, hidden)
    added = rank.created_bytes - before
    rank.created_bytes = before
    return added
