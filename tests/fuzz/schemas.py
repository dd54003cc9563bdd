"""Random objects from the kinds' own OpenAPI schemas, biased to their bounds.

Called by `recipes`. Everything comes from the `random.Random` handed in, so an object is known by its seed. It honours types, enums,
patterns, bounds and unions; what the rules between fields still refuse, the caller draws again. It refuses to know what a field means.
"""

from __future__ import annotations

import functools
import importlib
import random
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tests.documents import documents

Json = Any
Hint = Callable[[random.Random], Json]
CRDS = Path(__file__).resolve().parents[2] / "crds"
GROUP = "inference.plimsoll.dev"

# What text is made of where no pattern says otherwise: ends of lines that only some splitters know, directions, combining marks, planes.
ODD = (
    "\x00",
    "\t",
    "\n",
    "\r\n",
    "\x1b[31m",
    "\x7f",
    "\u0085",
    "\u00a0",
    "\u00ad",
    "\u0301",
    "\u061c",
    "\u200b",
    "\u200d",
    "\u2028",
    "\u2029",
    "\u202e",
    "\u2066",
    "\ufeff",
    "\ufffd",
    "\uffff",
    "\ud800",
    "\udfff",
    "\U0001f600",
    "\U000e0001",
    "\U0010ffff",
    "ß",
    "İ",
    "ﬀ",
    "$(HOME)",
    "{{ .Values }}",
    "%s%n",
    "'",
    '"',
    "\\",
    "<script>",
    "../",
    "null",
)
_UNION = re.compile(r"has\(self\.(\w+)\)")
_FEW = 12  # elements of a list or map, but for the rare full one


@functools.cache
def spec_of(plural: str) -> Json:
    """Return the schema of a kind's spec."""
    (crd,) = documents((CRDS / f"{plural}.yaml").read_text("utf-8"))
    return crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]


def text(rng: random.Random, longest: int, *, shortest: int = 0) -> str:
    """Return text of letters and oddities whose length is in the bounds."""
    length = rng.choice((shortest, min(longest, shortest + 1), min(longest, 8), min(longest, 40), longest if rng.random() < 0.2 else 3))
    parts = [rng.choice(ODD) if rng.random() < 0.3 else rng.choice("abcXYZ019 ._-/:=,") for _ in range(length)]
    return "".join(parts)[: max(shortest, min(length, longest))].ljust(shortest, "x")


def whole(rng: random.Random, least: int, most: int) -> int:
    """Return a whole number, half of the time at one of its bounds."""
    near = [n for n in (least, least + 1, most, most - 1, 0, 1, 2, 3, 8, 64, 1 << 31, (1 << 31) - 1) if least <= n <= most]
    roll = rng.random()
    if roll < 0.5:
        return rng.choice(near)
    return rng.randint(least, min(most, least + 16)) if roll < 0.8 else rng.randint(least, most)


def matching(rng: random.Random, pattern: str, longest: int) -> str:
    """Return a text that the pattern matches and that is not longer than asked, where a few tries find one."""
    tree = _parsed(pattern)
    for stretch in (rng.choice((0, 1, 3, longest)), 8, 2, 1, 0):
        found = "".join(_spell(rng, item, stretch) for item in tree)
        if len(found) <= longest:
            return found
    return found[:longest]


@functools.cache
def _parsed(pattern: str) -> Json:
    return importlib.import_module("re._parser").parse(pattern)


def _spell(rng: random.Random, item: Json, stretch: int) -> str:
    """Spell one node of a parsed pattern; `stretch` is how often at most something unbounded is repeated."""
    operation, value = str(item[0]), item[1]
    match operation:
        case "LITERAL":
            return chr(value)
        case "IN":
            return _one_of(rng, value)
        case "MAX_REPEAT" | "MIN_REPEAT":
            least, most, inner = value
            times = rng.randint(least, max(least, min(int(most), least + stretch)))
            return "".join(_spell(rng, part, stretch) for _ in range(times) for part in inner)
        case "SUBPATTERN":
            return "".join(_spell(rng, part, stretch) for part in value[-1])
        case "BRANCH":
            return "".join(_spell(rng, part, stretch) for part in rng.choice(value[1]))
        case "ANY" | "NOT_LITERAL":
            return rng.choice("aZ0-._ ") if rng.random() < 0.8 else rng.choice(("\u0085", "\u2028", "é", "\U0001f600"))
        case "AT":
            return ""
    raise ValueError(f"no rule for {operation} of a pattern")


def _one_of(rng: random.Random, choices: Json) -> str:
    if str(choices[0][0]) == "NEGATE":
        banned = {chr(value) for operation, value in choices[1:] if str(operation) == "LITERAL"}
        return rng.choice([sign for sign in "abz09-._/é\u0085" if sign not in banned])
    operation, value = rng.choice(choices)
    return chr(value) if str(operation) == "LITERAL" else chr(rng.randint(*value))


def draw(rng: random.Random, schema: Json, *, hints: Mapping[str, Hint], density: float, path: str = "") -> Json:  # noqa: C901 a branch a type
    """Return a random value of the schema. `hints` make the value of a path instead; `density` is the share of optional fields."""
    hint = hints.get(path)
    if hint is not None and rng.random() < 0.85:
        return hint(rng)
    if "enum" in schema:
        return rng.choice(schema["enum"])
    if schema.get("x-kubernetes-int-or-string"):
        if rng.random() < 0.5:
            return whole(rng, schema.get("minimum", 0), schema.get("maximum", 1 << 50))
        return _string(rng, schema)
    match schema.get("type", "object"):
        case "object":
            return _object(rng, schema, hints, density, path)
        case "array":
            return _array(rng, schema, hints, density, path)
        case "integer":
            return whole(rng, schema.get("minimum", -(1 << 63)), schema.get("maximum", (1 << 63) - 1))
        case "number":
            least, most = schema.get("minimum", 0), schema.get("maximum", 1e308)
            return rng.choice((most, 5e-324 if least == 0 else least, 0.1 + 0.2, rng.uniform(least, most), 0.9))
        case "boolean":
            return rng.random() < 0.5
        case "string":
            return _string(rng, schema)
    raise ValueError(f"no rule for the type {schema['type']} at {path}")


def _string(rng: random.Random, schema: Json) -> str:
    longest = schema.get("maxLength", 256)
    if schema.get("format") == "date-time":
        return rng.choice(("2026-11-25T12:00:00Z", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999999Z", "2026-11-25T12:00:00+14:00"))
    spelled = [rule["rule"].partition("self.matches(r'")[2].partition("')")[0] for rule in schema.get("x-kubernetes-validations", ())]
    if pattern := schema.get("pattern", next(filter(None, spelled), "")):
        return matching(rng, pattern, longest)
    return text(rng, longest, shortest=schema.get("minLength", 0))


def _object(rng: random.Random, schema: Json, hints: Mapping[str, Hint], density: float, path: str) -> Json:
    if "additionalProperties" in schema:
        keys = (_label_key(rng) for _ in range(_length(rng, schema.get("maxProperties", 64))))
        return {key: draw(rng, schema["additionalProperties"], hints=hints, density=density, path=f"{path}.*") for key in keys}
    properties = schema.get("properties", {})
    chosen = {name for name in properties if name in schema.get("required", ()) or rng.random() < density}
    for rule in schema.get("x-kubernetes-validations", ()):
        members = [name for name in _UNION.findall(rule["rule"]) if name in properties]
        if rule["message"].startswith("exactly one of") and members:
            chosen = chosen - set(members) | {rng.choice(members)}
    return {
        name: draw(rng, properties[name], hints=hints, density=density, path=f"{path}.{name}" if path else name) for name in sorted(chosen)
    }


def _array(rng: random.Random, schema: Json, hints: Mapping[str, Hint], density: float, path: str) -> Json:
    rows = [
        draw(rng, schema["items"], hints=hints, density=density, path=f"{path}[]") for _ in range(_length(rng, schema.get("maxItems", 64)))
    ]
    if schema.get("x-kubernetes-list-type") == "set":
        return list(dict.fromkeys(rows))
    if schema.get("x-kubernetes-list-type") == "map":
        keys = schema["x-kubernetes-list-map-keys"]
        return list({tuple(str(row.get(key)) for key in keys): row for row in rows}.values())
    return rows


def _length(rng: random.Random, most: int) -> int:
    return rng.choice((0, 1, 1, 2, 3, min(most, _FEW), most if rng.random() < 0.15 else 1))


def _label_key(rng: random.Random) -> str:
    known = ("topology.kubernetes.io/zone", "kubernetes.io/hostname", "nvidia.com/gpu.product", "kubernetes.io/arch", "team", "app")
    roll = rng.random()
    if roll < 0.5:
        return rng.choice(known)
    return f"made.up/{rng.randint(0, 10**6)}" if roll < 0.9 else text(rng, 317, shortest=1)
