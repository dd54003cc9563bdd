"""The attention backends a release has by name, and what each asks of the GPU and the model: one table by release.

Called by `argument_rules` for names and by `layers.named_backend` for the rest. Read, in the releases that are named below, in
AttentionBackendEnum (v1/attention/backends/registry.py, up to 0.13 attention/backends/registry.py) and in the classes beside it:
supports_compute_capability, supports_head_size, supported_dtypes, is_mla, is_sparse, supports_sink, supports_mm_prefix,
supports_attn_type and supports_combination. Knows no model and picks nothing: which one a release takes by itself is said by `layers`.

A change is known by two releases, the last that was read without it and the first with it. In between it may be there or not, so both
answers are given, and who asks refuses what both refuse.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any, Final

from plimsoll_estimator.engine_version import NEWEST_KNOWN, EngineVersion
from plimsoll_estimator.errors import InvalidInput

_FIRST: Final = (
    "CPU_ATTN CUSTOM CUTLASS_MLA FLASHINFER FLASHINFER_MLA FLASHMLA FLASHMLA_SPARSE FLASH_ATTN FLASH_ATTN_MLA "
    "FLEX_ATTENTION IPEX NO_ATTENTION PALLAS ROCM_AITER_FA ROCM_AITER_MLA ROCM_AITER_UNIFIED_ATTN ROCM_ATTN TORCH_SDPA "
    "TREE_ATTN TRITON_ATTN TRITON_MLA XFORMERS "
)
_CHANGES: Final = (
    (EngineVersion(0, 11, 3), EngineVersion(0, 12, 0), "ROCM_AITER_MLA_SPARSE ROCM_AITER_TRITON_MLA", "XFORMERS"),
    (EngineVersion(0, 13, 1), EngineVersion(0, 14, 1), "FLASH_ATTN_DIFFKV", "PALLAS"),
    (EngineVersion(0, 15, 1), EngineVersion(0, 16, 0), "", "IPEX"),
    (EngineVersion(0, 16, 1), EngineVersion(0, 17, 1), "FLASHINFER_MLA_SPARSE", ""),
    (EngineVersion(0, 17, 2), EngineVersion(0, 18, 0), "XPU_MLA_SPARSE", ""),
    (EngineVersion(0, 19, 2), EngineVersion(0, 20, 0), "TURBOQUANT", ""),
    (EngineVersion(0, 20, 1), EngineVersion(0, 22, 0), "TOKENSPEED_MLA", "TREE_ATTN"),
    (
        EngineVersion(0, 22, 1),
        EngineVersion(0, 25, 1),
        "FLASHINFER_MLA_SPARSE_DSV4 FLASHINFER_MLA_SPARSE_SM120 FLASHMLA_SPARSE_DSV4 FLASH_ATTN_MLA_SPARSE "
        "HPC_ATTN MINIMAX_M3_SPARSE ROCM_FLASHMLA_SPARSE_DSV4 TRITON_ATTN_DIFFKV",
        "",
    ),
    (EngineVersion(0, 26, 1), EngineVersion(0, 27, 0), "CUTLASS_MSA TRITON_MSA", ""),
    (EngineVersion(0, 27, 1), EngineVersion(0, 28, 0), "CPU_MLA", ""),
    (EngineVersion(0, 28, 1), EngineVersion(0, 29, 0), "AMX_MLA", ""),
    (
        EngineVersion(0, 29, 1),
        EngineVersion(0, 30, 0),
        "B12X FLASHINFER_MLA_SPARSE_DSV41 FLASHINFER_MLA_SPARSE_SM90 FLASHMLA_SPARSE_DSV41 TRITON_FLASHINFER TRITON_FLASH_ATTN",
        "",
    ),
    (EngineVersion(0, 30, 1), EngineVersion(0, 31, 0), "FLASHMLA_MEGA_ATTN_DSV41", ""),
    (EngineVersion(0, 31, 1), EngineVersion(0, 32, 0), "ROCM_SEGMENTED_ATTN ULTRAQUANT", ""),
    (EngineVersion(0, 32, 1), EngineVersion(0, 33, 0), "FLASH_ATTN_MLA_SPARSE_FA4 ROCM_FLASHMLA_SPARSE_DSV41 ROCM_OCTAVE STEP5_DSA", ""),
)
"""From when it may be, from when it is known to be; names that came, names that went."""
NAMES_VALIDATED: Final = EngineVersion(0, 11, 1)
"""From here on a backend is asked what it takes before it is taken (AttentionBackend.validate_configuration)."""
_ORDINARY: Final = "FLASH_ATTN, FLASHINFER, TRITON_ATTN or FLEX_ATTENTION"
_HALVES: Final = frozenset({"float16", "bfloat16"})
_WITH_FLOAT32: Final = _HALVES | {"float32"}


@lru_cache(maxsize=64)
def _names(version: EngineVersion) -> tuple[frozenset[str], frozenset[str]]:
    """The names a release is known to have, and those that it may have."""
    known = possible = frozenset("".join(_FIRST).split())
    for maybe, since, came, went in _CHANGES:
        if version >= since:
            known = possible = (known | set(came.split())) - set(went.split())
        elif version >= maybe:
            known, possible = known - set(went.split()), possible | set(came.split())
    return known, possible


def check_name(spelling: str, word: str, version: EngineVersion) -> None:
    """Raises InvalidInput where the release has no backend of this name: "Unknown attention backend". Capitals do not matter."""
    known, possible = _names(version)
    name = word.strip().upper()
    if name in possible:
        if name not in known:
            raise InvalidInput(spelling, word, f"is not known to be an attention backend of vLLM {version} yet: name {_ORDINARY}")
        return
    if version > NEWEST_KNOWN:
        raise InvalidInput(spelling, word, f"is not known to be an attention backend of vLLM {version}: name {_ORDINARY}")
    raise InvalidInput(spelling, word, f"is no attention backend of vLLM {version}: name {_ORDINARY}, or leave the argument out")


_OF_IMAGES: Final = (
    (EngineVersion(0, 13), EngineVersion(0, 17), frozenset({"FLASH_ATTN", "TORCH_SDPA"})),
    (EngineVersion(0, 17), None, frozenset({"FLASH_ATTN", "TORCH_SDPA", "TRITON_ATTN", "FLASHINFER"})),
)
"""platforms/cuda.py: get_supported_vit_attn_backends, read in one release of each minor from 0.13 to 0.19, in 0.25.1 and in 0.32.0."""


def check_images_name(spelling: str, word: str, version: EngineVersion) -> None:
    """Raises InvalidInput where the release does not run what sees images by a backend of this name."""
    check_name(spelling, word, version)
    names = next((names for since, before, names in _OF_IMAGES if version.within(since, before)), None)
    if names is not None and word.strip().upper() not in names:
        raise InvalidInput(spelling, word, f"does not run what sees images in vLLM {version}: name one of {', '.join(sorted(names))}")


_FROM_THE_START: Final = EngineVersion(0, 13)
_KEYS: Final = (
    # from when a key of --attention-config may be there, from when it is gone; the keys
    (_FROM_THE_START, None, "backend disable_flashinfer_q_quantization flash_attn_max_num_splits_for_cuda_graph flash_attn_version"),
    (_FROM_THE_START, None, "use_trtllm_attention"),
    (_FROM_THE_START, EngineVersion(0, 22), "disable_flashinfer_prefill use_cudnn_prefill use_trtllm_ragged_deepseek_prefill"),
    (_FROM_THE_START, EngineVersion(0, 29), "use_prefill_decode_attention"),
    (EngineVersion(0, 16, 1), None, "use_prefill_query_quantization"),
    (EngineVersion(0, 19, 2), None, "tq_max_kv_splits_for_cuda_graph"),
    (EngineVersion(0, 19, 2), EngineVersion(0, 30), "use_fp4_indexer_cache"),
    (EngineVersion(0, 20, 1), None, "flex_attn_block_m flex_attn_block_n flex_attn_kv_block_size flex_attn_q_block_size"),
    (EngineVersion(0, 20, 1), None, "mla_prefill_backend use_non_causal"),
    (EngineVersion(0, 22, 1), None, "indexer_kv_dtype"),
    (EngineVersion(0, 25, 2), None, "backend_per_kind sparse_mla_force_mqa"),
    (EngineVersion(0, 26, 1), None, "minimax_m3_msa_decode_backend"),
    (EngineVersion(0, 29, 1), None, "hisparse_config"),
    (EngineVersion(0, 30, 1), None, "indexer_sparse_logits"),
    (EngineVersion(0, 31, 1), None, "sparse_mla_prefill_workspace_factor tokenspeed_mla_min_split_kv"),
    (EngineVersion(0, 32, 1), None, "indexer_tp_shard_min_rows minimax_m3_indexer_cp trtllm_ragged_backend"),
)
"""config/attention.py: AttentionConfig, read in one release of each minor from 0.13 to 0.33 but 0.15, 0.21, 0.23 and 0.24."""
_KEYS_HELD: Final = EngineVersion(0, 16)
"""Before, a key that nobody knows is passed over (called in 0.14.1); from here on it ends the start (config/utils.py: extra="forbid")."""
_FOURTH: Final = EngineVersion(0, 17)
_SWITCHES: Final = frozenset(
    {
        "disable_flashinfer_prefill", "disable_flashinfer_q_quantization", "indexer_sparse_logits", "sparse_mla_force_mqa",
        "use_cudnn_prefill", "use_non_causal", "use_prefill_decode_attention", "use_prefill_query_quantization",
        "use_trtllm_ragged_deepseek_prefill",
    }
)  # fmt: skip
_OPEN_SWITCHES: Final = frozenset({"use_trtllm_attention"})
"""Which may be null, too: then the release chooses."""
_SWITCH_WORDS: Final = frozenset({"true", "false", "t", "f", "yes", "no", "y", "n", "on", "off", "1", "0"})
"""What is a switch to pydantic, in any case, beside JSON's true, false, 1 and 0 (called in 0.14.1, 0.19.1 and 0.32.0)."""


def check_configuration(spelling: str, config: object, version: EngineVersion) -> None:
    """Raises InvalidInput for what AttentionConfig refuses of the value of --attention-config, and for a key that has no rule here."""
    if not isinstance(config, Mapping):
        raise InvalidInput(spelling, str(config), "must be a JSON object")
    known = {name for since, before, names in _KEYS if version.within(since, before) for name in names.split()}
    unknown = next((str(name) for name in config if name not in known), None)
    if unknown is not None and version >= _KEYS_HELD:
        raise InvalidInput(spelling, unknown, f"is no key of --attention-config in vLLM {version}: leave it out")
    if "backend_per_kind" in known & config.keys():
        limit = "has no rule yet: name one backend for all layers by --attention-backend, or leave it out"
        raise InvalidInput(spelling, "backend_per_kind", limit)
    fourth = (2, 3, 4) if version >= _FOURTH else (2, 3)
    if config.get("flash_attn_version") not in (None, *fourth):
        raise InvalidInput(spelling, str(config["flash_attn_version"]), f"is no flash_attn_version of vLLM {version}: use one of {fourth}")
    for name in (_SWITCHES | _OPEN_SWITCHES) & known & config.keys():
        if not _is_switch(config[name]) and not (name in _OPEN_SWITCHES and config[name] is None):
            raise InvalidInput(spelling, str(config[name]), f"must be true or false for {name}")


def _is_switch(value: object) -> bool:
    return value in (0, 1) if isinstance(value, int | float) else isinstance(value, str) and value.lower() in _SWITCH_WORDS


@dataclass(frozen=True, slots=True, kw_only=True)
class BackendRule:
    """What one backend takes. Compute capabilities as 89 for 8.9, majors as 8."""

    least: int = 0
    most: int = 999
    majors: frozenset[int] | None = None
    """The only ones, None for all of them."""
    dtypes: frozenset[str] = _HALVES
    heads: frozenset[int] | None = None
    """The only head sizes; for latent attention that of the vector it keeps. None for all of them."""
    least_head: int = 1
    most_head: int = 1 << 20
    head_step: int = 1
    large_head_majors: frozenset[int] = frozenset()
    """Where heads of up to 512 are taken beside those (FlashAttention 4, by supported majors)."""
    latent: bool = False
    sparse: bool = False
    nope_dims: frozenset[int] | None = None
    """The only qk_nope_head_dim of a latent model."""
    sinks: frozenset[int] = frozenset()
    """The majors on which it takes attention sinks."""
    sink_versions: frozenset[int] = frozenset()
    """FlashAttention's own versions that have them (fa_utils.py: flash_attn_supports_sinks)."""
    image_prefix: bool = False
    """Lets image tokens attend to one another."""
    large_prefix_majors: frozenset[int] = frozenset()
    """The majors on which it does so in heads of more than 256 alone (FlashAttention 4 where nothing else has such heads)."""
    cache_dtypes: frozenset[str] | None = None
    """Of sparse latent attention: the 8-bit floats in which it keeps the cache, None for all of them."""
    crosses: bool = False
    encodes: bool = True
    """Runs models that attend both ways."""


_ANY: Final = frozenset(range(100))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kept:
    """One backend's rule in the oldest release that names one (0.13), and its changes as in _CHANGES."""

    rule: BackendRule
    changes: tuple[tuple[EngineVersion, EngineVersion, dict[str, Any]], ...] = field(default=())


def _latent(*majors: int, **more: Any) -> BackendRule:
    return BackendRule(majors=frozenset(majors) or None, latent=True, encodes=False, **{"heads": frozenset({576}), **more})


_RULES: Final = {
    "FLASH_ATTN": _Kept(
        rule=BackendRule(least=80, head_step=8, most_head=256, sinks=frozenset({9}), sink_versions=frozenset({3}), crosses=True),
        changes=(
            (
                EngineVersion(0, 19, 2),
                EngineVersion(0, 20),
                {"sinks": frozenset({9, 10}), "sink_versions": frozenset({3, 4}), "large_head_majors": frozenset({9, 10, 11})},
            ),
            (EngineVersion(0, 22, 1), EngineVersion(0, 25, 1), {"large_prefix_majors": frozenset({9})}),
        ),
    ),
    "FLASHINFER": _Kept(
        rule=BackendRule(least=75, most=121, heads=frozenset({64, 128, 256}), sinks=frozenset({10}), encodes=False),
        changes=(
            (EngineVersion(0, 20, 1), EngineVersion(0, 22), {"heads": frozenset({64, 128, 256, 512})}),
            (EngineVersion(0, 24), EngineVersion(0, 24), {"least": 80}),  # vllm#47549
            (EngineVersion(0, 27, 1), EngineVersion(0, 28), {"sinks": frozenset({10, 12})}),
            (EngineVersion(0, 29, 1), EngineVersion(0, 30), {"sinks": frozenset({9, 10, 12})}),
        ),
    ),
    "TRITON_ATTN": _Kept(
        rule=BackendRule(dtypes=_WITH_FLOAT32, least_head=32, sinks=_ANY, image_prefix=True, encodes=False),
        changes=((EngineVersion(0, 13, 1), EngineVersion(0, 14, 1), {"crosses": True, "encodes": True}),),
    ),
    "FLEX_ATTENTION": _Kept(rule=BackendRule(dtypes=_WITH_FLOAT32, image_prefix=True)),
    "TREE_ATTN": _Kept(rule=BackendRule(heads=frozenset({32, 64, 96, 128, 160, 192, 224, 256}), encodes=False)),
    "FLASH_ATTN_MLA": _Kept(rule=_latent(9)),
    # ops/flashmla.py: is_flashmla_dense_supported, "FlashMLA Dense is only supported on Hopper devices."
    "FLASHMLA": _Kept(rule=_latent(9)),
    "CUTLASS_MLA": _Kept(rule=_latent(10)),
    "TRITON_MLA": _Kept(rule=_latent(), changes=((EngineVersion(0, 17, 2), EngineVersion(0, 18), {"heads": None}),)),
    "FLASHINFER_MLA": _Kept(
        rule=_latent(10),
        changes=(
            (EngineVersion(0, 14, 2), EngineVersion(0, 15), {"nope_dims": frozenset({128})}),
            (EngineVersion(0, 17, 2), EngineVersion(0, 18), {"nope_dims": frozenset({64, 128})}),
            (EngineVersion(0, 18, 1), EngineVersion(0, 19, 1), {"nope_dims": frozenset({64, 128, 192})}),
        ),
    ),
    "FLASHMLA_SPARSE": _Kept(
        rule=_latent(9, 10, sparse=True, dtypes=frozenset({"bfloat16"}), cache_dtypes=frozenset({"fp8", "fp8_ds_mla"})),
        changes=(
            (EngineVersion(0, 19, 2), EngineVersion(0, 20), {"heads": frozenset({512, 576})}),
            (EngineVersion(0, 20, 1), EngineVersion(0, 22), {"heads": frozenset({576})}),
            (EngineVersion(0, 30, 1), EngineVersion(0, 31), {"heads": frozenset({512, 576})}),
        ),
    ),
    "FLASHINFER_MLA_SPARSE": _Kept(
        rule=_latent(10, sparse=True, nope_dims=frozenset({128}), cache_dtypes=frozenset({"fp8", "fp8_e4m3"})),
        changes=(
            (EngineVersion(0, 18, 1), EngineVersion(0, 19, 1), {"nope_dims": frozenset({128, 192})}),
            (EngineVersion(0, 29, 1), EngineVersion(0, 30), {"nope_dims": frozenset({128, 192, 256}), "heads": None}),
        ),
    ),
    "FLASH_ATTN_MLA_SPARSE": _Kept(rule=_latent(9, sparse=True, heads=None, cache_dtypes=frozenset())),
}
"""Backends of NVIDIA's GPUs for every kind of model. Others are made for one model or one kind of cache, or for other hardware, and
have no rule here."""


@lru_cache(maxsize=256)
def backend_rules(name: str, version: EngineVersion) -> tuple[BackendRule, ...]:
    """What the backend takes in a release: one rule, two where the release lies between two that were read, none that is known."""
    kept = _RULES.get(name)
    if kept is None:
        return ()
    older = newer = kept.rule
    for maybe, since, change in kept.changes:
        if version >= maybe:
            newer = replace(newer, **change)
        if version >= since:
            older = newer
    return (older,) if older == newer else (older, newer)


def flashinfer_floor(version: EngineVersion) -> int:
    """The lowest compute capability that FlashInfer is taken on, for attention and for sampling alike."""
    return max(rule.least for rule in backend_rules("FLASHINFER", version))
