"""Which modules a checkpoint leaves unquantised, or quantises its own way: matching of module names.

Names are compared in canonical form (wrappers such as `model.` and `language_model.` removed), because checkpoints and vLLM
order the wrappers differently. Knows no bytes.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterable
from fnmatch import fnmatchcase
from typing import Final, Literal

from plimsoll_estimator.errors import Unsupported
from plimsoll_estimator.weights.method import canonical, layer_number

Mode = Literal["exact", "substring", "suffix", "wildcard"]
_COSTS: Final = (1, 2, 8, 1024)  # of a pattern with so many repeats; published ones have at most three
_MOST_COST: Final = 4096
_LONGEST_PATTERN: Final = 2000
_REPEATED_GROUP: Final = re.compile(r"\)[*+{]")
_DIGITS: Final = re.compile(r"\\d[+*]")
_WRAPPERS: Final = ("model.", "language_model.model.", "model.language_model.", "")


class Ignored:
    """An ignore list. `exact` (fp8, compressed-tensors with "re:" patterns), `substring` (AWQ), `wildcard` (ModelOpt: all three)."""

    __slots__ = ("_by_layer", "_everywhere", "_mode", "_numbered", "_patterns", "_set")

    def __init__(self, entries: Iterable[str], mode: Mode) -> None:
        self._mode = mode
        self._patterns: list[re.Pattern[str]] = []
        self._by_layer: dict[int, list[str]] = {}
        self._everywhere: list[str] = []
        self._set: set[str] = set()
        cost = 0
        for entry in entries:
            if entry.startswith("re:"):
                cost += _cost(entry[3:])
                if cost > _MOST_COST:
                    raise Unsupported("UnsupportedPattern", f"the module name patterns are too many or too intricate: {entry[:80]}")
                self._patterns.append(_compiled(entry[3:]))
                continue
            name = canonical(entry)
            self._set.add(name)
            number = layer_number(name)
            if number is not None and f"{number}." in name:
                self._by_layer.setdefault(number, []).append(name)
            else:
                self._everywhere.append(name)
        self._numbered = [entry for entry in self._everywhere if any(c.isdigit() for c in entry)]

    def _one(self, entry: str, path: str) -> bool:
        if self._mode == "suffix":
            return path == entry or path.endswith("." + entry)
        if self._mode == "substring":
            return entry in path
        return entry in path or ("*" in entry and fnmatchcase(path, entry))

    def __call__(self, path: str) -> bool:
        """Whether the module of this name is left unquantised."""
        name = canonical(path)
        if name in self._set:
            return True
        for pattern in self._patterns:
            if any(pattern.match(wrapper + name) for wrapper in _WRAPPERS):
                return True
        if self._mode == "exact":
            return False
        number = layer_number(name)
        near = self._by_layer.get(number, ()) if number is not None else ()
        return any(self._one(entry, name) for entry in near) or any(self._one(entry, name) for entry in self._everywhere)

    def experts(self, parent: str) -> bool:
        """Whether fused experts are left out: fp8 and ModelOpt look for their name inside the entries."""
        name = canonical(parent)
        number = layer_number(name)
        near = self._by_layer.get(number, ()) if number is not None else ()
        return any("experts" in entry and name in entry for entry in near) or self(parent)

    def signature(self, layer: int) -> Hashable:
        """Layers of equal signature are treated alike."""
        if self._patterns and any(re.search(r"\d", pattern.pattern) for pattern in self._patterns):
            return layer
        near = self._by_layer.get(layer)
        numbered = self._numbered if self._mode != "exact" else ()
        if not near and not numbered:
            return None
        mark = f"layers.{layer}."
        return frozenset(entry.partition(mark)[2] for entry in near or ()), tuple(self._one(entry, mark + "x") for entry in numbered)


def _cost(pattern: str) -> int:
    """How much a search may backtrack: each repeat but of digits multiplies, a repeated group has no bound."""
    repeats = sum(_DIGITS.sub("", pattern).count(sign) for sign in "*+{")
    if repeats >= len(_COSTS) or len(pattern) > _LONGEST_PATTERN or _REPEATED_GROUP.search(pattern):
        return _MOST_COST + 1
    return _COSTS[repeats]


def _compiled(pattern: str) -> re.Pattern[str]:
    try:
        return re.compile(pattern)
    except re.error:
        return re.compile(re.escape(pattern))


class Assigned:
    """A map from module names to algorithms (ModelOpt's `quantized_layers`); fused experts are kept once, by their first."""

    __slots__ = ("_by_layer", "_names")

    def __init__(self, entries: Iterable[tuple[str, str]]) -> None:
        self._names: dict[str, str] = {}
        self._by_layer: dict[int, dict[str, str]] = {}
        for path, algorithm in entries:
            if ".experts." in path and ".experts.0." not in path:
                continue
            name = canonical(path)
            head, found, _ = name.partition(".experts.")
            if found:
                name = head + ".experts"
            self._names[name] = algorithm
            number = layer_number(name)
            if number is not None:
                self._by_layer.setdefault(number, {})[name.partition(f".{number}.")[2]] = algorithm

    def __call__(self, path: str) -> str | None:
        """The algorithm of a module, or None."""
        return self._names.get(canonical(path))

    def experts(self, parent: str) -> str | None:
        """The algorithm of fused experts: their own entry, or any below their parent."""
        name = canonical(parent)
        found = self._names.get(name)
        if found is not None:
            return found
        above = name.removesuffix("experts")
        for key, algorithm in self._names.items():
            if key.startswith((name + ".", above)):
                return algorithm
        return None

    def signature(self, layer: int) -> Hashable:
        """Layers of equal signature are treated alike."""
        return tuple(sorted(self._by_layer.get(layer, {}).items()))
