"""Reads the corpus of good and bad objects; `$repeat: [text, n]` stands for a long string."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    why: str
    accepted: bool
    field: str
    obj: dict[str, Any]


def _expand(value: Any) -> Any:
    if isinstance(value, dict):
        if set(value) == {"$repeat"}:
            text, times = value["$repeat"]
            return text * times
        return {key: _expand(inner) for key, inner in value.items()}
    return [_expand(inner) for inner in value] if isinstance(value, list) else value


@cache
def cases() -> tuple[Case, ...]:
    """Every case, read once in a process and by libyaml where it is there: 4,000 lines are seconds of Python."""
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    texts = (path.read_text("utf-8") for path in sorted(Path(__file__).parent.glob("*.yaml")))
    entries = [entry for text in texts for entry in yaml.load(text, Loader=loader)]
    return tuple(Case(why=e["case"], accepted=e["accepted"], field=e.get("field", ""), obj=_expand(e["object"])) for e in entries)
