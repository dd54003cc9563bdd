"""KV connectors (`--kv-transfer-config`): what each holds beside the cache, on the GPU and in host memory, and in which role.

Asked by `arguments`, whether a connector has a rule, and by `overhead`, what it takes. What it does to the planner's groups is in
`resolve.cache_manager`. Follows vllm/distributed/kv_transfer/kv_connector/v1 of 0.9.1 to 0.33.0. Refuses to know the cache's size: a
connector that copies all of it to host memory has no rule.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

_GIB: Final = 1 << 30
_MIB: Final = 1 << 20
_MOST_DEEP: Final = 4
_MOST_BYTES: Final = 1 << 50
_ROLES: Final = ("kv_producer", "kv_consumer", "kv_both")
_LMCACHE_GB: Final = 5  # lmcache/v1/config.py: max_local_cpu_size, GB of each worker
_P2P_POOL_GB: Final = 32  # p2p_nccl_engine.py: DEFAULT_MEM_POOL_SIZE_GB, of each worker
_P2P_BUFFER: Final = 1_000_000_000  # config/kv_transfer.py: kv_buffer_size
_SIMPLE_BYTES: Final = 8 * _GIB  # simple_cpu_offload_connector.py: DEFAULT_CPU_CAPACITY_BYTES, of an engine


class Held(NamedTuple):
    """Bytes beside the cache: on each GPU (a stated reserve), in host memory for each rank, and for each engine whatever its ranks."""

    gpu_bytes: int = 0
    host_bytes_per_rank: int = 0
    host_bytes_per_engine: int = 0


def held_by(config: Mapping[str, Any], depth: int = 0) -> Held | None:
    """What the connector holds; None where there is no rule for it: one from outside vLLM, or one whose size nothing states."""
    name = config.get("kv_connector")
    extra = config.get("kv_connector_extra_config") or {}
    if config.get("kv_connector_module_path") or not isinstance(name, str) or not isinstance(extra, Mapping):
        return None
    if name == "MultiConnector":
        children = extra.get("connectors")
        if not isinstance(children, list | tuple) or not children or depth == _MOST_DEEP:
            return None
        found = [held_by(child, depth + 1) if isinstance(child, Mapping) else None for child in children]
        held = [one for one in found if one is not None]
        return Held(*(sum(column) for column in zip(*held, strict=True))) if len(held) == len(found) else None
    rule = _RULES.get(name)
    return rule(config, extra) if rule is not None else None


def role_of(config: Mapping[str, Any]) -> str | None:
    """Its kv_role; None where it is none of vLLM's (config/kv_transfer.py), which stops the start."""
    role = config.get("kv_role")
    return role if role in _ROLES else None


def of_offloading(size_gib: float, backend: str) -> Mapping[str, Any]:
    """What --kv-offloading-size stands for (config/vllm.py: _post_init_kv_transfer_config); LMCache's server keeps its own memory."""
    if backend == "lmcache":
        return {"kv_connector": "LMCacheMPConnector", "kv_role": "kv_both"}
    size = int(size_gib * _GIB)
    return {"kv_connector": "OffloadingConnector", "kv_role": "kv_both", "kv_connector_extra_config": {"cpu_bytes_to_use": size}}


def _size(value: object, unit: int = 1) -> int | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value * unit <= _MOST_BYTES:
        return None
    return int(value * unit)


def _nixl(config: Mapping[str, Any], extra: Mapping[str, Any]) -> Held | None:
    """Registers the cache itself; staged in host memory it would keep a copy of it (nixl_connector.py: initialize_host_xfer_buffer)."""
    return Held(gpu_bytes=512 * _MIB) if config.get("kv_buffer_device", "cuda") == "cuda" else None


def _offloading(config: Mapping[str, Any], extra: Mapping[str, Any]) -> Held | None:
    """`cpu_bytes_to_use` of an engine, all its ranks together (v1/kv_offload/cpu/spec.py); blocks of older releases state no bytes."""
    size = _size(extra.get("cpu_bytes_to_use"))
    return Held(gpu_bytes=256 * _MIB, host_bytes_per_engine=size) if size and not extra.get("spec_module_path") else None


def _simple(config: Mapping[str, Any], extra: Mapping[str, Any]) -> Held | None:
    of_rank = _size(extra.get("cpu_bytes_to_use_per_rank", 0))
    of_engine = _size(extra.get("cpu_bytes_to_use", _SIMPLE_BYTES))
    if of_rank is None or of_engine is None:
        return None
    if of_rank:
        return Held(gpu_bytes=256 * _MIB, host_bytes_per_rank=of_rank)
    return Held(gpu_bytes=256 * _MIB, host_bytes_per_engine=of_engine)


def _lmcache(config: Mapping[str, Any], extra: Mapping[str, Any]) -> Held | None:
    """Each worker's chunks in pinned memory; staged through a buffer on the GPU."""
    size = _size(extra.get("lmcache.max_local_cpu_size", _LMCACHE_GB), 10**9)
    return Held(gpu_bytes=512 * _MIB, host_bytes_per_rank=size) if size is not None else None


def _p2p(config: Mapping[str, Any], extra: Mapping[str, Any]) -> Held | None:
    """Received blocks on the GPU up to kv_buffer_size, beyond that in a pool of host memory (p2p_nccl_engine.py)."""
    pool = extra.get("mem_pool_size_gb", _P2P_POOL_GB)
    size = _size(float(pool) if isinstance(pool, str) and pool.isdecimal() and len(pool) < 8 else pool, _GIB)
    buffer = _size(config.get("kv_buffer_size", _P2P_BUFFER))
    return Held(gpu_bytes=512 * _MIB + buffer, host_bytes_per_rank=size) if size is not None and buffer is not None else None


def _reserve(mib: int) -> Callable[[Mapping[str, Any], Mapping[str, Any]], Held]:
    return lambda _config, _extra: Held(gpu_bytes=mib * _MIB)


_RULES: Final[Mapping[str, Callable[[Mapping[str, Any], Mapping[str, Any]], Held | None]]] = {
    "NixlConnector": _nixl,
    "NixlPullConnector": _nixl,
    "NixlPushConnector": _nixl,
    "OffloadingConnector": _offloading,
    "SimpleCPUOffloadConnector": _simple,
    "LMCacheConnectorV1": _lmcache,
    "LMCacheMPConnector": _reserve(256),  # the cache is a server's of its own
    "P2pNcclConnector": _p2p,
    "MooncakeConnector": _reserve(512),
    "SharedStorageConnector": _reserve(256),  # files
    "ExampleConnector": _reserve(256),  # the same under its later name
    "DecodeBenchConnector": _reserve(0),
}
KNOWN: Final = tuple(sorted((*_RULES, "MultiConnector")))
"""Connectors with a rule."""
