"""Variables of a container: references are kept, literal secrets never, and what the plan could not be held to with is left out.

Called by `server` for the engine and by `beside` for what runs beside it. The decision's own list says which variables move the plan.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from plimsoll_estimator import InvalidInput
from plimsoll_operator.api import Manifest
from plimsoll_operator.cli.importing.draft import Draft
from plimsoll_operator.cli.importing.read import Part
from plimsoll_operator.cli.importing.secret_looks import secret_variable
from plimsoll_operator.cli.importing.words import Budget, Unknown, of_the_kubelet
from plimsoll_operator.decision.checks.environment import loads_code, moves_the_plan
from plimsoll_operator.text import one_line

HUB_TOKENS: Final = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HUGGINGFACE_HUB_TOKEN", "HF_API_TOKEN")
"""What libraries of the hub have read a token from."""
_TOKEN_FIELD: Final = "spec.model.source.huggingFace.tokenSecretRef"
_SECRET: Final = "looks like a secret, and a literal one is not copied: put it into a Secret and name that"
_MOST: Final = 4096
"""Variables of one container that are looked at; the API takes 64."""


def literals(container: Part, budget: Budget) -> dict[str, str]:
    """Values that the container's variables have as text, for putting into its command; each may name earlier ones, as the kubelet has it.

    Raises InvalidInput of more of them, or more text, than any pod has.
    """
    rows = container.entries("env")
    if len(rows) > _MOST:
        raise InvalidInput(container.at("env"), len(rows), f"variables are more than {_MOST}")
    known: dict[str, str] = {}
    for row in rows:
        name, value = str(row.peek("name")), row.peek("value")
        if isinstance(value, str) and not secret_variable(name, value):
            known[name] = str(of_the_kubelet(value, known, budget))
        else:
            known.pop(name, None)
    return known


def lay_env(draft: Draft, container: Part) -> list[Manifest]:
    """The variables that may be kept, as the API writes them; the others are said."""
    rows: dict[str, Manifest] = {}
    for row in container.entries("env"):
        made = kept_of(draft, row)
        if made is not None:
            if made["name"] in rows:
                draft.lost(f"{row.path}.name", f"{one_line(made['name'], 60)} is given twice, and the last one counts, as in a pod")
            rows[made["name"]] = made
    return list(rows.values())


def kept_of(draft: Draft, row: Part) -> Manifest | None:
    """One variable as the API writes it; None, with a sentence, of a literal secret and of what is no variable."""
    name, value = row.text("name") or "", row.peek("value")
    if value is not None and not isinstance(value, str):
        draft.lost(row.path, f"{one_line(name, 60)} is not carried over, its value is no text: put it in quotes")
        return None
    if isinstance(value, str) and secret_variable(name, value):
        draft.secret(value)
        draft.lost(row.path, f"{one_line(name, 60)} {_SECRET} with valueFrom.secretKeyRef")
        return None
    if isinstance(value, Unknown):
        draft.lost(row.path, f"{one_line(name, 60)} is not carried over: its value is not in the file, or is set in a branch of the script")
        return None
    taken = {key: row.take(key) for key in ("value", "valueFrom") if row.has(key)}
    return {"name": name, **taken}


def lay_engine_env(draft: Draft, rows: Sequence[Part]) -> None:
    """The engine's variables: a hub's token to the source that has a field for it, the rest to spec.template.env."""
    for row in rows:
        name, value = row.text("name") or "", row.peek("value")
        if name in HUB_TOKENS:
            _lay_token(draft, name, row)
        elif isinstance(value, str) and value in draft.secrets and value:
            draft.lost(row.path, f"{one_line(name, 60)} {_SECRET} with valueFrom.secretKeyRef")
        elif (why := moves_the_plan(name)) is not None:
            draft.lost(row.path, f"{one_line(name, 60)} is not carried over, it {why}")
        elif loads_code(name):
            draft.lost(row.path, f"{name} is not carried over, it lets code be loaded from elsewhere: set it where a FitPolicy allows that")
        else:
            made = kept_of(draft, row)
            if made is not None:
                draft.add("spec.template.env", made, row.path)


def _lay_token(draft: Draft, name: str, row: Part) -> None:
    reference, value = row.part("valueFrom", "secretKeyRef"), row.peek("value")
    if isinstance(value, str) and value:
        draft.secret(value)
    if draft.get("spec.model.source.persistentVolumeClaim") is not None:
        draft.lost(row.path, f"{name} is not carried over: pods that load their weights from a claim ask no hub")
    elif reference.fields:
        found = {key: value for key in ("name", "key") if (value := reference.text(key)) is not None}
        draft.put(_TOKEN_FIELD, found, row.path)
    elif value or row.has("valueFrom"):
        draft.lost(row.path, f"{name} {_SECRET} in {_TOKEN_FIELD}")
    else:
        row.take("value")
