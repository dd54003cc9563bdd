"""Write data/class_defaults.json: what a config class fills in when a file leaves a key out, by model type.

Run by hand when Transformers or a release of vLLM brings new classes:

    python -m tools.extract_class_defaults --vllm DIR_OF_AN_UNPACKED_WHEEL > estimator/plimsoll_estimator/data/class_defaults.json

with Transformers installed (no torch needed). vLLM's own classes (vllm/transformers_utils/configs) win over Transformers' of the same
model type, as its registry has it. A value counts as a default only where it does not follow from others: each class is built again
with other layers, widths and heads, and what moved with them is left out. Values of ropes, tokens and training are not asked for.
Towers are the classes that composite classes build for `vision_config` and `audio_config`: `towers` says which, and what they hold where
a file has none at all; `tower_types` has the defaults of each.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
import types
from pathlib import Path
from typing import Any

KEYS = frozenset({
    "_sliding_window_pattern", "adapter_rank", "add_bias_linear", "alibi", "altup_num_inputs", "attention_bias", "attention_chunk_size",
    "attention_head_dim", "attention_hidden_size", "attention_k_eq_v", "attention_out_bias", "attn_layer_offset", "attn_layer_period",
    "block_auto_adjust_ff_dim", "block_ffn_dim_multiplier", "block_multiple_of", "chunk_size", "conv_L_cache", "conv_bias", "conv_dim",
    "conv_kernel", "d_inner", "d_model", "decoder_attention_heads", "decoder_ffn_dim", "decoder_layers", "decoder_sparse_step",
    "dense_intermediate_size", "dim", "do_layer_norm_before", "embed_dim", "enable_bias", "enable_moe_block", "encoder_attention_heads",
    "encoder_ffn_dim", "encoder_layers", "expand", "expansion_ratio", "expert_ffn_hidden_size", "expert_layer_offset",
    "expert_layer_period", "ffn_dim", "ffn_hidden_size", "first_k_dense_replace", "full_attention_interval", "global_attn_every_n_layers",
    "global_head_dim", "hc_mult", "head_dim", "hidden_size", "hidden_size_per_layer_input", "index_head_dim", "index_n_heads",
    "index_topk", "interleave_moe_layer_step", "intermediate_size", "intermediate_size_mlp", "is_causal", "kv_channels", "kv_lora_rank",
    "laurel_rank", "layer_group_size", "layer_norm_elementwise_affine", "linear_conv_kernel_dim", "linear_head_dim",
    "linear_key_head_dim", "linear_num_heads", "linear_num_key_heads", "linear_num_value_heads", "linear_value_head_dim", "lm_head_bias",
    "mamba_chunk_size", "mamba_conv_bias", "mamba_d_conv", "mamba_d_ssm", "mamba_d_state", "mamba_dt_rank",
    "mamba_expand", "mamba_head_dim", "mamba_headdim", "mamba_n_groups", "mamba_n_heads", "mamba_ngroups", "mamba_num_heads",
    "mamba_proj_bias", "mamba_rms_norm", "max_position_embeddings", "max_source_positions", "max_target_positions", "mlp_bias",
    "moe_intermediate_size", "moe_k", "moe_latent_size", "moe_layer_freq", "moe_layer_interval", "moe_layer_start_index",
    "moe_num_experts", "moe_num_shared_experts", "moe_shared_expert_intermediate_size", "moe_topk", "multi_query",
    "multi_query_attention", "n_ctx", "n_embd", "n_groups", "n_head", "n_heads", "n_inner", "n_layer", "n_layers", "n_mamba_heads",
    "n_positions", "n_routed_experts", "n_shared_experts", "new_decoder_architecture", "no_bias", "no_rope_layer_interval", "norm_bias",
    "num_attention_heads", "num_dense_layers", "num_experts", "num_experts_per_tok", "num_experts_per_token",
    "num_global_key_value_heads", "num_heads", "num_hidden_layers", "num_key_value_heads", "num_kv_heads", "num_kv_shared_layers",
    "num_layers", "num_ln_in_parallel_attn", "num_local_experts", "num_mem_blocks", "num_nextn_predict_layers", "num_shared_experts",
    "o_groups", "o_lora_rank", "parallel_attn", "position_embedding_type", "prefix_dense_intermediate_size", "q_lora_rank",
    "qk_layernorm", "qk_nope_head_dim", "qk_rope_head_dim", "rotary_dim", "share_expert_dim", "shared_expert_intermediate_size",
    "shared_intermediate_size", "sliding_window", "sliding_window_pattern", "sliding_window_size", "ssm_state_size", "state_size",
    "swa_head_dim", "swa_num_key_value_heads", "tie_word_embeddings", "time_step_rank",
    "top_k_experts", "topk_method", "type_vocab_size", "use_bias",
    "use_bidirectional_attention", "use_conv_bias", "use_double_wide_mlp", "use_expert_bias", "use_mem_rope", "use_post_norm",
    "use_qk_norm", "use_qkv_bias", "use_shared_attention_adapter", "use_sliding_window", "v_head_dim", "vocab_size",
    "vocab_size_per_layer_input", "word_embed_proj_dim", "zero_expert_num",
})  # fmt: skip
TOWER_KEYS = frozenset({
    "attention_bias", "attention_heads", "attn_bias", "d_model", "deepstack_visual_indexes", "depth", "downsample_hidden_size", "embed_dim",
    "encoder_attention_heads", "encoder_ffn_dim", "encoder_layers", "head_dim", "heads", "hidden_size", "image_size", "in_channels",
    "in_chans", "init_pos_emb_height", "init_pos_emb_time", "init_pos_emb_width", "intermediate_size", "layers", "linear_bias",
    "ls_init_value", "max_num_tiles", "max_source_positions", "mlp_ratio", "norm_type", "num_attention_heads", "num_channels",
    "num_global_layers", "num_heads", "num_hidden_layers", "num_key_value_heads", "num_mel_bins", "num_patches", "num_position_embeddings",
    "out_hidden_size", "output_dim", "patch_embed_proj_bias", "patch_size", "pos_emb_height", "pos_emb_time", "pos_emb_width",
    "position_embedding_size", "projection_dim", "projector_input_dim", "projector_output_dim", "qkv_bias", "qkv_hidden_size",
    "spatial_merge_size", "standardize", "temporal_patch_size", "use_abs_posemb", "use_absolute_position_embeddings", "use_clipped_linears",
    "use_cls_token", "use_ln_post", "use_ln_pre", "use_mask_token", "use_mean_pooling", "use_qk_norm", "use_rope2d", "vision_output_dim",
    "vt_hidden_size", "vt_intermediate_size", "vt_num_attention_heads", "vt_num_hidden_layers", "width",
})  # fmt: skip
OUTER_KEYS = frozenset({
    "alignment_intermediate_size", "downsample_factor", "downsample_ratio", "multimodal_projector_bias", "projector_bias",
    "projector_hidden_size", "projector_use_layernorm", "scale_factor", "spatial_merge_size", "vision_feature_layer",
})  # fmt: skip
"""What a composite class says itself of what stands between tower and language model."""
TOWERS = ("vision_config", "audio_config")
_OTHERWISE = (
    ("num_hidden_layers", 2.0), ("num_hidden_layers", 3.0), ("hidden_size", 2.0), ("num_attention_heads", 2.0),
    ("num_attention_heads", 0.5), ("num_key_value_heads", 2.0), ("intermediate_size", 2.0), ("head_dim", 2.0),
    ("moe_intermediate_size", 2.0),
)  # fmt: skip


def moved(cls: Any, base: dict[str, Any]) -> set[str]:
    """Keys that follow from layers, widths and heads."""
    spelled = dict(getattr(cls, "attribute_map", None) or {})
    follows: set[str] = set()
    for key, factor in _OTHERWISE:
        name = spelled.get(key, key)
        value = base.get(name)
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            continue
        try:
            other = cls(**{name: int(value * factor)}).to_dict()
        except Exception:  # noqa: BLE001  a class may refuse such a shape: then nothing is learnt from it
            continue
        follows |= {known for known in base if known != name and other.get(known) != base[known]}
    return follows


def defaults(cls: Any) -> dict[str, Any]:
    """The class's own values of KEYS that hold whatever layers, widths and heads a file names."""
    base = cls().to_dict()
    follows = moved(cls, base)
    kept = {key: value for key, value in base.items() if key in KEYS and key not in follows and isinstance(value, bool | int | float | str)}
    kinds = base.get("layer_types")
    if isinstance(kinds, list) and "sliding_attention" not in kinds:
        kept.pop("sliding_window", None)  # the class fills a window in, and gives it to no layer
    if "kv_lora_rank" in kept:
        kept.pop("head_dim", None)  # there Transformers' name for the rotary part
    if cls.model_type == "bailing_hybrid":
        kept.pop("moe_shared_expert_intermediate_size", None)  # of Ling 3's class; that of Ling 2.5 files, of the same type, has none
    return kept


def text_class(cls: Any) -> Any:
    """The class of the language model inside a composite class; the class itself otherwise."""
    return type(cls().get_text_config())


def tower_values(values: dict[str, Any], keys: frozenset[str] = TOWER_KEYS) -> dict[str, Any]:
    """What a tower's configuration says of its size: numbers, words, flags and lists of numbers."""
    plain = bool | int | float | str
    kept = {key: list(value) if isinstance(value, tuple) else value for key, value in values.items() if key in keys}
    return {
        key: value
        for key, value in kept.items()
        if isinstance(value, plain) or (isinstance(value, list) and all(isinstance(part, int) for part in value))
    }


def towers_of(cls: Any, source: str, kinds: dict[str, Any]) -> dict[str, Any]:
    """The towers that a composite class builds, or its thinker: by key, their class, and what they hold where a file has none.

    "outer": the composite class's own defaults of OUTER_KEYS.
    """
    from transformers import AutoConfig, PretrainedConfig

    outer = cls()
    holder = getattr(outer, "thinker_config", None) or outer
    found: dict[str, Any] = {}
    for key in TOWERS:
        tower = getattr(holder, key, None)
        named = type(holder).sub_configs.get(key)
        kind = type(tower) if isinstance(tower, PretrainedConfig) else named
        if kind is None or kind is AutoConfig:
            continue
        if kind.model_type not in kinds:
            base = kind().to_dict()
            follows = moved(kind, base)
            own = {name: value for name, value in tower_values(base).items() if name not in follows}
            kinds[kind.model_type] = {"class": kind.__name__, "from": source, "values": own}
        row: dict[str, Any] = {"type": kind.model_type, "any": named is AutoConfig}
        absent = tower_values(tower.to_dict()) if tower is not None else None
        if absent != tower_values(kind().to_dict()):
            row["absent"] = absent
        found[key] = row
    if found and (own := tower_values(outer.to_dict(), OUTER_KEYS)):
        found["outer"] = own
    return found


def rows_of(model_type: str, cls: Any, types_: dict[str, Any], texts: dict[str, str], source: str) -> None:
    try:
        text = text_class(cls)
        types_[model_type] = {"class": cls.__name__, "from": source, "values": defaults(cls)}
    except Exception as error:  # noqa: BLE001  a class that cannot be built without values has no defaults
        print(f"{model_type}: {type(error).__name__}", file=sys.stderr)
        return
    if text is not cls and text.model_type and text.model_type != model_type:
        texts[model_type] = text.model_type


def vllm_classes(wheel: Path) -> dict[str, Any]:
    """vLLM's own config classes by model type; their modules need Transformers and a logger only."""
    sys.path.insert(0, str(wheel))
    for name in ("vllm", "vllm.transformers_utils", "vllm.transformers_utils.configs"):
        package = types.ModuleType(name)
        package.__path__ = [str(wheel / name.replace(".", "/"))]
        sys.modules[name] = package
    logger = types.ModuleType("vllm.logger")
    silent = dict.fromkeys(("debug", "info", "warning", "info_once", "warning_once"), lambda *words: None)
    vars(logger)["init_logger"] = lambda name: types.SimpleNamespace(**silent)
    sys.modules["vllm.logger"] = logger
    from transformers import PretrainedConfig

    found: dict[str, Any] = {}
    for path in sorted((wheel / "vllm/transformers_utils/configs").glob("*.py")):
        if path.stem == "__init__":
            continue
        module = importlib.import_module(f"vllm.transformers_utils.configs.{path.stem}")
        for cls in vars(module).values():
            if isinstance(cls, type) and issubclass(cls, PretrainedConfig) and cls.__module__ == module.__name__:
                named = str(getattr(cls, "model_type", ""))
                if named:
                    found.setdefault(named, cls)
    found.pop("deepseek_v2", None)  # of the DeepSeek-VL2 wrapper alone
    falcon = found.pop("falcon", None)
    return {**found, **({"RefinedWeb": falcon, "RefinedWebModel": falcon} if falcon else {})}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--vllm", type=Path, required=True)
    parser.add_argument("--release", required=True, help="the release of vLLM that the wheel is of")
    given = parser.parse_args()
    import transformers
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING, CONFIG_MAPPING_NAMES

    transformers.logging.set_verbosity_error()
    own = vllm_classes(given.vllm)
    rows: dict[str, Any] = {}
    towers: dict[str, Any] = {}
    kinds: dict[str, Any] = {}
    texts: dict[str, str] = {}
    for model_type in sorted({*CONFIG_MAPPING_NAMES, *own}):
        mine = model_type in own
        cls, source = (own[model_type], "vllm") if mine else (CONFIG_MAPPING[model_type], "transformers")
        rows_of(model_type, cls, rows, texts, source)
        found = towers_of(cls, source, kinds) if model_type in rows else {}
        if not found and mine and model_type in CONFIG_MAPPING_NAMES:  # vLLM's class leaves the tower a plain mapping
            found = towers_of(CONFIG_MAPPING[model_type], "transformers", kinds)
        if found:
            towers[model_type] = found
    for alias, like in (("kimi_k2", "deepseek_v3"), ("deepseek_v32", "deepseek_v3")):  # vllm/transformers_utils/config.py:_CONFIG_REGISTRY
        rows.setdefault(alias, rows[like])
    languages = {kind: row for kind, row in rows.items() if "vocab_size" in row["values"]}
    print(json.dumps({"transformers": transformers.__version__, "vllm": given.release})[:-1] + ",")
    sections = {"text_types": texts, "towers": towers, "tower_types": kinds, "types": languages}
    written = (
        f'"{name}": {{\n'
        + ",\n".join(f"  {json.dumps(kind)}: {json.dumps(row, sort_keys=True)}" for kind, row in sorted(table.items()))
        + "\n}"
        for name, table in sections.items()
    )
    print(",\n".join(written) + "}")


if __name__ == "__main__":
    main()
