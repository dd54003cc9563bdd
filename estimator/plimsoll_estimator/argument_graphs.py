"""What arguments say of CUDA graphs: which kind of them is captured, and whether the sizes that are said agree.

Called by `arguments` with a list that is cut already. Follows config/compilation.py (CUDAGraphMode) and config/vllm.py (__post_init__,
OPTIMIZATION_LEVEL_TO_CONFIG, _set_cudagraph_sizes). Refuses to know models: what of them changes the kind is said by `resolve.batching`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from plimsoll_estimator.argument_spelling import GivenArgument
from plimsoll_estimator.argument_values import entries, whole_number
from plimsoll_estimator.engine_version import EngineVersion
from plimsoll_estimator.errors import InvalidInput
from plimsoll_estimator.resolved import GraphMode

_COMPILATION: Final = "--compilation-config"
_LEVEL: Final = "--optimization-level"
_SIZES: Final = "--cudagraph-capture-sizes"
_LARGEST: Final = "--max-cudagraph-capture-size"
_BY_MODE: Final = EngineVersion(0, 11, 1)
"""From here on sizes and kinds are told apart, and the kind follows from compilation and level as below (read in 0.11.1, each minor from
0.12 to 0.14, 0.19.1, 0.25.1, 0.28.0 and 0.30 to 0.32). What older releases make of these arguments is not said here."""
_BY_LEVEL: Final = EngineVersion(0, 12)
"""From here on -O is a level of optimization, which brings a kind; before, it was the level of compilation."""
_COMPILES_FOR_EVERY_KIND: Final = EngineVersion(0, 13)
_FALLS_BACK: Final = (EngineVersion(0, 28, 1), EngineVersion(0, 30))
"""From here on pieces that nothing compiles leave whole graphs of decodes; between the two releases nobody looked."""
_KINDS: Final = ("NONE", "PIECEWISE", "FULL", "FULL_DECODE_ONLY", "FULL_AND_PIECEWISE")
"""CUDAGraphMode; the first three have their place as a number."""
_MODES: Final = ("NONE", "STOCK_TORCH_COMPILE", "DYNAMO_TRACE_ONCE", "VLLM_COMPILE")
"""CompilationMode, each with its place as a number."""
_COMPILED: Final = "VLLM_COMPILE"
_PAIRS_FROM: Final = 3
"""Kinds from here on are pairs of others, and have no number."""
_OF_LEVEL: Final = {0: "NONE", 1: "PIECEWISE"}
_USUAL: Final = "FULL_AND_PIECEWISE"


def captured_kind(items: Sequence[GivenArgument], version: EngineVersion, *, eager: bool) -> GraphMode | None:
    """Which graphs the arguments ask for; None: those that the release captures by itself, or it is not known that there are fewer."""
    if eager:
        return "none"
    if version < _BY_MODE:
        return None
    said = entries(items, _COMPILATION, None, version)
    config = said if isinstance(said, Mapping) else {}
    level = _level(entries(items, _LEVEL, None, version)) if version >= _BY_LEVEL else None
    kind = _named(config.get("cudagraph_mode"), _KINDS) or _OF_LEVEL.get(2 if level is None else level, _USUAL)
    if not _compiles(said, level):
        kind = _uncompiled(kind, version)
    return "none" if kind == "NONE" else "piecewise" if kind == "PIECEWISE" else None


def _named(value: object, names: tuple[str, ...]) -> str | None:
    """The member of an enumeration by its name in any case, or its number, as the validators of CompilationConfig read it; None: there is
    none. Called in 0.14.1, 0.19.1, 0.25.1 and 0.32.0.
    """
    if isinstance(value, str):
        return value.upper() if value.upper() in names else None
    number = whole_number(value)
    numbered = names[:_PAIRS_FROM] if names == _KINDS else names
    return numbered[number] if number is not None and 0 <= number < len(numbered) else None


def _level(word: object) -> int | None:
    return int(word) if isinstance(word, int) or (isinstance(word, str) and len(word) == 1 and word.isdecimal()) else None


def _compiles(said: object, level: int | None) -> bool:
    """Whether the model is compiled in pieces, by the mode that is said, else by the level."""
    mode = said.get("mode") if isinstance(said, Mapping) else said
    return level != 0 if mode is None else _named(mode, _MODES) == _COMPILED


def _uncompiled(kind: str, version: EngineVersion) -> str:
    """What is left of a kind where nothing is compiled: "Cudagraph mode %s is not compatible with compilation mode %s"."""
    if version < _COMPILES_FOR_EVERY_KIND:
        return "NONE"
    if kind == _USUAL:
        maybe, _ = _FALLS_BACK
        return "NONE" if version < maybe else kind
    return "NONE" if kind == "PIECEWISE" else kind


def check_graphs(items: Sequence[GivenArgument], version: EngineVersion) -> None:
    """Raises InvalidInput for what CompilationConfig refuses of kinds, modes and sizes, whether there are graphs or not."""
    config = entries(items, _COMPILATION, None, version)
    if not isinstance(config, Mapping) or version < _BY_MODE:
        return
    kind, mode = config.get("cudagraph_mode"), config.get("mode")
    if kind is not None and _named(kind, _KINDS) is None:
        raise InvalidInput(f"{_COMPILATION}.cudagraph_mode", str(kind), f"must be one of {', '.join(_KINDS)} in vLLM {version}")
    if mode is not None and _named(mode, _MODES) is None:
        raise InvalidInput(f"{_COMPILATION}.mode", str(mode), f"must be one of {', '.join(_MODES)} or its number in vLLM {version}")
    sizes, largest = config.get("cudagraph_capture_sizes"), config.get("max_cudagraph_capture_size")
    if sizes is not None and (not isinstance(sizes, list) or None in map(whole_number, sizes)):
        raise InvalidInput(f"{_COMPILATION}.cudagraph_capture_sizes", str(sizes), "must be a list of whole numbers")
    if largest is not None and whole_number(largest) is None:
        raise InvalidInput(f"{_COMPILATION}.max_cudagraph_capture_size", str(largest), "must be a whole number")


def said_sizes(items: Sequence[GivenArgument], version: EngineVersion) -> tuple[int, ...] | None:
    """The batch sizes that are said one by one, None where none are. Where graphs are captured only, and after `check_graphs`.

    Raises InvalidInput where the largest size is said twice and differs: "should be consistent with the max value of
    cudagraph_capture_sizes".
    """
    sizes = entries(items, _SIZES, None, version) or entries(items, _COMPILATION, "cudagraph_capture_sizes", version)
    if version < _BY_MODE or not isinstance(sizes, list):
        return None
    whole = tuple(sorted({one for one in map(whole_number, sizes) if one is not None}))
    largest = whole_number(entries(items, _LARGEST, None, version) or entries(items, _COMPILATION, "max_cudagraph_capture_size", version))
    if whole and largest is not None and largest != whole[-1]:
        words = f"contradicts the capture sizes given, whose largest is {whole[-1]}, in vLLM {version}: say one of them"
        raise InvalidInput(_LARGEST, largest, words)
    return whole or None
