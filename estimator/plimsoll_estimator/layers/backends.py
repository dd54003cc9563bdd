"""Which attention backend vLLM picks on a GPU, and the block size that follows (platforms/cuda.py, attention backends).

Called by `caches` and the model lines. Only what moves block sizes is decided: FLASH_ATTN, FLASHINFER and TRITON_ATTN all take 16-token
blocks, so where the choice among them has no effect it follows the order alone. Whether one reads an fp8 cache is said by `fp8_cache`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from plimsoll_estimator.checks import Check
from plimsoll_estimator.engine_version import EngineVersion
from plimsoll_estimator.errors import EngineRefusal
from plimsoll_estimator.layers.fp8_cache import AskedOfBackend, is_fp8
from plimsoll_estimator.layers.planner_rules import PlannerRules
from plimsoll_estimator.units import dotted

DEFAULT_BLOCK_SIZE: Final = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Backend:
    """A backend by vLLM's name. `block_size` when the user gives none; `kernel_block` is the finest a hybrid rounds to."""

    name: str
    block_size: int = DEFAULT_BLOCK_SIZE
    kernel_block: int = DEFAULT_BLOCK_SIZE


FLASH_ATTN: Final = Backend(name="FLASH_ATTN")
FLASHINFER: Final = Backend(name="FLASHINFER")
TRITON_ATTN: Final = Backend(name="TRITON_ATTN")
FLASH_ATTN_MLA: Final = Backend(name="FLASH_ATTN_MLA")
TRITON_MLA: Final = Backend(name="TRITON_MLA")
FLASHMLA: Final = Backend(name="FLASHMLA", block_size=64, kernel_block=64)
FLASHINFER_MLA: Final = Backend(name="FLASHINFER_MLA", block_size=32, kernel_block=32)
CUTLASS_MLA: Final = Backend(name="CUTLASS_MLA", block_size=128, kernel_block=128)
SPARSE_BLOCK: Final = 64
"""Every sparse MLA backend and the indexer of DeepSeek-V3.2 meet at 64 tokens."""


def is_quantised(kv_cache_dtype: str) -> bool:
    """Whether the cache holds less than the model's own 16 bits."""
    return kv_cache_dtype not in ("auto", "float16", "bfloat16", "half", "float32")


def mla_backend(capability: int, kv_cache_dtype: str, rules: PlannerRules, qk_nope_head_dim: int) -> Backend:
    """The backend of dense multi-head latent attention."""
    major = capability // 10
    if not rules.block_from_backend:
        # The platform forced a block: FlashMLA's wherever it runs, on Blackwell what it preferred then.
        if major == 9:
            return FLASHMLA
        if major == 10 and rules.blackwell_mla_block > DEFAULT_BLOCK_SIZE:
            return (
                Backend(name="FLASHINFER_MLA", block_size=64, kernel_block=32)
                if (qk_nope_head_dim == 128 and rules.blackwell_mla_block == 64)
                else CUTLASS_MLA
            )
        return TRITON_MLA
    if major == 9:
        return FLASHMLA if is_quantised(kv_cache_dtype) else FLASH_ATTN_MLA
    if major == 10:
        return FLASHINFER_MLA if qk_nope_head_dim in (64, 128, 192) else CUTLASS_MLA
    return TRITON_MLA


def named_mla_backend(named: str | None, rules: PlannerRules) -> Backend | None:
    """The backend of dense latent attention that a user names, None where none is. That it runs is asked before (`named_backend`)."""
    if named == "FLASHINFER_MLA" and not rules.block_from_backend:  # platforms/cuda.py: "Forcing kv cache block size to 64"
        return Backend(name=named, block_size=64, kernel_block=32)
    known = (FLASH_ATTN_MLA, TRITON_MLA, FLASHMLA, FLASHINFER_MLA, CUTLASS_MLA)
    return next((backend for backend in known if backend.name == named), None)


def sparse_cache_dtype(kv_cache_dtype: str, rules: PlannerRules) -> str:
    """The dtype that sparse latent attention is asked to keep its cache in."""
    return "fp8_ds_mla" if rules.packs_every_sparse_fp8 and is_fp8(kv_cache_dtype) else kv_cache_dtype


def packs_sparse_fp8(backend: Backend) -> bool:
    """Whether sparse MLA stores fp8 in DeepSeek's packed 656-byte form; FlashInfer's for data-centre Blackwell takes plain fp8."""
    return backend.name != "FLASHINFER_MLA_SPARSE"


def sparse_mla_backend(capability: int, kv_cache_dtype: str, rules: PlannerRules, named: str | None = None) -> Backend:
    """The backend of sparse MLA (DeepSeek-V3.2, GLM-5). Raises EngineRefusal where none exists. That a named one runs is asked before."""
    name = named or _unnamed_sparse_mla_backend(capability, kv_cache_dtype, rules)
    return Backend(name=name, block_size=SPARSE_BLOCK, kernel_block=SPARSE_BLOCK)


def _unnamed_sparse_mla_backend(capability: int, kv_cache_dtype: str, rules: PlannerRules) -> str:
    major = capability // 10
    if major == 9 and is_quantised(kv_cache_dtype) and kv_cache_dtype not in ("fp8", "fp8_ds_mla"):
        message = f"vLLM has no sparse MLA attention backend for a {kv_cache_dtype} cache on Hopper"
        raise EngineRefusal(Check.KV_CACHE_DTYPE_UNSUPPORTED, message)
    if major == 9:
        return "FLASH_ATTN_MLA_SPARSE" if rules.sparse_mla_flash_attn and not is_quantised(kv_cache_dtype) else "FLASHMLA_SPARSE"
    if major == 10:
        return "FLASHINFER_MLA_SPARSE" if is_quantised(kv_cache_dtype) and kv_cache_dtype != "fp8_ds_mla" else "FLASHMLA_SPARSE"
    if major == 12 and rules.sparse_mla_flash_attn:
        return "FLASHINFER_MLA_SPARSE_SM120"
    raise EngineRefusal(Check.NO_ATTENTION_BACKEND, f"vLLM has no sparse MLA attention backend for compute capability {dotted(capability)}")


def attention_backend(asked: AskedOfBackend, rules: PlannerRules) -> Backend:
    """The backend of ordinary attention, as far as blocks follow from it."""
    major = asked.capability // 10
    largest = max(asked.head_sizes, default=0)
    if major < 8:
        return TRITON_ATTN
    if asked.image_prefix and not asked.text_only:
        return _mm_prefix_backend(major, asked.cache_dtype, rules, asked.head_sizes)
    if major == 10 and not asked.sinks and largest in (64, 128, 256):
        return FLASHINFER
    if largest > 256 and not (rules.fa4_large_heads and major == 9):
        return TRITON_ATTN
    if asked.sinks and major < 9:
        return TRITON_ATTN
    return FLASH_ATTN


def takes_flex_attention(block_size: int | None, capability: int, version: EngineVersion) -> bool:
    """Whether blocks of so many tokens make the release take FlexAttention, which alone may have them there.

    Until 0.18 the block has no say in which backend is taken, but 0.11.0 gave FlexAttention every GPU before Ampere; since 0.22 it wants
    multiples of 16 like the others (flex_attention.py: get_supported_kernel_block_sizes). 0.21 was not read and counts as 0.20.
    """
    if block_size is None or block_size % DEFAULT_BLOCK_SIZE == 0:
        return False
    by_capability = version.within(EngineVersion(0, 11), EngineVersion(0, 11, 1)) and capability < 80
    return by_capability or version.within(EngineVersion(0, 18), EngineVersion(0, 22))


def check_block_size(block_size: int | None, asked: AskedOfBackend, version: EngineVersion) -> None:
    """Raises EngineRefusal where no backend of ordinary attention has blocks of the tokens that --block-size asks for.

    get_kv_cache_shape of flash_attn.py and triton_attn.py: "Block size must be a multiple of 16."; flashinfer.py has 16, 32 and 64.
    """
    if block_size is None or block_size % DEFAULT_BLOCK_SIZE == 0:
        return
    others = asked.named not in (None, "FLEX_ATTENTION") or is_fp8(asked.cache_dtype) or asked.sinks
    if takes_flex_attention(block_size, asked.capability, version) and not others:
        return
    words = (
        f"no attention backend of vLLM {version} has blocks of {block_size} tokens here: use a multiple of 16, or leave --block-size out"
    )
    raise EngineRefusal(Check.NO_ATTENTION_BACKEND, words)


def _mm_prefix_backend(major: int, kv_cache_dtype: str, rules: PlannerRules, head_sizes: frozenset[int]) -> Backend:
    if rules.mm_prefix_composite and head_sizes <= {256, 512}:
        if major == 9:
            # The FA4 kernel for fp8 caches with 512-wide heads works on 64-token tiles.
            tile = 64 if is_quantised(kv_cache_dtype) and 512 in head_sizes else DEFAULT_BLOCK_SIZE
            return Backend(name="TRITON_FLASH_ATTN", block_size=tile, kernel_block=tile)
        if major == 10:
            return Backend(name="TRITON_FLASHINFER", block_size=64, kernel_block=64)
    return TRITON_ATTN
