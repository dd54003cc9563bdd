"""Mounts and volumes put together, one entry of spec.template.volumes each; and which claim or image a model lies on.

Called by `server` for the engine and by `beside` for other containers, which see volumes of spec.template only. Knows no format.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from plimsoll_operator.api import Manifest
from plimsoll_operator.api.volumes import OWNED_VOLUMES
from plimsoll_operator.cli.importing.draft import VOLUMES, Draft
from plimsoll_operator.cli.importing.read import Part, text_of
from plimsoll_operator.cli.importing.secret_looks import secret_name
from plimsoll_operator.pod import CACHE_MOUNT, SHARED_MEMORY_MOUNT
from plimsoll_operator.text import one_line

_KINDS: Final = ("emptyDir", "configMap", "secret", "persistentVolumeClaim", "csi", "image")
_ALWAYS_READ_ONLY: Final = ("configMap", "secret", "image")
_NONE: Final = "no volume that the pod has"
_KNOWN: Final = ("name", "mountPath", "readOnly")
_CLAIM: Final = "spec.model.source.persistentVolumeClaim"
_IMAGE: Final = "spec.model.source.image"
_ELSEWHERE: Final = "/mnt"
"""Where the engine sees what only another container mounts: a volume of spec.template has a place in the engine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mounted:
    """One mount of a container's: where, and what."""

    path: str
    mount: Part
    volume: Part

    @property
    def kind(self) -> str | None:
        """Which of the kinds the API has; None of another, and of a volume that the pod has not."""
        return next((kind for kind in _KINDS if isinstance(self.volume.peek(kind), dict)), None)

    @property
    def claim(self) -> str | None:
        """The claim behind it."""
        return text_of(self.volume.part("persistentVolumeClaim").peek("claimName"))


@dataclass(slots=True, kw_only=True)
class Volumes:
    """A pod's volumes on their way. `names`: what each is called in spec.template, once it is there; `owned`: those that the plan makes."""

    draft: Draft
    volumes: Mapping[str, Part]
    mounts: list[Mounted]
    names: dict[str, str] = field(default_factory=dict)
    owned: set[str] = field(default_factory=set)

    @staticmethod
    def of(draft: Draft, pod: Part, engine: Part) -> Volumes:
        """Those of the pod, with the engine's mounts."""
        volumes = {str(row.peek("name")): row for row in pod.entries("volumes")}
        return Volumes(draft=draft, volumes=volumes, mounts=_mounts_of(volumes, engine))

    def lay_model_folder(self, folder: str, source: str) -> Mounted | None:
        """A model by its path: the claim or image that it lies on, and the folder there. The mount is then the plan's."""
        found = [one for one in self.mounts if folder == one.path or folder.startswith(one.path.rstrip("/") + "/")]
        one = max(found, key=lambda one: len(one.path), default=None)
        if one is None or (one.claim is None and not one.volume.has("image")):
            what = "no volume is mounted there" if one is None else "it lies on no claim and in no image"
            say = f"the model is a folder, and {what}: name a claim in {_CLAIM}, or the model by its hub id in spec.model.name"
            self.draft.lost(source, say)
            return None
        inside = folder.removeprefix(one.path.rstrip("/")).strip("/")
        path = "/".join(part.strip("/") for part in (one.mount.text("subPath"), inside) if part)
        place = {"path": path} if path else {}
        if one.claim is not None:
            claim = one.volume.part("persistentVolumeClaim")
            claim.text("claimName")
            claim.truth("readOnly")
            self.draft.put(_CLAIM, {"claimName": one.claim, **place}, source)
        else:
            self.draft.put(_IMAGE, {**one.volume.take("image"), **place}, source)
        for key in ("name", "mountPath", "readOnly"):
            one.mount.take(key)
        one.volume.text("name")
        return one

    def lay(self, used: Mounted | None) -> None:
        """Every mount of the engine's but the model's own; what the plan mounts itself is taken where it is the same."""
        for one in self.mounts:
            place = one.path.rstrip("/")
            if one is used:
                continue
            if place == SHARED_MEMORY_MOUNT and one.kind == "emptyDir":
                self.owned.add(str(one.volume.peek("name")))
                self._lay_shared_memory(one)
            elif place == CACHE_MOUNT and one.volume.peek("emptyDir") == {}:
                self.owned.add(str(one.volume.peek("name")))
                one.mount.take_all()
                one.volume.take_all()
            else:
                self._add(one, one.path)

    def beside(self, container: Part, name: str) -> list[Manifest] | None:
        """The mounts of another container; None, and said, where it needs one that spec.template cannot have."""
        made: list[Manifest] = []
        for one in _mounts_of(self.volumes, container):
            called = text_of(one.mount.peek("name")) or ""
            if called not in self.names and called not in self.owned and one.kind is not None:
                self._add(one, f"{_ELSEWHERE}/{called}", of_the_engine=False)
            if called not in self.names:
                why = "the plan makes it for the engine alone" if called in self.owned else f"{VOLUMES} takes {', '.join(_KINDS)}"
                why = why if one.volume.fields else "the pod has no such volume"
                self.draft.lost(container.path, f"{name} is not carried over, it mounts {one_line(called, 63)}: {why}")
                return None
            made.append({**one.mount.take_all(), "name": self.names[called]})
        return made

    def _lay_shared_memory(self, one: Mounted) -> None:
        """/dev/shm, which every plan has, sized for its GPUs: a size of the pod's own can raise it."""
        for key in ("name", "mountPath"):
            one.mount.take(key)
        one.volume.text("name")
        folder = one.volume.part("emptyDir")
        if folder.peek("medium") == "Memory":
            folder.take("medium")
        self.draft.put("spec.template.sharedMemorySize", folder.take("sizeLimit"), folder.at("sizeLimit"))

    def _add(self, one: Mounted, path: str, *, of_the_engine: bool = True) -> None:
        kind, called = one.kind, text_of(one.volume.peek("name")) or text_of(one.mount.peek("name")) or ""
        if kind is None:
            others = sorted(key for key in one.volume.fields if key != "name")
            what = f"no {others[0]} as Kubernetes has it" if others[:1] in [[kind] for kind in _KINDS] else others[0] if others else _NONE
            say = f"{one_line(called, 63)} is not carried over, it is {what}: {VOLUMES} takes {', '.join(_KINDS)}"
            self.draft.lost(one.mount.path, say)
            one.volume.take_all()
            return
        if called in self.names and kind == "emptyDir":
            self.draft.lost(one.mount.path, f"{called} is mounted a second time, which {VOLUMES} cannot say: use one folder of it")
            return
        given = self._given(one.volume.part(kind), kind)
        if given is None:
            return
        name = self._name(called)
        for key in ("name", "mountPath") if of_the_engine else ():
            one.mount.take(key)
        extra = {key: one.mount.take(key) for key in one.mount.fields if key not in _KNOWN} if of_the_engine else {}
        if not of_the_engine:
            self.draft.assume(one.volume.path, f"a volume of spec.template is the engine's too, which sees this one at {path}")
        elif (kind != "emptyDir" or one.mount.peek("readOnly") is False) and one.mount.truth("readOnly") and kind not in _ALWAYS_READ_ONLY:
            given["readOnly"] = True
        one.volume.text("name")
        self.names.setdefault(called, name)
        self.draft.add(VOLUMES, {"name": name, "mountPath": path, kind: given, **extra}, one.mount.path)

    def _given(self, part: Part, kind: str) -> dict[str, Any] | None:
        """What the API says of a volume of this kind; None, and said, where a secret stands in it."""
        if any(secret_name(key) for key in part.part("volumeAttributes").fields):
            self.draft.lost(part.path, "is not carried over, a secret stands in it: name it in nodePublishSecretRef")
            return None
        if not part.fields:
            part.ledger.taken.add(part.path)
        given = {key: part.take(key) for key in part.fields if key != "defaultMode"}
        if kind == "secret" and "secretName" in given:
            given["name"] = given.pop("secretName")
        return given

    def _name(self, called: str) -> str:
        """A name that is no other's and not the plan's."""
        there = {row["name"] for row in self.draft.entries(VOLUMES)}
        name = f"{called}-volume" if called in OWNED_VOLUMES else called
        return name if name not in there else next(one for place in range(2, len(there) + 3) if (one := f"{name}-{place}") not in there)


def _mounts_of(volumes: Mapping[str, Part], container: Part) -> list[Mounted]:
    return [
        Mounted(
            path=text_of(row.peek("mountPath")) or "",
            mount=row,
            volume=volumes.get(str(row.peek("name")), row.with_fields(dict.fromkeys(row.fields))),
        )
        for row in container.entries("volumeMounts")
    ]
