"""What a child on the API server says of its deployment's booking: read by a new leader, and where a bug has stopped a key.

Labels, owners and annotations of children are input from outside: whoever may edit Deployments in a namespace may write them.
Pure; knows no ledger.
"""

from __future__ import annotations

from collections.abc import Mapping

from plimsoll_operator.capacity.groups import Labels
from plimsoll_operator.controller.booking.reservation import Reservation
from plimsoll_operator.controller.children.children import GROUP, SINGLE, is_gated
from plimsoll_operator.controller.children.course import applied_from_child
from plimsoll_operator.controller.children.refusals import pods_refused
from plimsoll_operator.names import NAME_LABEL
from plimsoll_operator.ports import INFERENCE_DEPLOYMENTS, Key, Manifest


def deployment_of(child: Manifest, uids: Mapping[Key, str]) -> Key | None:
    """The InferenceDeployment whose plan the child runs, of those that exist (`uids`); None where it is nobody's, whatever it says."""
    metadata = child["metadata"]
    namespace, name = metadata.get("namespace", ""), (metadata.get("labels") or {}).get(NAME_LABEL)
    if not name or metadata["name"] not in (SINGLE.name(name), GROUP.name(name)):
        return None
    uid = uids.get((namespace, name))
    owners = [row for row in metadata.get("ownerReferences") or () if row.get("kind") == INFERENCE_DEPLOYMENTS.kind]
    return (namespace, name) if uid is not None and any(row.get("uid") == uid for row in owners) else None


def reservation_of(child: Manifest, *, gated: bool) -> Reservation | None:
    """What is reserved for the child's deployment, as its annotations tell; None where they carry no plan. `gated`: some pod of it is."""
    applied = applied_from_child(child)
    if applied is None:
        return None
    replicas = int((child.get("spec") or {}).get("replicas") or 0)
    return Reservation(
        plan=applied.plan,
        replicas=replicas,
        decided=applied.decided,
        generation=applied.origin.generation,
        gated=gated or is_gated(child),
        child_replicas=replicas,
        refused=pods_refused(child) is not None,
        selector=_selector(child),
    )


def _selector(child: Manifest) -> Labels:
    """The node labels that the child's pods ask for, as the cache keeps them."""
    pairs = (child.get("spec") or {}).get("nodeSelector") or {}
    return tuple(sorted((str(key), str(value)) for key, value in pairs.items()))
