"""Which modules a checkpoint leaves unquantised, or quantises its own way: matching of module names.

Names are compared in canonical form (wrappers such as `model.` and `language_model.` removed), because checkpoints and vLLM
order the wrappers differently. What a list costs is known before a name is asked about: a name is looked up, never compared with
every entry, and what has to be read along (patterns, parts of names) has a budget over all layers. Knows no bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from typing import Final, Literal

from plimsoll_estimator.checks import Check
from plimsoll_estimator.errors import InvalidInput, Unsupported
from plimsoll_estimator.quantization.expressions import Malformed, expression
from plimsoll_estimator.quantization.method import canonical, layer_number
from plimsoll_estimator.quantization.patterns import ANY, MOST_ITEMS, Alternative, Item, Machine, Unmatchable, glob, literal

Mode = Literal["exact", "substring", "wildcard"]
MOST_WORK: Final = 1 << 20
"""Places of the patterns that names are read along, times layers. Published checkpoints need fewer than a hundred thousand."""
_EACH: Final = 256
"""Places that reading along costs at least."""
_WRAPPERS: Final = ("model.", "language_model.model.", "model.language_model.", "")
_LONGEST_PART: Final = 8
"""Dots of a name that algorithms are looked up by: module names have fewer."""
_REMEMBERED: Final = 64


class Ignored:
    """An ignore list. `exact` (fp8, compressed-tensors with "re:" patterns), `substring` (AWQ), `wildcard` (ModelOpt: all three).

    `field` names the list in errors; `size` is that of what names are read along, `places` the same as `check_work` counts it.
    """

    __slots__ = (
        "_anywhere", "_by_layer", "_expressions", "_field", "_has_digits", "_mode", "_near", "_numbered", "_reached", "_set", "places",
        "size",
    )  # fmt: skip

    def __init__(self, entries: Iterable[str], mode: Mode, field: str = "ignore") -> None:
        self._mode = mode
        self._field = field
        self._by_layer: dict[int, list[str]] = {}
        self._near: dict[int, Machine | None] = {}
        self._reached: dict[str, int] = {}
        self._set: set[str] = set()
        patterns: list[str] = []
        anywhere: list[str] = []
        for entry in entries:
            if entry.startswith("re:"):
                patterns.append(entry[3:])
                continue
            name = canonical(entry)
            self._set.add(name)
            number = layer_number(name)
            if number is not None and f"{number}." in name:
                self._by_layer.setdefault(number, []).append(name)
            elif mode != "exact":
                anywhere.append(name)
        self._has_digits = any(char.isdigit() for pattern in patterns for char in pattern)
        self._expressions = _machine(patterns, expression, field)
        self._anywhere = _machine(anywhere, self._alternatives, field)
        self._numbered = _machine([name for name in anywhere if any(char.isdigit() for char in name)], self._alternatives, field)
        read = [one for one in (self._expressions, self._anywhere) if one is not None]
        self.size = sum(one.size for one in read)
        self.places = self.size + _EACH * len(read)

    def _alternatives(self, entry: str) -> Iterable[Alternative]:
        """A part of the name, or a glob over all of it."""
        if self._mode == "wildcard" and "*" in entry:
            return (glob(entry),)
        return (Alternative((Item(ANY, "any"), *(Item(literal(char)) for char in entry)), ends=False),)

    def __call__(self, path: str) -> bool:
        """Whether the module of this name is left unquantised."""
        name = canonical(path)
        if name in self._set:
            return True
        if self._expressions is not None and self._expressions.accepts(self._wrapped(self._expressions, name)):
            return True
        if self._mode == "exact":
            return False
        if self._anywhere is not None and self._anywhere.accepts(self._anywhere.run(name)):
            return True
        number = layer_number(name)
        if number is None or number not in self._by_layer:
            return False
        near = self._machine_of(number)
        return any(entry in name for entry in self._by_layer[number]) or (near is not None and near.accepts(near.run(name)))

    def _wrapped(self, machine: Machine, name: str) -> int:
        """The places reached by the name behind any of the wrappers; modules of one parent share the way up to it."""
        head, dot, tail = name.rpartition(".")
        before = self._reached.get(head)
        if before is None:
            start = 0
            for wrapper in _WRAPPERS:
                start |= machine.run(wrapper)
            before = machine.run(head + dot, start)
            if len(self._reached) >= _REMEMBERED:
                self._reached.clear()
            self._reached[head] = before
        return machine.run(tail, before)

    def _machine_of(self, layer: int) -> Machine | None:
        """The globs that speak of this layer."""
        if layer not in self._near:
            globs = [entry for entry in self._by_layer[layer] if "*" in entry] if self._mode == "wildcard" else []
            self._near[layer] = _machine(globs, self._alternatives, self._field)
        return self._near[layer]

    def experts(self, parent: str) -> bool:
        """Whether fused experts are left out: fp8 and ModelOpt look for their name inside the entries."""
        name = canonical(parent)
        number = layer_number(name)
        near = self._by_layer.get(number, ()) if number is not None else ()
        return any("experts" in entry and name in entry for entry in near) or self(parent)

    @property
    def empty(self) -> bool:
        """Whether no module is on the list."""
        return not self._set and self._expressions is None

    @property
    def teller(self) -> Callable[[int], Hashable] | None:
        """`signature`, None where the list says the same of all layers."""
        return self.signature if self._expressions is not None or self._by_layer or self._numbered is not None else None

    def signature(self, layer: int) -> Hashable:
        """Layers of equal signature are treated alike. Patterns without digits tell numbers apart by their length at most."""
        if self._has_digits:
            return layer
        digits = len(str(layer)) if self._expressions is not None else 0
        near = self._by_layer.get(layer)
        numbered = self._numbered
        if not near and numbered is None:
            return digits
        mark = f"layers.{layer}."
        return digits, frozenset(entry.partition(mark)[2] for entry in near or ()), numbered.run(mark + "x") if numbered else 0


def _machine(entries: Sequence[str], read: Callable[[str], Iterable[Alternative]], field: str) -> Machine | None:
    """All entries as one, None where there are none. Raises Unsupported or InvalidInput naming the field and the entry."""
    alternatives: list[Alternative] = []
    size, entry = 0, ""
    try:
        for entry in entries:
            for one in read(entry):
                alternatives.append(one)
                size += len(one.items) + 1
                if size > MOST_ITEMS:
                    raise InvalidInput(field, size, f"characters of patterns up to {entry[:80]!r} are too many: at most {MOST_ITEMS}")
        return Machine(alternatives) if entries else None
    except Unmatchable as refusal:
        raise Unsupported(Check.UNSUPPORTED_PATTERN, f"no rule for the pattern {entry[:80]!r} of {field}: {refusal}") from refusal
    except Malformed as error:
        raise InvalidInput(field, entry, f"is no regular expression: {error}") from error


def check_work(lists: Iterable[Ignored], layers: int, field: str) -> None:
    """Raises InvalidInput where reading the names of so many layers along these lists takes more than the budget."""
    work = layers * sum(one.places for one in lists)
    if work > MOST_WORK:
        raise InvalidInput(field, work, f"characters of patterns to read names along, times layers, are too many: at most {MOST_WORK}")


class Assigned:
    """A map from module names to algorithms (ModelOpt's `quantized_layers`); fused experts are kept once, by their first."""

    __slots__ = ("_below", "_by_layer", "_names")

    def __init__(self, entries: Iterable[tuple[str, str]]) -> None:
        self._names: dict[str, str] = {}
        self._by_layer: dict[int, dict[str, str]] = {}
        self._below: dict[str, str] = {}
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
        for name, algorithm in self._names.items():
            for above in parents(name):
                self._below.setdefault(above, algorithm)

    def __call__(self, path: str) -> str | None:
        """The algorithm of a module, or None."""
        return self._names.get(canonical(path))

    def experts(self, parent: str) -> str | None:
        """The algorithm of fused experts: their own entry, or the first one below their parent."""
        name = canonical(parent)
        found = self._names.get(name)
        above = name.removesuffix("experts")
        return found if found is not None else self._below.get(above if above != name else f"{name}.")

    def signature(self, layer: int) -> Hashable:
        """Layers of equal signature are treated alike."""
        return tuple(sorted(self._by_layer.get(layer, {}).items()))


def parents(name: str) -> Iterator[str]:
    """What stands before each dot of a name, the dot included, and nothing at all: `a.b.c` has "", "a." and "a.b."."""
    yield ""
    at = 0
    for _ in range(_LONGEST_PART):
        at = name.find(".", at) + 1
        if not at:
            return
        yield name[:at]
