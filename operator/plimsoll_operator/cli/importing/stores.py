"""Addresses of weights, as KServe and vLLM write them, and the source of spec.model that each is: hub, claim, image, bucket.

Called by `server` and the translators. Pure; looks into no store.
"""

from __future__ import annotations

from typing import Final

from plimsoll_estimator import InvalidInput
from plimsoll_operator.cli.importing.draft import Draft

_SOURCE: Final = "spec.model.source"
_BUCKETS: Final = ("s3", "gs", "az")
_IN_A_MODELCAR: Final = "models"
"""Where KServe's images of models have their files (its documentation, "Modelcars")."""


def lay_uri(draft: Draft, uri: str | None, name: str | None, field: str) -> str:
    """The model's name; what the address names goes to its source. Raises InvalidInput of a store that no source names, and of none."""
    if uri is not None and "://" in uri:
        return lay_store(draft, uri, name, field)
    if uri or name:
        return uri or name or ""
    raise InvalidInput(field, None, "names no model: write hf:// with the model's hub id")


def lay_store(draft: Draft, uri: str, name: str | None, field: str) -> str:
    """Put the source; the model's name, by `name` where there is one. Raises InvalidInput of a store that no source can name."""
    scheme, _, rest = uri.partition("://")
    if scheme == "hf":
        model, _, revision = rest.partition(":")
        draft.put("spec.model.revision", revision or None, field)
        return model
    if scheme == "pvc":
        claim, _, folder = rest.partition("/")
        path = folder.strip("/")
        draft.put(f"{_SOURCE}.persistentVolumeClaim", {"claimName": claim, **({"path": path} if path else {})}, field)
        return name or path.rpartition("/")[2] or claim
    if scheme == "oci":
        draft.put(f"{_SOURCE}.image", {"reference": rest, "path": _IN_A_MODELCAR}, field)
        draft.assume(field, f"the files are taken to be in the folder /{_IN_A_MODELCAR} of the image, where KServe has them")
        return name or rest.partition("@")[0].rpartition("/")[2].partition(":")[0]
    if scheme in _BUCKETS:
        return _lay_bucket(draft, uri, name or rest.rstrip("/").rpartition("/")[2], field)
    limit = "is a store that spec.model.source cannot name: put the checkpoint on a claim, into an image or a bucket, or name the hub's id"
    raise InvalidInput(field, f"{scheme}://", limit)


def _lay_bucket(draft: Draft, uri: str, name: str, field: str) -> str:
    """Nobody here reads buckets: the shape is expected in a profile of the deployment's own name."""
    profile = draft.get("metadata.name") or "model"
    draft.put(f"{_SOURCE}.objectStorage", {"uri": uri}, field)
    draft.put("spec.model.profile", {"name": profile}, field)
    draft.assume(
        field,
        f"what the bucket holds is looked for in the ModelProfile {profile}: make it with plimsoll profile fetch ORG/NAME --name {profile},"
        f" and let it say {name} in spec.model; vLLM streams the weights itself, with credentials of spec.template.env",
    )
    return name
