"""Whether the attention backend that a release picks reads an fp8 cache: by compute capability, head size and what else is asked of it.

Called by `backends`, and by `resolve.support` for its table. Follows, of each release, CudaPlatform.get_attn_backend_cls and
_get_backend_priorities (platforms/cuda.py), the supports_... methods of FlashInferBackend and TritonAttentionBackend
(v1/attention/backends/flashinfer.py and triton_attn.py), and for latent attention the classes under backends/mla. Knows no model.

Triton's kernels read and write fp8e4nv, which Triton compiles from compute capability 8.9 on; they take fp8_e5m2 for it as well
(triton_reshape_and_cache_flash.py). Until a release looked, such a start got as far as its first kernel: graphs of decode batches are
captured with attention in them (vllm#26431, a 3090 on 0.11.0), and without graphs the first request ends the engine. Both are refused.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Final, Literal

from plimsoll_estimator.attention_backends import flashinfer_floor
from plimsoll_estimator.checks import Check
from plimsoll_estimator.engine_version import EngineVersion
from plimsoll_estimator.errors import EngineRefusal, Unsupported, use
from plimsoll_estimator.releases import Releases
from plimsoll_estimator.units import dotted

NATIVE: Final = 89
"""The compute capability from which Triton compiles fp8e4nv."""
_HALVES: Final = frozenset({"float16", "bfloat16"})
_E4M3: Final = frozenset({"fp8", "fp8_e4m3"})
_FORMATS: Final = _E4M3 | {"fp8_e5m2"}
_FLASH_ATTENTION_HEADS: Final = frozenset({32, 64, 96, 128, 160, 192, 224, 256})
"""Of 0.11.0 (v1/attention/backends/flash_attn.py: get_supported_head_sizes); FlexAttention has the others."""
_BELOW_NATIVE: Final = (None, "FLASHINFER", "TRITON_ATTN")
"""Of the backends that may be named, those that are asked further below 8.9; no other is known to read an fp8 cache there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fp8Rules:
    """Switches of one release. Defaults are those of the oldest known release (0.8)."""

    picks: Literal["elsewhere", "by_capability", "by_list"] = "elsewhere"
    """How the backend of ordinary attention is picked: up to 0.10.2 by what V1 takes (`resolve.engine_core`), in 0.11.0 by the GPU's
    capability alone, since 0.11.1 as the first of a list that takes the cache, the heads and the GPU; FlashInfer precedes Triton in it."""
    flashinfer_least_capability: int = 75
    """Said by `attention_backends`; since 0.24.0 8.0, by which Turing lost its fp8 cache (vllm#47549, PR 47949)."""
    flashinfer_heads: frozenset[int] = frozenset({64, 128, 256})
    """FlashInferBackend.get_supported_head_sizes. 512 is in it since 0.22.0, but the model that has such heads, Gemma 4, gets Triton
    for all of its layers until 0.23.0 (models/config.py: Gemma4Config)."""
    asks_image_prefix: bool = False
    """Image tokens that attend to one another are asked of the backend (AttentionBackend.supports_mm_prefix); FlashInfer has not them."""
    text_needs_no_prefix: bool = False
    """Where prompts may hold text alone, they are not asked of it (config/model.py: _supports_multimodal_for_mm_prefix)."""
    triton_looks: bool = False
    """TritonAttentionImpl refuses the cache itself."""
    latent: frozenset[str] = frozenset()
    """Backends of latent attention that read it."""
    flash_attention_formats: Literal["any", "stops", "unknown", "listed"] = "any"
    """What FlashAttention does with an fp8 format that is not e4m3: take it, take it and stop at its first kernel ("Unrecognized FP8
    dtype", flash_attn.py: get_fp8_dtype_for_flashattn), or leave it to another backend from the start."""
    flash_attention_majors: frozenset[int] = frozenset({9})
    """Where FlashAttention reads it (fa_utils.py: flash_attn_supports_fp8, later flash_attn_supports_kv_cache_dtype)."""
    flash_attention_versions: frozenset[tuple[int, int]] = frozenset({(9, 3)})
    """By which of its own versions, after the GPU's major."""
    triton_mla_looks: bool = False
    """TritonMLAImpl refuses the cache itself below 8.9."""


_RELEASES: Final = Releases(
    Fp8Rules(),
    (EngineVersion(0, 10, 1), {"flash_attention_formats": "stops"}),
    (EngineVersion(0, 10, 2), {"latent": frozenset({"FLASHMLA", "CUTLASS_MLA"})}),
    (EngineVersion(0, 11), {"picks": "by_capability", "latent": frozenset({"FLASHMLA", "CUTLASS_MLA", "FLASHINFER_MLA"})}),
    (EngineVersion(0, 11, 1), {"picks": "by_list"}),
    (EngineVersion(0, 13), {"asks_image_prefix": True}),
    (EngineVersion(0, 18), {"latent": frozenset({"FLASHMLA", "CUTLASS_MLA", "FLASHINFER_MLA", "TRITON_MLA"})}),
    (EngineVersion(0, 20, 1), {"flash_attention_formats": "unknown"}),  # 0.20.0 stops, 0.22.0 leaves it; nobody read one between
    (EngineVersion(0, 22), {"flash_attention_formats": "listed"}),
    (EngineVersion(0, 24), {"flashinfer_heads": frozenset({64, 128, 256, 512}), "triton_looks": True}),
    (EngineVersion(0, 26), {"triton_mla_looks": True}),
    (
        EngineVersion(0, 27),
        {
            "text_needs_no_prefix": True,
            "flash_attention_majors": frozenset({9, 10}),
            "flash_attention_versions": frozenset({(9, 3), (10, 4)}),
        },
    ),
    (EngineVersion(0, 31), {"flash_attention_versions": frozenset({(9, 3), (9, 4), (10, 4)})}),
)
"""Read in one release of every minor from 0.9 to 0.32 and in 0.11.0, 0.11.1 and 0.11.2; that 0.23.0 is as 0.22.0 in this, and the
first without it 0.24.0, is said by vllm#47549."""


@lru_cache(maxsize=64)
def fp8_rules(version: EngineVersion) -> Fp8Rules:
    """The switches of `version`."""
    return replace(_RELEASES.of(version), flashinfer_least_capability=flashinfer_floor(version))


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedOfBackend:
    """What the layers of ordinary attention ask of their backend.

    `capability` as 89 for 8.9; `dtype` of the activations; `image_prefix`: image tokens attend to one another; `sinks`: gpt-oss';
    `crosses`: the decoder attends to an encoder; `named`: --attention-backend; `flash_version`: that of FlashAttention, where it is named
    as the backend and a version is asked for that the GPU does not exchange; `flashinfer`: whether it is installed.
    """

    capability: int
    cache_dtype: str
    dtype: str
    head_sizes: frozenset[int]
    image_prefix: bool = False
    text_only: bool = False
    sinks: bool = False
    crosses: bool = False
    named: str | None = None
    flash_version: int | None = None
    flashinfer: bool = True


def is_fp8(cache_dtype: str) -> bool:
    """Whether it is one of the 8-bit floats, by any spelling."""
    return cache_dtype.startswith("fp8")


def sees_image_prefix(asked: AskedOfBackend, rules: Fp8Rules) -> bool:
    """Whether the release asks of the backend that image tokens attend to one another."""
    return asked.image_prefix and rules.asks_image_prefix and not (asked.text_only and rules.text_needs_no_prefix)


def heads_read(capability: int, rules: Fp8Rules) -> frozenset[int] | None:
    """The head sizes whose fp8 cache is read on a GPU where nothing else is asked of the backend: None for all of them."""
    if rules.picks == "by_capability":
        if capability == 90:
            return _FLASH_ATTENTION_HEADS
        return None if capability >= NATIVE else frozenset()
    if rules.picks == "elsewhere" or capability >= NATIVE:
        return None
    return rules.flashinfer_heads if capability >= rules.flashinfer_least_capability else frozenset()


def check_fp8_cache(asked: AskedOfBackend, rules: Fp8Rules) -> None:
    """Raises EngineRefusal(KvCacheDtypeUnsupported) where ordinary attention does not read the fp8 cache that is asked for."""
    if not is_fp8(asked.cache_dtype) or rules.picks == "elsewhere":
        return
    if rules.picks == "by_list":
        _check_listed(asked, rules)
    elif asked.capability < 80 or (asked.capability == 90 and not (asked.dtype in _HALVES and asked.head_sizes <= _FLASH_ATTENTION_HEADS)):
        raise _refusal(f"FlexAttention, which vLLM takes here, does not hold a {asked.cache_dtype} cache")
    elif asked.capability < NATIVE:
        raise _triton("Triton attention", asked.capability, asked.cache_dtype, looks=False)


def check_fp8_format(taken: str, asked: AskedOfBackend, rules: Fp8Rules) -> None:
    """Raises EngineRefusal where the backend that is taken, or each in the list, has no rule of this one of the fp8 formats."""
    if asked.cache_dtype not in ("fp8_e5m2", "fp8_inc"):
        return
    flash_attention = asked.named == "FLASH_ATTN" or (asked.named is None and taken == "FLASH_ATTN" and asked.capability // 10 == 9)
    if flash_attention and rules.flash_attention_formats == "stops":
        raise _refusal(
            f"FlashAttention, which vLLM takes here, does not read a cache of {asked.cache_dtype} (Unrecognized FP8 dtype): the start "
            "fails while graphs are captured, and without graphs every request does"
        )
    if asked.cache_dtype == "fp8_inc" and rules.picks == "by_list":
        raise _refusal("no attention backend of this release reads an fp8_inc cache on NVIDIA's GPUs")
    if asked.named == "FLASH_ATTN" and rules.flash_attention_formats == "listed":
        raise _refusal(f"the attention backend FLASH_ATTN does not take the {asked.cache_dtype} cache")
    if flash_attention and rules.flash_attention_formats == "unknown":
        raise Unsupported(
            Check.KV_CACHE_DTYPE_UNSUPPORTED,
            f"it is not known whether FlashAttention or another backend gets a cache of {asked.cache_dtype} in this release",
            (use("kv_cache_dtype", "fp8_e4m3"),),
        )


def _check_listed(asked: AskedOfBackend, rules: Fp8Rules) -> None:
    below = asked.capability < NATIVE
    flashinfer = _flashinfer_lacks(asked, rules) if below else ""
    why = ""
    if asked.named in ("FLEX_ATTENTION", "TREE_ATTN"):
        why = "it holds none"
    elif asked.named == "FLASH_ATTN" and asked.capability // 10 not in rules.flash_attention_majors:
        cards = " and ".join(f"{major}.x" for major in sorted(rules.flash_attention_majors))
        why = f"it holds one on GPUs of compute capability {cards} only"
    elif asked.flash_version is not None and (asked.capability // 10, asked.flash_version) not in rules.flash_attention_versions:
        why = f"version {asked.flash_version} of FlashAttention, which is asked for, holds none"
    elif below and asked.named not in _BELOW_NATIVE:
        why = "it is not known to read one below compute capability 8.9"
    elif asked.named == "FLASHINFER":
        why = flashinfer
    if why:
        raise _refusal(f"the attention backend {asked.named} does not take the {asked.cache_dtype} cache: {why}")
    if not below:
        return
    if asked.named == "TRITON_ATTN" or flashinfer:
        why = "" if asked.named == "TRITON_ATTN" else f", which is taken for want of FlashInfer ({flashinfer})"
        raise _triton("Triton attention", asked.capability, asked.cache_dtype, looks=rules.triton_looks, why=why)


def _flashinfer_lacks(asked: AskedOfBackend, rules: Fp8Rules) -> str:
    """Why FlashInfer does not take the layers, empty where it does."""
    least = rules.flashinfer_least_capability
    others = sorted(asked.head_sizes - rules.flashinfer_heads)
    reasons = (
        (not asked.flashinfer, "it is not installed"),
        (asked.capability < least, f"it needs compute capability {dotted(least)}"),
        (bool(others), f"it has no heads of {' and '.join(map(str, others))}"),
        (asked.dtype not in _HALVES, f"it does not compute in {asked.dtype}"),
        (asked.cache_dtype not in _FORMATS, f"it has no {asked.cache_dtype}"),
        (asked.sinks, "it has no attention sinks on this GPU"),
        (sees_image_prefix(asked, rules), "it does not let image tokens attend to one another"),
        (asked.crosses, "it does not attend to an encoder"),
    )
    return next((why for holds, why in reasons if holds), "")


def check_latent_fp8_cache(backend: str, capability: int, cache_dtype: str, rules: Fp8Rules) -> None:
    """Raises EngineRefusal(KvCacheDtypeUnsupported) where this backend of dense latent attention does not read an fp8 cache."""
    if not is_fp8(cache_dtype):
        return
    if backend not in rules.latent or (rules.picks == "by_list" and cache_dtype not in _E4M3):
        raise _refusal(f"the attention backend {backend}, which vLLM takes here, holds no {cache_dtype} cache yet")
    if backend == "TRITON_MLA" and capability < NATIVE:
        raise _triton("Triton MLA", capability, cache_dtype, looks=rules.triton_mla_looks)


def _triton(backend: str, capability: int, cache_dtype: str, *, looks: bool, why: str = "") -> EngineRefusal:
    """Triton's refusal where it looks, else what comes of it; `why` the release takes it, where that is not plain."""
    on = f"compute capability {dotted(capability)}"
    if looks:
        return _refusal(f"a {cache_dtype} cache is not supported by the {backend} backend on {on}{why}")
    return _refusal(
        f"a {cache_dtype} cache is not supported by the kernels of the {backend} backend on {on}{why}: the start fails while graphs are "
        "captured, and without graphs every request does"
    )


def _refusal(message: str) -> EngineRefusal:
    return EngineRefusal(Check.KV_CACHE_DTYPE_UNSUPPORTED, message, (use("kv_cache_dtype", "auto"),))
