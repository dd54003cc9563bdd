"""The attention backends a release has by name, and what each asks of the GPU and the model: one table by release.

Called by `argument_rules` for names and by `layers.named_backend` for the rest. Read, in the releases that are named below, in
AttentionBackendEnum (v1/attention/backends/registry.py, up to 0.13 attention/backends/registry.py) and in the classes beside it:
supports_compute_capability, supports_head_size, supported_dtypes, is_mla, is_sparse, supports_sink, supports_mm_prefix,
supports_attn_type and supports_combination. Knows no model and picks nothing: which one a release takes by itself is said by `layers`.

A change is known by two releases, the last that was read without it and the first with it. In between it may be there or not, so both
answers are given, and who asks refuses what both refuse.
"""

from __future__ import annotations

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
    name = word.upper()
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
    if names is not None and word.upper() not in names:
        raise InvalidInput(spelling, word, f"does not run what sees images in vLLM {version}: name one of {', '.join(sorted(names))}")


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
