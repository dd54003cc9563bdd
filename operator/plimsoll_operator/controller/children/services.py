"""The Service of a deployment: whether it leads to the pods as rendered, and what to patch where somebody has bent it.

Used by the caches (which keep a digest of what counts, whatever users write into the rest) and by the children. Its type,
its node ports and what others add in annotations are its user's. Pure.
"""

from __future__ import annotations

from plimsoll_operator.ports import Manifest
from plimsoll_operator.render import digest_of

_PORT_FIELDS = ("name", "port", "targetPort", "protocol")


def leads_to(service: Manifest) -> str:
    """Digest of where the Service leads: its selector and its ports, or the outside name that it stands for instead."""
    spec = service.get("spec") or {}
    ports = [[str(port.get(field) or "") for field in _PORT_FIELDS] for port in spec.get("ports") or ()]
    return digest_of([spec.get("selector") or {}, ports, spec.get("externalName") or ""])


def straightened(bent: Manifest, wanted: Manifest) -> Manifest:
    """The merge patch that makes a Service lead where the wanted one leads. An apply would leave what others have added."""
    spec, right = bent.get("spec") or {}, wanted["spec"]
    added = {key: None for key in spec.get("selector") or {} if key not in right["selector"]}
    patch: Manifest = {"selector": {**added, **right["selector"]}, "ports": right["ports"]}
    if spec.get("externalName"):
        patch |= {"type": "ClusterIP", "externalName": None}
    return {"metadata": {"labels": wanted["metadata"]["labels"]}, "spec": patch}
