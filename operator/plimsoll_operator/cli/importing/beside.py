"""Containers before and beside the engine, laid into spec.template where the API has what they cannot do without; else named whole.

Called by `pod`. Knows no format and no argument of vLLM.
"""

from __future__ import annotations

from typing import Any, Final

from plimsoll_operator.api import Sidecar, TemplateSpec
from plimsoll_operator.api.parse import known_fields
from plimsoll_operator.cli.importing.draft import Draft
from plimsoll_operator.cli.importing.env import lay_env
from plimsoll_operator.cli.importing.read import Part
from plimsoll_operator.cli.importing.resources import lay_requests_beside
from plimsoll_operator.cli.importing.same import SAME, take_same
from plimsoll_operator.cli.importing.secret_looks import secret_in, texts_in
from plimsoll_operator.cli.importing.volumes import Volumes

_HARMLESS: Final = frozenset({"lifecycle"})
"""Without these a container beside the engine does the same."""
_TAKEN_APART: Final = frozenset({"env", "resources", "securityContext", "volumeMounts"})


def lay_beside(draft: Draft, container: Part, field: str, volumes: Volumes) -> None:
    """One container. One that asks for a GPU, or for what the API's list cannot say, is not carried over."""
    known = known_fields(known_fields(TemplateSpec).get(field) or Sidecar)
    name = str(container.peek("name") or "a container")
    needed = sorted(key for key in container.fields if key not in known and not _same(key, container.peek(key)) and key not in _HARMLESS)
    if needed:
        draft.lost(container.path, f"{name} is not carried over, {field} cannot say {', '.join(needed)}: {_APART}")
        return
    asked = [key for part in ("limits", "requests") for key in container.part("resources", part).fields if key not in _COUNTED]
    if asked:
        draft.lost(container.path, f"{name} is not carried over, it asks for {asked[0]}, which {field} cannot: {_APART}")
        return
    plain = {key: container.peek(key) for key in container.fields if key in known and key != "env"}
    if any(secret_in(text) for text in texts_in(plain)):
        draft.lost(container.path, f"{name} is not carried over, a secret stands in its command: give it by a Secret in its env")
        return
    mounts = volumes.beside(container, name)
    if mounts is None:
        return
    take_same(container, but=("restartPolicy",))
    made: dict[str, Any] = {key: container.take(key) for key in container.fields if key in known and key not in _TAKEN_APART}
    made |= {"env": lay_env(draft, container), "resources": lay_requests_beside(container), "volumeMounts": mounts}
    made["securityContext"] = _security(container.part("securityContext"))
    for key in _HARMLESS & container.fields.keys():
        draft.lost(container.at(key), f"of {name} is not carried over: the container does the same without")
    draft.add(f"spec.template.{field}", {key: value for key, value in made.items() if value not in ({}, [], None, "")}, container.path)


_APART: Final = "run it in a pod of its own, or in the image"
_COUNTED: Final = frozenset({"cpu", "memory", "ephemeral-storage"})


def _same(key: str, value: Any) -> bool:
    return value in ("", [], {}) or any(value == same for same in SAME.get(key, ()))


def _security(security: Part) -> dict[str, Any]:
    """As whom it runs. What every container has is taken; the rest the API judges."""
    for key, same in NO_RIGHTS.items():
        if security.peek(key) == same:
            security.take(key)
    return {key: security.take(key) for key in security.fields if key not in NO_RIGHTS or security.peek(key) != NO_RIGHTS[key]}


NO_RIGHTS: Final[dict[str, Any]] = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "privileged": False,
    "seccompProfile": {"type": "RuntimeDefault"},
}
"""What Pod Security's restricted profile asks for, and every container of a plan has."""
