"""What has to be read to know a model's shape, as a value: from `spec.model` alone. Pure.

`gather` finds the profile that was made of it by its name, the controller's resolver reads it once for everybody who wants
the same. Knows no hub, no pod and no API client; whether a shape is known already is not asked here.
"""

from __future__ import annotations

import hashlib
import json
import posixpath
import re
from dataclasses import asdict, dataclass
from typing import Final, TypeAlias

from plimsoll_operator.api import HuggingFaceSource, ModelSource, ModelSpec, PodSecurity, TemplateSpec

DEFAULT_REVISION: Final = "main"
"""The branch that huggingface_hub, and so vLLM, loads when none is named (huggingface_hub.constants.DEFAULT_REVISION)."""
MOST_NOTES: Final = 1024
"""Characters of the notes that anybody reads: who may write a profile may write 256 KiB there."""
_MAX_STEM: Final = 200
_DIGITS: Final = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorHub:
    """The hub, read with the operator's own token: the only source whose result is the whole cluster's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenHub:
    """The hub, read with a user's token, which only a pod of that namespace may see."""

    secret: str
    key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Volume:
    """A folder on a PersistentVolumeClaim, which only a pod of that namespace can mount."""

    claim: str
    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class HubCache:
    """A folder on a PersistentVolumeClaim that the hub's own client has filled, for many models and commits of theirs."""

    claim: str
    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageVolume:
    """A folder of an OCI image, which the kubelet pulls with the namespace's own secrets."""

    reference: str
    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigMapKey:
    """A config.json in a ConfigMap of the namespace."""

    name: str
    key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadAs:
    """As whom a volume is read: numbers that the spec gives for its pods. Nothing given is whoever the reader is without it."""

    user: int | None = None
    group: int | None = None
    groups: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Pulling:
    """How an image is pulled: as the spec says it for the pods that serve from it."""

    policy: str | None = None
    secrets: tuple[str, ...] = ()


OnVolume: TypeAlias = Volume | HubCache | ImageVolume
"""What a pod mounts to read it."""
ByPod: TypeAlias = TokenHub | Volume | HubCache | ImageVolume
"""What is read by a pod of the namespace."""
Origin: TypeAlias = OperatorHub | ByPod | ConfigMapKey


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadRequest:
    """One reading. Equal ones are read once.

    `namespace` is empty exactly for OperatorHub: what any namespace asks of the same model and revision is the same. `read_as` is of
    volumes alone, `pulling` of images; the profile that comes of it is the same, whoever could read.
    """

    namespace: str
    model: str
    revision: str | None
    source: Origin
    read_as: ReadAs = ReadAs()
    pulling: Pulling = Pulling()

    @property
    def profile_name(self) -> str:
        """Name of the ModelProfile or ClusterModelProfile that holds the result: a DNS name, the same for the same reading."""
        identity = [self.model, self.revision, type(self.source).__name__, sorted(asdict(self.source).items())]
        digest = hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:_DIGITS]
        stem = re.sub(r"[^a-z0-9]+", "-", self.model.lower()).strip("-")[:_MAX_STEM]
        return f"{stem}-{digest}" if stem else f"model-{digest}"


def read_request_of(namespace: str, model: ModelSpec, template: TemplateSpec | None = None) -> ReadRequest | None:
    """What must be read to know this model in this namespace; None where the spec gives or names the shape itself, or nobody reads it.

    A source that needs the user's own rights is never read with the operator's; a volume is read as who will load it, by `template`.
    """
    profile = model.profile
    if profile is not None:
        if profile.config_map_ref is None:
            return None
        ref = profile.config_map_ref
        return ReadRequest(namespace=namespace, model=model.name, revision=model.revision, source=ConfigMapKey(name=ref.name, key=ref.key))
    given, revision = model.source or ModelSource(hugging_face=HuggingFaceSource()), model.revision or DEFAULT_REVISION
    if given.object_storage is not None:
        return None
    mounted = _mounted(given)
    if mounted is not None:
        return ReadRequest(
            namespace=namespace,
            model=model.name,
            revision=revision if isinstance(mounted, HubCache) else model.revision,
            source=mounted,
            read_as=_read_as(template.security_context if template is not None else None),
            pulling=_pulling(given, template),
        )
    hub = given.hugging_face
    if hub is not None and hub.token_secret_ref is not None:
        token = TokenHub(secret=hub.token_secret_ref.name, key=hub.token_secret_ref.key)
        return ReadRequest(namespace=namespace, model=model.name, revision=revision, source=token)
    return ReadRequest(namespace="", model=model.name, revision=revision, source=OperatorHub())


def _mounted(source: ModelSource) -> OnVolume | None:
    claim, image = source.persistent_volume_claim, source.image
    if claim is not None:
        kind = Volume if claim.layout is None else HubCache
        return kind(claim=claim.claim_name, path=posixpath.normpath(claim.path))
    return ImageVolume(reference=image.reference, path=posixpath.normpath(image.path)) if image is not None else None


def _pulling(source: ModelSource, template: TemplateSpec | None) -> Pulling:
    if source.image is None:
        return Pulling()
    return Pulling(policy=source.image.pull_policy, secrets=template.image_pull_secrets if template is not None else ())


def _read_as(security: PodSecurity | None) -> ReadAs:
    """fsGroup is one group more: the volume is mounted for reading only, and nothing is given to it."""
    if security is None:
        return ReadAs()
    more = (*((security.fs_group,) if security.fs_group is not None else ()), *security.supplemental_groups)
    return ReadAs(user=security.run_as_user, group=security.run_as_group, groups=tuple(sorted(set(more))))
