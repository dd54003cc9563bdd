"""The formats that are read, each by its translator, and what comes of a file: one list, which `plimsoll import` and `plan` ask.

A translator gets one object, the others of the file (a ConfigMap may belong to it) and the user's choices. Pure; reads no file.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from plimsoll_estimator import InvalidInput
from plimsoll_operator.api import Manifest
from plimsoll_operator.cli.importing import kaito, kserve, plain, production_stack
from plimsoll_operator.cli.importing.draft import Choices, Imported
from plimsoll_operator.cli.importing.read import mapping, text


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """One format: what people call it, which objects are of it, and what they become; nothing where they serve no vLLM."""

    name: str
    takes: Callable[[Manifest], bool]
    translate: Callable[[Manifest, Sequence[Manifest], Choices], tuple[Imported, ...]]


FORMATS: Final = (
    Format(name="Deployment, StatefulSet, LeaderWorkerSet or Pod", takes=plain.takes, translate=plain.translate),
    Format(name="values of vLLM's production stack", takes=production_stack.takes, translate=production_stack.translate),
    Format(name="KServe LLMInferenceService", takes=kserve.takes_llm, translate=kserve.translate_llm),
    Format(name="KServe InferenceService", takes=kserve.takes_predictor, translate=kserve.translate_predictor),
    Format(name="KAITO Workspace or InferenceSet", takes=kaito.takes, translate=kaito.translate),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of one object: InferenceDeployments, a refusal, or neither, where nothing here is about it."""

    origin: str
    imported: tuple[Imported, ...] = ()
    refusal: InvalidInput | None = None


def import_object(obj: Manifest, others: Sequence[Manifest], choices: Choices) -> Outcome:
    """What comes of one object of a file."""
    origin = " ".join(part for part in (text(obj.get("kind")), text(mapping(obj, "metadata").get("name"))) if part) or "a file of values"
    for one in FORMATS:
        if one.takes(obj):
            try:
                return Outcome(origin=origin, imported=one.translate(obj, others, choices))
            except InvalidInput as error:
                return Outcome(origin=origin, refusal=error)
    return Outcome(origin=origin)


def known_formats() -> str:
    """The formats by name, for a sentence."""
    return "; ".join(one.name for one in FORMATS)
