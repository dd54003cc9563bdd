"""The engine's mounts and the pod's volumes put together, one entry of spec.template.volumes each; and which claim a model lies on.

Called by `server`. Knows no format.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from plimsoll_operator.api import Manifest
from plimsoll_operator.cli.importing.draft import Draft
from plimsoll_operator.cli.importing.read import entries, mapping, text
from plimsoll_operator.pod import CACHE_MOUNT, SHARED_MEMORY_MOUNT

_FIELD: Final = "spec.template.volumes"
_KINDS: Final = ("emptyDir", "configMap", "secret", "persistentVolumeClaim", "csi", "image")
_CLAIM: Final = "spec.model.source.persistentVolumeClaim"
_IMAGE: Final = "spec.model.source.image"


@dataclass(frozen=True, slots=True, kw_only=True)
class Mounted:
    """One mount of the engine's: where, what, and the fields that say so."""

    path: str
    mount: Manifest
    volume: Manifest
    source: str

    @property
    def claim(self) -> str | None:
        """The claim behind it."""
        return text(mapping(self.volume, "persistentVolumeClaim").get("claimName"))


def mounts_of(container: Manifest, pod: Manifest, path: str) -> list[Mounted]:
    """Every mount whose volume is in the pod."""
    volumes = {str(row.get("name")): row for _, row in entries(pod.get("volumes"))}
    return [
        Mounted(
            path=text(row.get("mountPath")) or "",
            mount=row,
            volume=volumes.get(str(row.get("name")), {"name": row.get("name")}),
            source=f"{path}.volumeMounts[{place}]",
        )
        for place, row in entries(container.get("volumeMounts"))
    ]


def holding(mounts: list[Mounted], folder: str) -> Mounted | None:
    """The mount that a folder of the engine's container lies on."""
    found = [one for one in mounts if folder == one.path or folder.startswith(one.path.rstrip("/") + "/")]
    return max(found, key=lambda one: len(one.path), default=None)


def lay_model_folder(draft: Draft, mounts: list[Mounted], folder: str, source: str) -> Mounted | None:
    """A model by its path: the claim or image that it lies on, and the folder there. The mount is then the plan's; None without either."""
    one = holding(mounts, folder)
    image = mapping(one.volume, "image") if one is not None else {}
    if one is None or (one.claim is None and not image):
        what = "no volume is mounted there" if one is None else "it lies on no claim and in no image"
        draft.lost(source, f"the model is a folder, and {what}: name a claim in {_CLAIM}, or the model by its hub id in spec.model.name")
        return None
    inside = folder.removeprefix(one.path.rstrip("/")).strip("/")
    below = text(one.mount.get("subPath"))
    path = "/".join(part.strip("/") for part in (below, inside) if part)
    place = {"path": path} if path else {}
    if image:
        draft.put(_IMAGE, {**image, **place}, source)
    else:
        draft.put(_CLAIM, {"claimName": one.claim, **place}, source)
    return one


def lay_volumes(draft: Draft, mounts: list[Mounted], used: Mounted | None) -> None:
    """Every mount but the model's own, as the API has volumes; /dev/shm is the plan's, sized for its GPUs."""
    for one in mounts:
        if one is used:
            continue
        kind = next((kind for kind in _KINDS if kind in one.volume), None)
        if one.path.rstrip("/") == SHARED_MEMORY_MOUNT and kind == "emptyDir":
            continue
        if one.path.rstrip("/") == CACHE_MOUNT:
            _say_of_the_cache(draft, one)
            continue
        if kind is None:
            others = sorted(key for key in one.volume if key != "name")
            what = others[0] if others else "no volume that the pod has"
            draft.lost(one.source, f"{one.volume.get('name')} is not carried over, it is {what}: {_FIELD} takes {', '.join(_KINDS)}")
            continue
        draft.add(_FIELD, _entry(one, kind), one.source)


def _say_of_the_cache(draft: Draft, one: Mounted) -> None:
    if one.claim is not None:
        instead = f"name a claim that holds the checkpoint in {_CLAIM}, or mount it elsewhere and set HF_HOME there in spec.template.env"
        draft.lost(one.source, f"the claim {one.claim} at the hub's cache is not carried over, a volume of the plan's is there: {instead}")


def _entry(one: Mounted, kind: str) -> Manifest:
    given = {key: value for key, value in mapping(one.volume, kind).items() if key not in ("defaultMode", "medium")}
    if kind == "secret" and "secretName" in given:
        given["name"] = given.pop("secretName")
    extra = {key: value for key, value in one.mount.items() if key not in ("name", "mountPath", "readOnly")}
    if kind == "persistentVolumeClaim" and one.mount.get("readOnly") is True:
        given["readOnly"] = True
    name = str(one.volume.get("name"))
    return {"name": name if name not in ("shm", "weights", "hub-cache") else f"{name}-volume", "mountPath": one.path, kind: given, **extra}
