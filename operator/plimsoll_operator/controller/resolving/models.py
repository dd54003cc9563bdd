"""The reconciler's view of resolution: where nobody has described a model, ask the resolver, and say what it says.

Called once per reconcile, answers from memory. Knows when a deployment may go on with what is shipped and when it waits.
"""

from __future__ import annotations

from dataclasses import replace

from plimsoll_operator.controller.resolving.fetcher import FetchFailure
from plimsoll_operator.controller.resolving.resolver import Resolver
from plimsoll_operator.facts import Facts, ModelFacts, ModelUnknown
from plimsoll_operator.gather import CATALOGUE
from plimsoll_operator.names import COMMIT
from plimsoll_operator.ports import Key
from plimsoll_operator.read_request import OperatorHub, ReadRequest, TokenHub, read_request_of
from plimsoll_operator.reasons import NoShape


class Models:
    """Owned by the one worker; the resolver behind it has threads of its own."""

    def __init__(self, resolver: Resolver) -> None:
        self._resolver = resolver

    def consider(self, key: Key, facts: Facts, *, effort: str, running: bool) -> Facts:
        """The facts, with what reading the model says where its shape is not known or its revision is not yet a commit.

        Where a plan is `running`, a shape that answers is never taken away to wait for a commit.
        """
        spec = facts.deployment.spec
        model = spec.model
        request = read_request_of(key[0], model, spec.template)
        if request is None or not _is_open(facts, request, model.revision) or not self._resolver.answers(request):
            self._resolver.forget(key)
            return facts
        answer = self._resolver.answer(key, request, effort)
        if isinstance(facts.model, ModelUnknown):
            return replace(facts, model=_unknown(request, answer if isinstance(answer, FetchFailure) else None))
        if isinstance(answer, FetchFailure):
            note = f"{model.revision} is not resolved to a commit ({answer.reason}: {answer.message})"
            return replace(facts, model=replace(facts.model, note=note))
        if running:
            return facts
        return replace(facts, model=_unknown(request, None))

    def forget(self, key: Key) -> None:
        """The deployment is gone or cannot be read."""
        self._resolver.forget(key)


def _is_open(facts: Facts, request: ReadRequest, revision: str | None) -> bool:
    """Whether a reading could help: the shape is not known, or a revision is named and it is the shipped one, which knows of none."""
    model = facts.model
    if isinstance(model, ModelFacts):
        return model.source == CATALOGUE and revision is not None and isinstance(request.source, OperatorHub | TokenHub)
    return model.kind is NoShape.NOT_FOUND


def _unknown(request: ReadRequest, failure: FetchFailure | None) -> ModelUnknown:
    if failure is not None:
        return ModelUnknown(kind=failure.reason, problem=failure.message, asked=True)
    what = "is being read" if request.revision is None or COMMIT.fullmatch(request.revision) else f"at {request.revision} is being read"
    return ModelUnknown(kind=NoShape.RESOLVING, problem=f"the shape of {request.model} {what}")
