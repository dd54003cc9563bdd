"""Bytes of a token's keys and values by --kv-cache-dtype.

Called by `caches`, `recurrent` and the model lines, with the dtype that resolution settled (a checkpoint's own KV scheme included).
Source: vLLM's cache dtypes and get_kv_quant_mode.
"""

from __future__ import annotations

from typing import Final

from plimsoll_estimator.checks import Check
from plimsoll_estimator.errors import Unsupported
from plimsoll_estimator.units import DTYPE_BYTES

CACHE_DTYPE_BYTES: Final[dict[str, int]] = DTYPE_BYTES | {"fp8": 1, "fp8_e4m3": 1, "fp8_e5m2": 1, "fp8_inc": 1, "int8": 1}
_PER_TOKEN_HEAD_SCALES: Final = 8


def dtype_bytes(dtype: str) -> int:
    """Bytes of one element. Raises Unsupported for a dtype without a plain size."""
    size = CACHE_DTYPE_BYTES.get(dtype)
    if size is None:
        raise Unsupported(Check.KV_CACHE_DTYPE_UNSUPPORTED, f"no rule for the cache dtype {dtype!r}")
    return size


def kv_head_bytes(kv_cache_dtype: str, model_dtype: str, key_dim: int, value_dim: int) -> int:
    """Bytes of one token's key and value of one head."""
    width = key_dim + value_dim
    if kv_cache_dtype == "auto":
        return width * dtype_bytes(model_dtype)
    if kv_cache_dtype in ("nvfp4", "nvfp4_4over6"):
        return width * 9 // 16
    if kv_cache_dtype in ("int8_per_token_head", "fp8_per_token_head"):
        return width + _PER_TOKEN_HEAD_SCALES
    if kv_cache_dtype == "int4_per_token_head":
        return width // 2 + _PER_TOKEN_HEAD_SCALES
    return width * dtype_bytes(kv_cache_dtype)


def mla_token_bytes(kv_cache_dtype: str, model_dtype: str, latent_dim: int, *, sparse: bool) -> int:
    """Bytes of one token's latent. `sparse`: fp8 is packed as 512 values, 16 bytes of scales and 64 rotary values in 16 bits."""
    if kv_cache_dtype == "auto":
        return latent_dim * dtype_bytes(model_dtype)
    if kv_cache_dtype == "nvfp4_ds_mla":
        return 352
    if kv_cache_dtype == "fp8_ds_mla" or (sparse and kv_cache_dtype.startswith("fp8")):
        return 656
    return latent_dim * dtype_bytes(kv_cache_dtype)
