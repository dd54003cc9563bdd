"""The least part of a refused wish that Plimsoll refuses for the same reason: what the engine says to that, it says of the reason.

Called by the command. A list may have several faults, and the engine names the first that it meets: behind another fault a refusal
that is none of the engine's would pass for agreement. Knows no engine.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tests.engine.questions import Asked, as_written
from tests.engine.wishes import Wish, whole

STAYS = "image"
"""The field that says which release is asked."""


def least(wish: Wish, asked: Asked) -> tuple[Wish, Asked]:
    """A refused wish and its list, without the fields and arguments that the refusal does not need."""
    spec, found = dict(wish.manifest["spec"]), asked
    whole_engine = spec["engine"]
    for kind, name in _parts(whole_engine):
        tried = {**spec, "engine": _without(spec["engine"], kind, name)}
        shorter = Wish(number=wish.number, product=wish.product, manifest=whole(tried))
        said = as_written(shorter)
        if said is not None and (said.expects, said.check, said.words) == (found.expects, found.check, found.words):
            spec, wish, found = tried, shorter, said
    return wish, found


def _parts(engine: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """What may be left out: every field, then every further argument."""
    yield from (("field", name) for name in engine if name not in (STAYS, "extraArgs"))
    yield from (("argument", given) for given in engine.get("extraArgs", ()))


def _without(engine: dict[str, Any], kind: str, name: str) -> dict[str, Any]:
    if kind == "field":
        return {key: value for key, value in engine.items() if key != name}
    return {**engine, "extraArgs": [given for given in engine["extraArgs"] if given != name]}
