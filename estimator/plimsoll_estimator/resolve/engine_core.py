"""Which starts of 0.8.0 to 0.10.2 vLLM leaves to its older core, the V0 engine, whose memory has no rules here.

Called by `resolve` when all that the release refuses is settled. Follows engine/arg_utils.py: _is_v1_supported_oracle of each of these
releases; the classes are rows of data/older_core.json, extracted from the wheels by tools/extract_older_core.py. Knows no bytes.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib import resources
from typing import Final, Literal, TypeAlias

from plimsoll_estimator.checks import Check
from plimsoll_estimator.engine_args import EngineArgs
from plimsoll_estimator.engine_version import EngineVersion
from plimsoll_estimator.errors import Remedy, Unsupported
from plimsoll_estimator.releases import Releases
from plimsoll_estimator.resolved import Gpu
from plimsoll_estimator.units import dotted

GONE: Final = EngineVersion(0, 11)
"""The first release that has no V0 engine."""
_DRAFTS: Final = frozenset({"ngram", "medusa", "eagle", "eagle3", "deepseek_mtp"})


@dataclass(frozen=True, slots=True, kw_only=True)
class CoreRules:
    """What V1 takes in one release. Defaults are those of the oldest known release (0.8)."""

    least_capability: int = 80
    """Below it V0 runs, as FlashAttention does not."""
    cache_dtypes: Literal["auto", "hopper", "blackwell", "backend", "all"] = "auto"
    """Which explicit cache dtypes it takes: fp8 where FlashAttention 3 runs; any on capability 10.0; as the backend says (0.10.2)."""
    float32: bool = False
    """Weights and activations in float32."""
    pooling: bool = False
    """Models that embed or classify."""
    unquantised_only: frozenset[str] = frozenset({"bitsandbytes", "gguf"})
    """Quantisation methods that it does not take."""
    offload: bool = False
    """Weights kept on the host (--cpu-offload-gb)."""
    adapters: bool = False
    """LoRA."""
    stages: bool = False
    """Pipeline stages without an executor being named; 0.8.3 wants Ray, 0.9.0 any executor by name."""
    drafts: frozenset[str] | None = frozenset()
    """The methods of speculative decoding that it takes, None for all."""


_RELEASES: Final = Releases(
    CoreRules(),
    (EngineVersion(0, 8, 2), {"cache_dtypes": "hopper"}),
    (EngineVersion(0, 8, 3), {"unquantised_only": frozenset({"gguf"}), "offload": True, "adapters": True}),
    (EngineVersion(0, 9), {"unquantised_only": frozenset(), "drafts": _DRAFTS}),
    (EngineVersion(0, 9, 1), {"stages": True}),
    (EngineVersion(0, 9, 2), {"float32": True, "pooling": True}),
    (EngineVersion(0, 10), {"cache_dtypes": "blackwell", "drafts": None}),
    (EngineVersion(0, 10, 2), {"cache_dtypes": "backend", "least_capability": 0}),
    (GONE, {"cache_dtypes": "all"}),
)


@lru_cache(maxsize=64)
def core_rules(version: EngineVersion) -> CoreRules:
    """The switches of `version`."""
    return _RELEASES.of(version)


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """What decides: the arguments as given and as resolved, the model's class, and whether its attention is latent."""

    architecture: str
    args: EngineArgs
    gpu: Gpu
    dtype: str
    quantization: str | None
    pools: bool
    latent: bool


def check_core(start: Start, version: EngineVersion) -> None:
    """Raises Unsupported where this release runs such a start on V0, by another name if a layout without stages would not."""
    if version >= GONE:
        return
    for check, because in _CAUSES:
        cause = because(start, version)
        if cause is not None:
            raise Unsupported(
                check,
                f"vLLM {version} falls back to its V0 engine for {cause}, and V0 has no rules here",
                tuple(_runs_on_v1(border) for border in _borders() if border > version and _takes(start, border)),
            )


def _takes(start: Start, version: EngineVersion) -> bool:
    return all(because(start, version) is None for _, because in _CAUSES)


def _runs_on_v1(release: EngineVersion) -> Remedy:
    return Remedy(words=f"{release} and later run it on V1", release=str(release))


def _of_capability(start: Start, version: EngineVersion) -> str | None:
    too_low = start.gpu.capability < core_rules(version).least_capability
    return f"a GPU of compute capability {dotted(start.gpu.capability)}, below 8.0" if too_low else None


def _of_cache(start: Start, version: EngineVersion) -> str | None:
    wanted = start.args.kv_cache_dtype
    if wanted is None or wanted == "auto" or _takes_cache(wanted, start, core_rules(version).cache_dtypes):
        return None
    return f"a {wanted} cache on compute capability {dotted(start.gpu.capability)}"


def _takes_cache(wanted: str, start: Start, takes: str) -> bool:
    fp8, capability = wanted.startswith("fp8"), start.gpu.capability
    if takes in ("auto", "all"):
        return takes == "all"
    on_hopper = fp8 and capability // 10 == 9
    if takes == "hopper":
        return on_hopper
    if takes == "blackwell":
        return on_hopper or capability == 100
    return start.latent or not fp8 or on_hopper or capability == 100


def _of_model(start: Start, version: EngineVersion) -> str | None:
    spans = _models().get(start.architecture, ())
    return start.architecture if any(since <= version < before for since, before in spans) else None


def _of_dtype(start: Start, version: EngineVersion) -> str | None:
    return "float32" if start.dtype == "float32" and not core_rules(version).float32 else None


def _of_pooling(start: Start, version: EngineVersion) -> str | None:
    return "pooling models" if start.pools and not core_rules(version).pooling else None


def _of_quantization(start: Start, version: EngineVersion) -> str | None:
    method = start.quantization
    return f"quantization method {method}" if method in core_rules(version).unquantised_only else None


def _of_offload(start: Start, version: EngineVersion) -> str | None:
    return "cpu_offload_gb" if start.args.cpu_offload_gb and not core_rules(version).offload else None


def _of_adapters(start: Start, version: EngineVersion) -> str | None:
    return "LoRA adapters" if start.args.enable_lora and not core_rules(version).adapters else None


def _of_drafts(start: Start, version: EngineVersion) -> str | None:
    takes = core_rules(version).drafts
    if not start.args.num_speculative_tokens or takes is None or start.args.speculative_method in takes:
        return None
    return f"speculative decoding with {start.args.speculative_method or 'a draft model'}"


def _of_stages(start: Start, version: EngineVersion) -> str | None:
    stages = start.args.pipeline_parallel_size or 1
    return f"{stages} pipeline stages on its default executor" if stages > 1 and not core_rules(version).stages else None


_CAUSES: Final[tuple[tuple[Check, Callable[[Start, EngineVersion], str | None]], ...]] = (
    (Check.ENGINE_FALLS_BACK, _of_capability),
    (Check.ENGINE_FALLS_BACK, _of_cache),
    (Check.ENGINE_FALLS_BACK, _of_model),
    (Check.ENGINE_FALLS_BACK, _of_dtype),
    (Check.ENGINE_FALLS_BACK, _of_pooling),
    (Check.ENGINE_FALLS_BACK, _of_quantization),
    (Check.ENGINE_FALLS_BACK, _of_offload),
    (Check.ENGINE_FALLS_BACK, _of_adapters),
    (Check.ENGINE_FALLS_BACK, _of_drafts),
    (Check.ENGINE_FALLS_BACK_FOR_STAGES, _of_stages),
)

_Span: TypeAlias = tuple[EngineVersion, EngineVersion]


@cache
def _models() -> dict[str, tuple[_Span, ...]]:
    """The classes that a release runs on V0: first release, and first that runs them on V1 or has them no more."""
    text = (resources.files("plimsoll_estimator") / "data" / "older_core.json").read_text("utf-8")
    parse = EngineVersion.parse
    return {name: tuple((parse(since), parse(before)) for since, before in spans) for name, spans in json.loads(text)["models"].items()}


@cache
def _borders() -> tuple[EngineVersion, ...]:
    """Every release at which something changes, oldest first."""
    of_models = {before for spans in _models().values() for _, before in spans}
    return tuple(sorted({*_RELEASES.borders, *of_models}))
