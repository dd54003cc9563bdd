"""Arguments as vLLM would resolve them, and the layout of a config's cache: what tests of the parts below `resolve` begin with."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from plimsoll_estimator.engine_args import EngineArgs
from plimsoll_estimator.engine_version import EngineVersion
from plimsoll_estimator.hf_config import HfConfig
from plimsoll_estimator.kv_cache import KvCacheLayout, kv_cache_layout
from plimsoll_estimator.models.register import shape_of
from plimsoll_estimator.resolved import Gpu, ResolvedArgs
from plimsoll_estimator.units import GIB


def resolved_args(
    *, version: str = "0.33.0", capability: tuple[int, int] = (9, 0), tp: int = 1, pp: int = 1, dcp: int = 1, max_model_len: int = 32768,
    kv_cache_dtype: str = "auto", batched: int = 8192, in_flight: int = 16384, seqs: int = 256, prefix: bool = True,
    dtype: str = "bfloat16", given: EngineArgs | None = None, eager: bool = False, drafts: int = 0, **fields: Any,
) -> ResolvedArgs:  # fmt: skip
    """A card of 80 GiB with vLLM's defaults unless told otherwise; `fields` are those of ResolvedArgs by their own names."""
    usual = ResolvedArgs(
        version=EngineVersion.parse(version), extrapolated=False,
        gpu=Gpu(product="test", total_memory_bytes=80 * GIB, interconnect="nvlink", compute_capability=capability),
        given=given or EngineArgs(), architecture="", dtype=dtype, quantization=None, kv_cache_dtype=kv_cache_dtype,
        tensor_parallel_size=tp, pipeline_parallel_size=pp, data_parallel_size=1, enable_expert_parallel=False,
        decode_context_parallel_size=dcp, max_model_len=max_model_len, max_num_seqs=seqs, max_num_batched_tokens=batched,
        gpu_memory_utilization=0.92, block_size=None, enforce_eager=eager, enable_prefix_caching=prefix, enable_chunked_prefill=True,
        num_speculative_tokens=drafts, runner="generate", uses_v2_model_runner=True, async_scheduling=True,
        max_in_flight_tokens=in_flight, max_cudagraph_capture_size=512,
    )  # fmt: skip
    return replace(usual, **fields)


def layout_of(config: dict[str, Any], **args: Any) -> KvCacheLayout:
    return kv_cache_layout(shape_of(HfConfig(config)), resolved_args(**args))
