"""What arguments say of CUDA graphs: which kind of them is captured, and whether the sizes that are said agree.

Called by `arguments` with a list that is cut already. Follows config/compilation.py (CUDAGraphMode) and config/vllm.py (__post_init__,
OPTIMIZATION_LEVEL_TO_CONFIG, _set_cudagraph_sizes). Refuses to know models: what of them changes the kind is said by `resolve.batching`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from plimsoll_estimator.argument_spelling import GivenArgument
from plimsoll_estimator.argument_values import entries
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
_COMPILED: Final = ("3", "VLLM_COMPILE", "PIECEWISE")
"""Modes of compilation that cut the model into pieces: by number, by name, by its name up to 0.11.0."""
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
    kind = config.get("cudagraph_mode")
    kind = kind.upper() if isinstance(kind, str) else _OF_LEVEL.get(2 if level is None else level, _USUAL)
    if not _compiles(said, level):
        kind = _uncompiled(kind, version)
    return "none" if kind == "NONE" else "piecewise" if kind == "PIECEWISE" else None


def _level(word: object) -> int | None:
    return int(word) if isinstance(word, int) or (isinstance(word, str) and len(word) == 1 and word.isdecimal()) else None


def _compiles(said: object, level: int | None) -> bool:
    """Whether the model is compiled in pieces, by the mode that is said, else by the level."""
    mode = said.get("mode") if isinstance(said, Mapping) else said
    return str(mode).upper() in _COMPILED if mode is not None else level != 0


def _uncompiled(kind: str, version: EngineVersion) -> str:
    """What is left of a kind where nothing is compiled: "Cudagraph mode %s is not compatible with compilation mode %s"."""
    if version < _COMPILES_FOR_EVERY_KIND:
        return "NONE"
    if kind == _USUAL:
        maybe, _ = _FALLS_BACK
        return "NONE" if version < maybe else kind
    return "NONE" if kind == "PIECEWISE" else kind


def check_sizes(items: Sequence[GivenArgument], version: EngineVersion) -> None:
    """Raises InvalidInput where the largest size is said twice and differs: "should be consistent with the max value of
    cudagraph_capture_sizes". Not to be asked where no graph is captured.
    """
    sizes = entries(items, _SIZES, None, version) or entries(items, _COMPILATION, "cudagraph_capture_sizes", version)
    largest = entries(items, _LARGEST, None, version) or entries(items, _COMPILATION, "max_cudagraph_capture_size", version)
    if version < _BY_MODE or not isinstance(sizes, list) or isinstance(largest, list | Mapping) or largest is None:
        return
    whole = [one for one in sizes if isinstance(one, int)]
    if whole and str(largest) != str(max(whole)):
        words = f"contradicts the capture sizes given, whose largest is {max(whole)}, in vLLM {version}: say one of them"
        raise InvalidInput(_LARGEST, str(largest), words)
