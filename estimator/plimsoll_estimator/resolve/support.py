"""What one release of vLLM can do on one GPU, before any model is looked at: kernels, dtypes, fp8 caches, quantisation methods.

Asked by `plimsoll gpus --engine-version` and by the page docs/releases-and-gpus.md. Each answer is that of the check that a start meets.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from plimsoll_estimator.checks import Check
from plimsoll_estimator.engine_args import EngineArgs
from plimsoll_estimator.engine_version import NEWEST_KNOWN, OLDEST_KNOWN, EngineVersion
from plimsoll_estimator.errors import Unsupported
from plimsoll_estimator.layers.fp8_cache import fp8_rules, heads_read
from plimsoll_estimator.resolve.dtypes import dtype_rules, gpu_dtypes
from plimsoll_estimator.resolve.engine_core import Start, check_core
from plimsoll_estimator.resolve.kernels import kernels_for, machine_of
from plimsoll_estimator.resolve.methods import methods_of
from plimsoll_estimator.resolved import Gpu

SUPPORT_SOURCES: Final = (
    "kernels: the binaries of the published wheels and of the PyTorch they require; dtypes: _get_and_verify_dtype and supported_dtypes; "
    "fp8 cache: _is_v1_supported_oracle and the attention backends; methods: get_min_capability of each class"
)
"""Where the columns come from, in vLLM's own names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Support:
    """One line of the table. `kernels` is yes, no or not known; `fp8_cache` yes, no, of which heads, or V0 engine."""

    kernels: str
    why: str
    dtypes: tuple[str, ...]
    fp8_cache: str
    quantization: tuple[str, ...]


def support_of(gpu: Gpu, version: EngineVersion) -> Support:
    """The line of a GPU. Raises Unsupported for a release that has no rules."""
    if version < OLDEST_KNOWN or version.major != NEWEST_KNOWN.major:
        raise Unsupported(Check.ENGINE_UNKNOWN, f"vLLM {version} has no rules here; known are {OLDEST_KNOWN} to {NEWEST_KNOWN}")
    found = kernels_for(gpu.capability, machine_of(gpu.product), version)
    return Support(
        kernels=found.has,
        why=found.why,
        dtypes=gpu_dtypes(gpu.capability),
        fp8_cache=_fp8_cache(gpu, version),
        quantization=tuple(
            name for name, row in methods_of(version).items() if gpu.capability >= row.min_capability and not row.deprecated
        ),
    )


def unstable_in_float16(version: EngineVersion) -> tuple[str, ...]:
    """Model types that the release does not run in float16: before Ampere they run in float32."""
    return tuple(sorted(dtype_rules(version).refuses_float16))


def _fp8_cache(gpu: Gpu, version: EngineVersion) -> str:
    start = Start(
        architecture="LlamaForCausalLM",
        args=EngineArgs(kv_cache_dtype="fp8"),
        gpu=gpu,
        dtype="float16",
        quantization=None,
        pools=False,
        latent=False,
    )
    try:
        check_core(start, version)
    except Unsupported:
        return "V0 engine"
    heads = heads_read(gpu.capability, fp8_rules(version))
    if not heads:
        return "yes" if heads is None else "no"
    return f"heads {'/'.join(map(str, sorted(heads)))}"
