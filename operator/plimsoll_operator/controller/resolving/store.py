"""Writes what was read as a ClusterModelProfile or ModelProfile, by server-side apply under a name that follows from the reading.

Called by the resolver on its threads. An object of that name that is not the controller's own is never overwritten: whoever
takes the label off keeps the profile. Knows no source.
"""

from __future__ import annotations

from typing import Final

from plimsoll_operator.controller.resolving.fetcher import Fetched, FetchFailure
from plimsoll_operator.errors import ApiFailure
from plimsoll_operator.names import API_VERSION, MANAGED_LABEL, MANAGED_VALUE, NOTES_ANNOTATION
from plimsoll_operator.ports import CLUSTER_MODEL_PROFILES, MODEL_PROFILES, Kube, Manifest
from plimsoll_operator.read_request import ReadRequest
from plimsoll_operator.reasons import NoShape

_MAX_NOTES: Final = 2048


class ProfileKeeper:
    """See the module. Safe to use from several threads, as the client is."""

    def __init__(self, kube: Kube) -> None:
        self._kube = kube

    def keep(self, request: ReadRequest, fetched: Fetched) -> FetchFailure | None:
        """Make or update the profile. What the API server refuses is a failure that is tried again."""
        resource = CLUSTER_MODEL_PROFILES if fetched.cluster else MODEL_PROFILES
        name = request.profile_name
        try:
            there = self._kube.get(resource, request.namespace, name)
            if there is not None and not _is_ours(there):
                return FetchFailure(reason=NoShape.AMBIGUOUS, message=f"the {resource.kind} {name} is there and describes something else")
            self._kube.apply(resource, profile_manifest(request, fetched))
        except ApiFailure as failure:
            return FetchFailure(reason=NoShape.UNREACHABLE, message=f"the {resource.kind} {name} could not be written: {failure}")
        return None


def profile_manifest(request: ReadRequest, fetched: Fetched) -> Manifest:
    """The profile as it is applied."""
    metadata: Manifest = {"name": request.profile_name, "labels": {MANAGED_LABEL: MANAGED_VALUE}}
    if not fetched.cluster:
        metadata["namespace"] = request.namespace
    if fetched.notes:
        metadata["annotations"] = {NOTES_ANNOTATION: "; ".join(fetched.notes)[:_MAX_NOTES]}
    return {
        "apiVersion": API_VERSION,
        "kind": "ClusterModelProfile" if fetched.cluster else "ModelProfile",
        "metadata": metadata,
        "spec": fetched.spec.model_dump(mode="json", by_alias=True, exclude_none=True),
    }


def _is_ours(manifest: Manifest) -> bool:
    return (manifest["metadata"].get("labels") or {}).get(MANAGED_LABEL) == MANAGED_VALUE
