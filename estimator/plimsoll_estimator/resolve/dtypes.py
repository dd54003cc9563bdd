"""The dtype of weights and activations, as each release settles it from the argument, the checkpoint and the GPU.

Called by `resolve`. Follows vLLM config.py and config/model.py: _get_and_verify_dtype, _resolve_auto_dtype, and the worker's
_check_if_gpu_supports_dtype. Refuses to know quantisation; its own dtypes are in `methods`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from plimsoll_estimator.checks import Check
from plimsoll_estimator.engine_version import EngineVersion
from plimsoll_estimator.errors import EngineRefusal, InvalidInput, Remedy, use
from plimsoll_estimator.hf_config import HfConfig
from plimsoll_estimator.kept import kept_with_config
from plimsoll_estimator.reader import language
from plimsoll_estimator.releases import Releases
from plimsoll_estimator.resolved import Gpu
from plimsoll_estimator.units import dotted

_DTYPES: Final = {"half": "float16", "float16": "float16", "bfloat16": "bfloat16", "float": "float32", "float32": "float32"}
_AMPERE: Final = 80
_FIRST: Final = frozenset({"gemma2", "gemma3", "glm4", "plamo2"})
_EVERYWHERE: Final = ("root", "text", "vision")


@dataclass(frozen=True, slots=True, kw_only=True)
class DtypeRules:
    """Switches of one release. Defaults are those of the oldest known release (0.8)."""

    reads: tuple[str, ...] = ("root",)
    """Whose stated dtype counts, the first that states one: of the root, the text model's, the vision tower's config."""
    prefers_the_gpus: bool = False
    """float32 becomes the first dtype that GPU and model take; before, float16 on every GPU."""
    falls_back: bool = False
    """A checkpoint's dtype that the GPU lacks is replaced; before, the worker refused bfloat16 below 8.0."""
    needs_bfloat16: frozenset[str] = frozenset({"gemma2", "gemma3", "gemma3_text"})
    """Model types whose float32 becomes bfloat16 nevertheless."""
    refuses_float16: frozenset[str] = frozenset()
    """Model types that float16 is not stable for."""


_RELEASES: Final = Releases(
    DtypeRules(),
    (EngineVersion(0, 8, 1), {"needs_bfloat16": frozenset(), "reads": _EVERYWHERE}),
    (EngineVersion(0, 8, 5), {"needs_bfloat16": frozenset({"plamo2"}), "reads": ("text", "vision")}),
    (EngineVersion(0, 9), {"falls_back": True, "reads": _EVERYWHERE}),
    (EngineVersion(0, 9, 1), {"prefers_the_gpus": True, "needs_bfloat16": frozenset(), "refuses_float16": _FIRST}),
    (EngineVersion(0, 10, 2), {"refuses_float16": _FIRST | {"gemma3_text"}}),
    (EngineVersion(0, 27), {"refuses_float16": _FIRST - {"plamo2"} | {"gemma3_text"}}),
)


@lru_cache(maxsize=64)
def dtype_rules(version: EngineVersion) -> DtypeRules:
    """The switches of `version`."""
    return _RELEASES.of(version)


def resolve_dtype(config: HfConfig, wanted: str | None, gpu: Gpu, runner: str, version: EngineVersion) -> str:
    """float16, bfloat16 or float32. Raises EngineRefusal (DtypeUnsupported), or InvalidInput for a name that is none."""
    rules = dtype_rules(version)
    if wanted is None or wanted == "auto":
        dtype = _automatic(config, gpu.capability, runner, version)
    elif wanted not in _DTYPES:
        raise InvalidInput("engine_args.dtype", wanted, f"must be auto or one of {', '.join(sorted(_DTYPES))}")
    else:
        dtype = _DTYPES[wanted]
    if dtype == "float16" and config.model_type in rules.refuses_float16:
        others = tuple(use("dtype", other) for other in gpu_dtypes(gpu.capability) if other != "float16")
        raise EngineRefusal(Check.DTYPE_UNSUPPORTED, f"{config.model_type} does not support float16", others)
    if dtype not in gpu_dtypes(gpu.capability):
        later = (border for border in _RELEASES.borders if border > version and dtype_rules(border).falls_back)
        raise EngineRefusal(
            Check.DTYPE_UNSUPPORTED,
            f"bfloat16 needs compute capability 8.0, this GPU has {dotted(gpu.capability)}",
            (*(use("dtype", other) for other in gpu_dtypes(gpu.capability)), *(runs_it(border) for border in later)),
        )
    return dtype


def runs_it(release: EngineVersion) -> Remedy:
    """The remedy of a later release."""
    return Remedy(words=f"vLLM {release} runs it here", release=str(release))


def gpu_dtypes(capability: int) -> tuple[str, ...]:
    """What a GPU computes in, the preferred first (platforms/cuda.py: supported_dtypes)."""
    return ("bfloat16", "float16", "float32") if capability >= _AMPERE else ("float16", "float32")


def _stated(config: HfConfig, part: str) -> str | None:
    level = language(config) if part == "text" else config.sub("vision_config") if part == "vision" else config
    return level.str_or_none("dtype", "torch_dtype") if level is not None else None


@kept_with_config
def _automatic(config: HfConfig, capability: int, runner: str, version: EngineVersion) -> str:
    rules = dtype_rules(version)
    text = next(filter(None, (_stated(config, part) for part in rules.reads)), "float32")
    stated, kind = _DTYPES.get(text.removeprefix("torch."), "float32"), config.model_type
    taken = [dtype for dtype in gpu_dtypes(capability) if dtype != "float16" or kind not in rules.refuses_float16]
    if not rules.prefers_the_gpus:
        half = "bfloat16" if kind in rules.needs_bfloat16 else "float16"
        dtype = half if stated == "float32" else stated
        return dtype if dtype in taken or not rules.falls_back else taken[0]
    preferred = "float16" if runner == "pooling" and "float16" in taken else taken[0]
    return stated if stated in taken and stated != "float32" else preferred
