"""Variables of a container: references are kept, literal secrets never, and what the plan could not be held to with is left out.

Called by `server` for the engine and by `pod` for what runs beside it. The decision's own list says which variables move the plan.
"""

from __future__ import annotations

from collections.abc import Sequence, Set
from typing import Final

from plimsoll_operator.api import Manifest
from plimsoll_operator.cli.importing.draft import Draft
from plimsoll_operator.cli.importing.read import entries, mapping, text
from plimsoll_operator.cli.importing.secret_looks import secret_name, secret_value
from plimsoll_operator.decision.checks.environment import loads_code, moves_the_plan

HUB_TOKENS: Final = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HUGGINGFACE_HUB_TOKEN", "HF_API_TOKEN")
"""What libraries of the hub have read a token from."""
_TOKEN_FIELD: Final = "spec.model.source.huggingFace.tokenSecretRef"
_SECRET: Final = "looks like a secret, and a literal one is not copied: put it into a Secret and name that"


def literals(container: Manifest) -> dict[str, str]:
    """Values that the container's variables have as text, for putting into its command."""
    rows = (row for _, row in entries(container.get("env")))
    found = {str(row.get("name")): value for row in rows if isinstance(value := row.get("value"), str)}
    return {name: value for name, value in found.items() if not (secret_name(name) or secret_value(value))}


def lay_env(draft: Draft, container: Manifest, path: str) -> list[Manifest]:
    """The variables that may be kept, as the API writes them; the others are said."""
    found = (kept_of(draft, row, f"{path}.env[{place}]") for place, row in entries(container.get("env")))
    return list({row["name"]: row for row in found if row is not None}.values())


def kept_of(draft: Draft, row: Manifest, source: str) -> Manifest | None:
    """One variable as the API writes it; None, with a sentence, of a literal secret."""
    name, value = text(row.get("name")) or "", row.get("value")
    if "valueFrom" not in row and isinstance(value, str) and value and (secret_name(name) or secret_value(value)):
        draft.lost(source, f"{name} {_SECRET} with valueFrom.secretKeyRef")
        return None
    return {"name": name, **({"value": value} if isinstance(value, str) else {}), **_reference(row)}


def _reference(row: Manifest) -> Manifest:
    return {"valueFrom": mapping(row, "valueFrom")} if "valueFrom" in row else {}


def lay_engine_env(draft: Draft, rows: Sequence[tuple[str, Manifest]], secrets: Set[str] = frozenset()) -> None:
    """The engine's variables, each with its field: a hub's token to the source that has a field for it, the rest to spec.template.env.

    `secrets` are values that an argument has shown to be ones.
    """
    for source, row in rows:
        name = text(row.get("name")) or ""
        if name in HUB_TOKENS:
            _lay_token(draft, row, source)
        elif row.get("value") and row.get("value") in secrets:
            draft.lost(source, f"{name} {_SECRET} with valueFrom.secretKeyRef")
        elif (why := moves_the_plan(name)) is not None:
            draft.lost(source, f"{name} is not carried over, it {why}")
        elif loads_code(name):
            draft.lost(source, f"{name} is not carried over, it lets code be loaded from elsewhere: set it where a FitPolicy allows that")
        else:
            made = kept_of(draft, row, source)
            if made is not None:
                draft.add("spec.template.env", made, source)


def _lay_token(draft: Draft, row: Manifest, source: str) -> None:
    reference = mapping(row, "valueFrom", "secretKeyRef")
    if draft.get("spec.model.source.persistentVolumeClaim") is not None:
        draft.lost(source, f"{row.get('name')} is not carried over: pods that load their weights from a claim ask no hub")
    elif reference:
        draft.put(_TOKEN_FIELD, {key: reference[key] for key in ("name", "key") if key in reference}, source)
    elif row.get("value") or row.get("valueFrom"):
        draft.lost(source, f"{row.get('name')} {_SECRET} in {_TOKEN_FIELD}")
