"""Encoders that pool: BERT, RoBERTa and ModernBERT. They keep no cache.

`models.register` names it. Knows no quantisation. Sources: vllm/model_executor/models/{bert,roberta,modernbert}.py.
"""

from __future__ import annotations

from plimsoll_estimator.hf_config import HfConfig
from plimsoll_estimator.layers.rank import Rank, positive
from plimsoll_estimator.layers.rope import rope


def bert(rank: Rank) -> None:
    """BertModel and RobertaModel: three embedding tables, int64 position indices, post-norm layers; a head for classifiers."""
    text = rank.text
    hidden, heads = text.int("hidden_size"), positive(text, "num_attention_heads")
    intermediate, positions = text.int("intermediate_size"), text.int("max_position_embeddings")
    rank.embedding(text.int("vocab_size"), hidden)
    rank.embedding(text.int("type_vocab_size", default=2), hidden)
    rank.embedding(positions, hidden)
    rank.tensor(positions, 8)
    rank.norm(hidden, bias=True)

    def layer(i: int) -> None:
        name = f"encoder.layer.{i}"
        rank.qkv(f"{name}.attention.self", hidden, heads, heads, hidden // heads, bias=True, names=("query", "key", "value"))
        rank.row(f"{name}.attention.output", "dense", hidden, hidden, bias=True)
        rank.column(f"{name}.intermediate", ("dense",), hidden, (intermediate,), bias=True)
        rank.row(f"{name}.output", "dense", intermediate, hidden, bias=True)
        rank.norm(hidden, bias=True, count=2)
        rank.attention_scales(f"{name}.attention.self")

    rank.layers(range(positive(text, "num_hidden_layers", limit=4096)), None, layer)
    architecture = rank.resolved.architecture
    if architecture.endswith("ForSequenceClassification"):
        rank.tensor(hidden * hidden + hidden, 4)
        _scores(rank, text, hidden)
    elif architecture.endswith("ForTokenClassification"):
        _scores(rank, text, hidden)
    elif architecture == "BgeM3EmbeddingModel":  # its sparse and its ColBERT head
        rank.tensor(hidden + 1 + hidden * hidden + hidden, 4)


def _scores(rank: Rank, text: HfConfig, hidden: int) -> None:
    """A score per class, in float32 as pooling heads are."""
    labels = text.sub("id2label")
    count = len(labels.as_mapping()) if labels is not None else text.int("num_labels", default=2)
    rank.tensor(count * hidden + count, 4)


def modern_bert(rank: Rank) -> None:
    """ModernBertModel: gated MLPs, a rope table for local and one for global layers."""
    text = rank.text
    hidden, heads = text.int("hidden_size"), positive(text, "num_attention_heads")
    intermediate = text.int("intermediate_size")
    biased = text.bool("norm_bias")
    rank.embedding(text.int("vocab_size"), hidden)
    rank.norm(hidden, bias=biased, count=2)
    every = text.int("global_attn_every_n_layers", default=3)
    positions = text.int("max_position_embeddings", default=8192)

    def layer(i: int) -> None:
        name = f"layers.{i}"
        rank.qkv(f"{name}.attn", hidden, heads, heads, hidden // heads, bias=text.bool("attention_bias"), names=("Wqkv", "Wqkv", "Wqkv"))
        rank.row(f"{name}.attn", "Wo", hidden, hidden, bias=text.bool("attention_bias"))
        rank.column(f"{name}.mlp", ("Wi",), hidden, (2 * intermediate,), bias=text.bool("mlp_bias"))
        rank.row(f"{name}.mlp", "Wo", intermediate, hidden, bias=text.bool("mlp_bias"))
        rank.norm(hidden, bias=biased, count=1 if i == 0 else 2)
        rank.attention_scales(f"{name}.attn")
        local = i % max(every, 1) != 0
        rope(rank, hidden // heads, positions, parameters={"rope_type": "default", "rope_theta": "local" if local else "global"})

    rank.layers(range(positive(text, "num_hidden_layers", limit=4096)), lambda i: (i == 0, i % max(every, 1) != 0), layer)
    architecture = rank.resolved.architecture
    if architecture != "ModernBertModel":
        # The head of sequence classifiers is a pooler in float32; that of token classifiers keeps the model's dtype.
        item = 4 if architecture.endswith("ForSequenceClassification") else None
        rank.tensor(hidden * hidden + (hidden if text.bool("classifier_bias") else 0) + hidden * (2 if biased else 1), item)
        _scores(rank, text, hidden)
