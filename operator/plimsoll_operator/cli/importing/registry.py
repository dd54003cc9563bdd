"""The formats that are read, each by its translator, and what comes of a file: one list, which `plimsoll import` and `plan` ask.

A translator gets one object, the others of the file (a ConfigMap may belong to it) and the user's choices. Pure; reads no file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from plimsoll_estimator import InvalidInput
from plimsoll_operator.api import Manifest
from plimsoll_operator.cli.importing import kaito, kserve, kserve_predictor, plain, production_stack
from plimsoll_operator.cli.importing.draft import Choices, Draft, Imported
from plimsoll_operator.cli.importing.read import Ledger, Others, Part, origin_of
from plimsoll_operator.cli.importing.same import say_what_is_left


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """One format: what people call it, which objects are of it, and what they become; nothing where they serve no vLLM."""

    name: str
    takes: Callable[[Manifest], bool]
    translate: Callable[[Part, Others, Choices], tuple[Draft, ...]]


FORMATS: Final = (
    Format(
        name="Deployment, StatefulSet, DaemonSet, Job, LeaderWorkerSet, Pod and their like", takes=plain.takes, translate=plain.translate
    ),
    Format(name="values of vLLM's production stack", takes=production_stack.takes, translate=production_stack.translate),
    Format(name="KServe LLMInferenceService", takes=kserve.takes, translate=kserve.translate),
    Format(name="KServe InferenceService", takes=kserve_predictor.takes, translate=kserve_predictor.translate),
    Format(name="KAITO Workspace or InferenceSet", takes=kaito.takes, translate=kaito.translate),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of one object: InferenceDeployments, a refusal, or neither, where nothing here is about it.

    `used`: other objects of the file that it was read with.
    """

    origin: str
    imported: tuple[Imported, ...] = ()
    used: tuple[str, ...] = ()
    refusal: InvalidInput | None = None


def import_objects(objects: Sequence[Manifest], choices: Choices) -> Iterator[Outcome]:
    """What comes of each object of a file."""
    others = Others.of(objects)
    return (import_object(obj, others, choices) for obj in objects)


def import_object(obj: Manifest, others: Others, choices: Choices) -> Outcome:
    """What comes of one object of a file, beside the others of it."""
    origin = origin_of(obj)
    for one in FORMATS:
        if one.takes(obj):
            ledger = Ledger()
            try:
                drafts = one.translate(ledger.open(obj), others, choices)
                if drafts:
                    say_what_is_left(drafts, tuple(ledger.left()))
                return Outcome(
                    origin=origin,
                    imported=tuple(draft.finish() for draft in drafts),
                    used=tuple(path.removesuffix(": ") for path in ledger.opened if path),
                )
            except InvalidInput as error:
                return Outcome(origin=origin, refusal=error)
    return Outcome(origin=origin)


def known_formats() -> str:
    """The formats by name, for a sentence."""
    return "; ".join(one.name for one in FORMATS)
