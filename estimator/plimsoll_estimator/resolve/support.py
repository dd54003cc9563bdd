"""What one release of vLLM can do on one GPU, before any model is looked at: kernels, dtypes, fp8 caches, quantisation methods.

Asked by `plimsoll gpus --engine-version` and by the page docs/releases-and-gpus.md. Each answer is that of the check that a start meets.
"""

from __future__ import annotations

from dataclasses import dataclass

from plimsoll_estimator.checks import Check
from plimsoll_estimator.engine_args import EngineArgs
from plimsoll_estimator.engine_version import NEWEST_KNOWN, OLDEST_KNOWN, EngineVersion
from plimsoll_estimator.errors import Unsupported
from plimsoll_estimator.layers.fp8_cache import fp8_rules, heads_read
from plimsoll_estimator.resolve.dtypes import dtype_rules, gpu_dtypes
from plimsoll_estimator.resolve.engine_core import Start, check_core
from plimsoll_estimator.resolve.kernels import built_as, kernels_for, machine_of
from plimsoll_estimator.resolve.methods import methods_of, read_as
from plimsoll_estimator.resolved import Gpu


@dataclass(frozen=True, slots=True, kw_only=True)
class MethodOnGpu:
    """A quantisation method that a release takes on a GPU, and in which dtypes of activations there, the GPU's preferred first."""

    name: str
    dtypes: tuple[str, ...]
    deprecated: bool
    """Refused without --allow-deprecated-quantization."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Support:
    """One line of the table. `kernels` is yes, no or not known; `fp8_cache` yes, no, of which heads, or V0 engine."""

    kernels: str
    why: str
    dtypes: tuple[str, ...]
    fp8_cache: str
    quantization: tuple[MethodOnGpu, ...]


def support_of(gpu: Gpu, version: EngineVersion) -> Support:
    """The line of a GPU. Raises Unsupported for a release that has no rules."""
    check_known(version)
    found = kernels_for(gpu.capability, machine_of(gpu.product), version)
    return Support(
        kernels=found.has,
        why=found.why,
        dtypes=gpu_dtypes(gpu.capability),
        fp8_cache=_fp8_cache(gpu, version),
        quantization=methods_on(gpu.capability, version),
    )


def check_known(version: EngineVersion) -> None:
    """Raises Unsupported for a release that has no rules."""
    if version < OLDEST_KNOWN or version.major != NEWEST_KNOWN.major:
        raise Unsupported(Check.ENGINE_UNKNOWN, f"vLLM {version} has no rules here; known are {OLDEST_KNOWN} to {NEWEST_KNOWN}")


def methods_on(capability: int, version: EngineVersion) -> tuple[MethodOnGpu, ...]:
    """The methods of a release that a GPU of that compute capability may run, by name: with a dtype that both of them take."""
    taken = (
        MethodOnGpu(name=name, dtypes=tuple(dtype for dtype in gpu_dtypes(capability) if dtype in row.dtypes), deprecated=row.deprecated)
        for name, row in methods_of(version).items()
        if capability >= row.min_capability
    )
    return tuple(method for method in taken if method.dtypes)


def support_sources(version: EngineVersion) -> dict[str, str]:
    """Column of the table to where its entries are from: the wheel that was read for that release, and the code in it by vLLM's names."""
    built, listed = built_as(version), read_as(version)
    return {
        "kernels": f"machine code in the wheels of vLLM {built.release} and of the PyTorch that it requires, {built.torch}",
        "dtypes": "ModelConfig's _get_and_verify_dtype and the worker's _check_if_gpu_supports_dtype",
        "fp8_cache": "_is_v1_supported_oracle of engine/arg_utils.py"
        if fp8_rules(version).picks == "elsewhere"
        else "get_attn_backend_cls of platforms/cuda.py, and what the attention backends say that they support",
        "quantization": f"get_min_capability and get_supported_act_dtypes of each method's class, under "
        f"model_executor/layers/quantization in the wheel of vLLM {listed}",
    }


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
