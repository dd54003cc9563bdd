"""Reads the corpus of good and bad objects; `$repeat: [text, n]` stands for a long string."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from tests.documents import documents


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
    """Every case, read once in a process."""
    texts = (path.read_text("utf-8") for path in sorted(Path(__file__).parent.glob("*.yaml")))
    entries = [entry for text in texts for entry in documents(text)[0]]
    return tuple(Case(why=e["case"], accepted=e["accepted"], field=e.get("field", ""), obj=_expand(e["object"])) for e in entries)
