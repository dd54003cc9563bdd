"""Encoders that pool: BERT, RoBERTa and ModernBERT. They keep no cache.

`models.register` names it. Knows no quantisation. Sources: vllm/model_executor/models/{bert,roberta,modernbert}.py.
"""

from __future__ import annotations

from dataclasses import replace

from plimsoll_estimator.hf_config import HfConfig
from plimsoll_estimator.layers.rank import FLOAT32, INT64, Rank
from plimsoll_estimator.layers.rope import rope
from plimsoll_estimator.mixers import Attention, Mlp
from plimsoll_estimator.models import stacks
from plimsoll_estimator.models.record import Model, always
from plimsoll_estimator.models.stacks import dense
from plimsoll_estimator.reader import positive
from plimsoll_estimator.shape import Dimensions, Layer

_LABELS = 2


def bert(rank: Rank) -> None:
    """BertModel and RobertaModel: three embedding tables, int64 position indices, post-norm layers; a head for classifiers."""
    text, size = rank.text, rank.shape.size
    hidden, positions = size.hidden_size, text.int("max_position_embeddings")
    rank.embedding(size.vocab_size, hidden)
    rank.embedding(text.int("type_vocab_size", default=2), hidden)
    rank.embedding(positions, hidden)
    rank.tensor(positions, INT64)
    rank.norm(hidden, bias=True)

    def layer(i: int) -> None:
        name = f"encoder.layer.{i}"
        parent = f"{name}.attention.self"
        rank.qkv(parent, hidden, size.heads, size.heads, size.head_dim, bias=True, names=("query", "key", "value"))
        rank.row(f"{name}.attention.output", "dense", hidden, hidden, bias=True)
        rank.column(f"{name}.intermediate", ("dense",), hidden, (size.intermediate_size,), bias=True)
        rank.row(f"{name}.output", "dense", size.intermediate_size, hidden, bias=True)
        rank.norm(hidden, bias=True, count=2)
        rank.attention_scales(parent)

    rank.layers(range(size.layer_count), None, layer)
    _bert_head(rank, hidden)


def _bert_head(rank: Rank, hidden: int) -> None:
    """Pooling heads, in float32 as those of all encoders are."""
    architecture = rank.shape.architecture
    if architecture.endswith("ForSequenceClassification"):
        rank.whole(hidden, hidden, bias=True, item=FLOAT32)
        _scores(rank, hidden)
    elif architecture.endswith("ForTokenClassification"):
        _scores(rank, hidden)
    elif architecture == "BgeM3EmbeddingModel":  # its sparse and its ColBERT head
        rank.whole(hidden, 1, bias=True, item=FLOAT32)
        rank.whole(hidden, hidden, bias=True, item=FLOAT32)


def _scores(rank: Rank, hidden: int) -> None:
    """A score per class."""
    labels = rank.text.sub("id2label")
    count = len(labels.as_mapping()) if labels is not None else rank.text.int("num_labels", default=_LABELS)
    rank.whole(hidden, count, bias=True, item=FLOAT32)


def modern_bert(rank: Rank) -> None:
    """ModernBertModel: gated MLPs, a rope table for local and one for global layers."""
    text, size, layers = rank.text, rank.shape.size, rank.shape.layers
    hidden, wide = size.hidden_size, size.intermediate_size
    normed, attends, fills = (text.bool(key) for key in ("norm_bias", "attention_bias", "mlp_bias"))
    rank.embedding(size.vocab_size, hidden)
    rank.norm(hidden, bias=normed, count=2)

    def layer(i: int) -> None:
        name, (mixer,) = f"layers.{i}", layers[i].mixers
        assert isinstance(mixer, Attention)
        rank.qkv(f"{name}.attn", hidden, mixer.heads, mixer.kv_heads, mixer.head_dim, bias=attends, names=("Wqkv", "Wqkv", "Wqkv"))
        rank.row(f"{name}.attn", "Wo", hidden, hidden, bias=attends)
        rank.column(f"{name}.mlp", ("Wi",), hidden, (2 * wide,), bias=fills)
        rank.row(f"{name}.mlp", "Wo", wide, hidden, bias=fills)
        rank.norm(hidden, bias=normed, count=1 if i == 0 else 2)
        rank.attention_scales(f"{name}.attn")
        theta = "local" if mixer.seen == "sliding" else "global"
        rope(rank, mixer.head_dim, size.positions, parameters={"rope_type": "default", "rope_theta": theta})

    rank.layers(range(size.layer_count), lambda i: (i == 0, rank.kind(i)), layer)
    _modern_head(rank, hidden, normed)


def _modern_head(rank: Rank, hidden: int, normed: bool) -> None:
    """The head of sequence classifiers is a pooler in float32; that of token classifiers keeps the model's dtype."""
    architecture = rank.shape.architecture
    if architecture == "ModernBertModel":
        return
    item = FLOAT32 if architecture.endswith("ForSequenceClassification") else None
    rank.whole(hidden, hidden, bias=rank.text.bool("classifier_bias"), item=item)
    rank.tensor(hidden * (2 if normed else 1), item)
    _scores(rank, hidden)


def _alternating(text: HfConfig, size: Dimensions) -> tuple[Layer, ...]:
    """ModernBertConfig: the first of every so many layers sees everything, the others half a window to each side."""
    stacks.check_kinds(text)
    every, kinds = positive(text, "global_attn_every_n_layers", default=3), text.list_or_none("layer_types") or ()
    full = stacks.attention(size)
    local = replace(full, seen="sliding", window=positive(text, "local_attention", default=128))
    flags = [kinds[i] == "sliding_attention" if i < len(kinds) else i % every != 0 for i in range(size.layer_count)]
    return stacks.attending([local if flag else full for flag in flags], [Mlp(width=size.intermediate_size)] * len(flags))


MODELS = (
    Model(
        classes=(
            "BertModel", "BertForSequenceClassification", "BertForTokenClassification", "RobertaModel", "RobertaForSequenceClassification",
            "RobertaForTokenClassification", "RobertaForMaskedLM", "XLMRobertaModel", "XLMRobertaForSequenceClassification",
            "XLMRobertaForTokenClassification", "BgeM3EmbeddingModel",
        ),
        model_types=("bert", "roberta", "xlm-roberta"),
        weights=bert,
        layers=dense(windows=False),
        encodes=always,
    ),
    Model(
        classes=("ModernBertModel", "ModernBertForSequenceClassification", "ModernBertForTokenClassification"),
        model_types=("modernbert",),
        weights=modern_bert,
        layers=_alternating,
        encodes=always,
    ),
)  # fmt: skip
