"""A config.json without what cannot move memory in any vLLM version, so that it fits into an object.

Called by `build`; the shipped catalogue is made with the same list. Dropped: token ids, label maps, training and sampling
settings, file bookkeeping; and of ModelOpt's per-module map the entries that repeat what a layer's first expert says, as vLLM
fuses a layer's experts into one module (layers/quantization/modelopt.py:ModelOptMixedPrecisionConfig). Every dimension and every
other list stays as published.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

DROPPED: Final = frozenset(
    {
        "_name_or_path",
        "auto_map",
        "attention_dropout",
        "attention_probs_dropout_prob",
        "attn_pdrop",
        "bad_words_ids",
        "begin_suppress_tokens",
        "bos_token_id",
        "chunk_size_feed_forward",
        "classifier_dropout",
        "decoder_start_token_id",
        "diversity_penalty",
        "do_sample",
        "dropout",
        "early_stopping",
        "embd_pdrop",
        "embedding_dropout",
        "encoder_no_repeat_ngram_size",
        "eos_token_id",
        "exponential_decay_length_penalty",
        "finetuning_task",
        "forced_bos_token_id",
        "forced_eos_token_id",
        "hidden_dropout",
        "hidden_dropout_prob",
        "id2label",
        "initializer_factor",
        "initializer_range",
        "label2id",
        "length_penalty",
        "min_length",
        "no_repeat_ngram_size",
        "num_beam_groups",
        "num_beams",
        "num_return_sequences",
        "output_attentions",
        "output_hidden_states",
        "output_scores",
        "pad_token_id",
        "prefix",
        "problem_type",
        "pruned_heads",
        "remove_invalid_values",
        "repetition_penalty",
        "resid_pdrop",
        "residual_dropout",
        "return_dict",
        "return_dict_in_generate",
        "router_aux_loss_coef",
        "sep_token_id",
        "suppress_tokens",
        "task_specific_params",
        "temperature",
        "tf_legacy_loss",
        "tokenizer_class",
        "top_p",
        "torchscript",
        "transformers_version",
        "typical_p",
        "use_bfloat16",
        "use_cache",
    }
)
QUANTISATION: Final = frozenset({"quantization_config", "compression_config", "quantization"})
_LATER_EXPERT: Final = re.compile(r"\.experts\.(?!0\.)")
_MAX_DEPTH: Final = 32


def prune(config: Mapping[str, Any], depth: int = 0) -> dict[str, Any]:
    """The config without the dropped keys, at every depth; inside quantisation settings only later experts go."""
    kept: dict[str, Any] = {}
    for key, value in config.items():
        if key in QUANTISATION:
            kept[key] = _quantisation(value)
        elif key not in DROPPED:
            kept[key] = prune(value, depth + 1) if isinstance(value, Mapping) and depth < _MAX_DEPTH else value
    return kept


def _quantisation(settings: Any) -> Any:
    if not isinstance(settings, Mapping):
        return settings
    kept = dict(settings)
    layers = settings.get("quantized_layers")
    if isinstance(layers, Mapping):
        kept["quantized_layers"] = _fused(layers)
    if "quantization" in settings:
        kept["quantization"] = _quantisation(settings["quantization"])
    return kept


def _fused(layers: Mapping[str, Any]) -> dict[str, Any]:
    """Without later experts, and without projections of the first expert that say what an earlier one of it says."""
    kept: dict[str, Any] = {}
    said: dict[str, Any] = {}
    for path, value in layers.items():
        head, found, _ = path.partition(".experts.")
        if _LATER_EXPERT.search(path) or (found and head in said and said[head] == value):
            continue
        if found:
            said[head] = value
        kept[path] = value
    return kept
