"""Whose an object is that has the name of a child: of this InferenceDeployment, of an earlier one of its name, or somebody else's.

Asked by the children before anything is made, changed or taken away. Reads owner references; makes no request.
"""

from __future__ import annotations

from typing import Final

from plimsoll_operator.api import InferenceDeployment
from plimsoll_operator.ports import INFERENCE_DEPLOYMENTS, LEADER_WORKER_SETS, Key, Manifest, Resource
from plimsoll_operator.text import one_line

_MAX_OWNER: Final = 320


def controlled(child: Manifest, deployment: InferenceDeployment) -> bool:
    """Whether the deployment as it exists now controls the child."""
    owners = child["metadata"].get("ownerReferences") or ()
    return any(row.get("uid") == deployment.metadata.uid and row.get("controller") is True for row in owners)


def owned(child: Manifest, uid: str) -> bool:
    """Whether the object with this uid is among its owners."""
    return any(owner.get("uid") == uid for owner in child["metadata"].get("ownerReferences") or ())


def handed_over(resource: Resource, child: Manifest, deployment: InferenceDeployment) -> list[str]:
    """One sentence where the child that was made is not controlled by its InferenceDeployment any more; else none.

    The API server lets one owner control an object and would refuse every apply, and the guard lets the controller change nothing that
    is not its own: whoever has changed it must put it back.
    """
    rows = [row for row in child["metadata"].get("ownerReferences") or () if isinstance(row, dict)]
    if any(row.get("controller") is True and row.get("uid") == deployment.metadata.uid for row in rows):
        return []
    other = next((row for row in rows if row.get("controller") is True), None)
    what, own = f"The {resource.kind} {child['metadata'].get('namespace', '')}/{child['metadata']['name']}", deployment.metadata.name
    if other is None:
        return [f'{what} has no controlling owner: set "controller: true" at InferenceDeployment {own} in its metadata.ownerReferences.']
    owner = one_line(f"{other.get('kind')} {other.get('name')}", _MAX_OWNER)
    mend = f'remove {owner} from its metadata.ownerReferences and set "controller: true" at InferenceDeployment {own}'
    return [f"{what} is controlled by {owner}, so nothing of it is changed: {mend}, or delete it to have it made anew."]


def left_behind(child: Manifest, key: Key, uid: str) -> bool:
    """Whether its controller was an InferenceDeployment of this name with another uid. Names are unique, so that one is deleted."""
    return any(
        owner.get("controller")
        and owner.get("kind") == INFERENCE_DEPLOYMENTS.kind
        and str(owner.get("apiVersion", "")).startswith(f"{INFERENCE_DEPLOYMENTS.group}/")
        and owner.get("name") == key[1]
        and owner.get("uid") != uid
        for owner in child["metadata"].get("ownerReferences") or ()
    )


def made_for_group(service: Manifest) -> bool:
    """Whether LeaderWorkerSet has made this Service, for a set of the same name."""
    owners = service["metadata"].get("ownerReferences") or ()
    return any(row.get("kind") == LEADER_WORKER_SETS.kind and row.get("name") == service["metadata"]["name"] for row in owners)
