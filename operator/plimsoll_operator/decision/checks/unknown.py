"""What happens next where a model's shape is not known, as webhook, controller and CLI say it. Pure text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from plimsoll_operator.api import ModelSpec
from plimsoll_operator.facts import ModelUnknown
from plimsoll_operator.read_request import ConfigMapKey, OperatorHub, Origin, read_request_of
from plimsoll_operator.reasons import NoShape

_BY_HAND: Final = "a ModelProfile decides it at once: `plimsoll profile` makes one"
_READS: Final[Mapping[type[Origin], str]] = {
    OperatorHub: "the controller reads the shape from the hub next",
    ConfigMapKey: "the controller reads the ConfigMap next",
}
_POD_READS: Final = "a pod in this namespace reads the shape next"


def next_step(unknown: ModelUnknown, model: ModelSpec, namespace: str) -> str:
    """One or two sentences. Nothing is promised that depends on settings: how a reading went is in ModelResolved."""
    if unknown.kind is NoShape.RESOLVING:
        return "No pods are made until it is read; it is decided then."
    request = read_request_of(namespace, model)
    if unknown.kind is NoShape.AMBIGUOUS and not unknown.asked:
        return "No pods are made until one of them goes, or spec.model.profile.name says which holds."
    if unknown.kind is NoShape.INVALID or request is None:
        return f"No pods are made until that is put right; {_BY_HAND}."
    if unknown.asked:
        return f"No pods are made. It is asked again from time to time; {_BY_HAND}."
    return f"No pods are made yet: {_READS.get(type(request.source), _POD_READS)}, and ModelResolved says how that went; {_BY_HAND}."
