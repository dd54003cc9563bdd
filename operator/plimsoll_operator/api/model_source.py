"""Which model, where its weights lie and where its shape comes from: the `model` part of an InferenceDeployment.

Only references to Secrets are here, never a value.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Annotated, Any, ClassVar, Final, Literal

from pydantic import Field

from plimsoll_operator.api.base import ApiModel, FileKey, ImagePullPolicy, ImageReference, ModelName, Name, Revision, Rule, exactly_one


class SecretKeyRef(ApiModel):
    """A key of a Secret in the same namespace. Only the reference is ever read; the value goes to the pod."""

    name: Name
    """Name of the Secret."""
    key: FileKey = "token"
    """Key in it."""


class ConfigMapKeyRef(ApiModel):
    """A key of a ConfigMap in the same namespace."""

    name: Name
    """Name of the ConfigMap."""
    key: FileKey = "config.json"
    """Key in it."""


class HuggingFaceSource(ApiModel):
    """Weights are loaded from the Hugging Face hub (or its mirror) by the pods themselves."""

    token_secret_ref: SecretKeyRef | None = None
    """Where the pods find the hub token."""


Folder = Annotated[str, Field(min_length=1, max_length=1024)]
_RELATIVE: Final = "^[^/].*$"
_BUCKET: Final = "^(s3|gs|az)://[a-z0-9][a-z0-9._-]{1,62}(/[A-Za-z0-9._=+@-]{1,255})*/?$"
HUB_ID: Final = "^[A-Za-z0-9._-]+(/[A-Za-z0-9._-]+)?$"
"""How the hub spells a model, for whose folder the hub's cache has a name."""


def _stays_inside(field: str, of: Callable[[Any], str], message: str) -> Rule:
    """A path without a step upward."""
    return Rule(
        cel=f"!self.{field}.split('/').exists(p, p == '..')",
        holds=lambda value: ".." not in of(value).split("/"),
        message=message,
        field=f".{field}",
    )


def _folder_rules(what: str) -> tuple[Rule, ...]:
    """Of `path`, a folder in a volume or an image."""
    return (
        Rule(
            cel=f"self.path.matches('{_RELATIVE}')",
            holds=lambda value: re.fullmatch(_RELATIVE, value.path) is not None,
            message=f"must be a folder as seen from the {what}'s root, such as models/llama, without a slash in front",
            field=".path",
        ),
        _stays_inside("path", lambda value: value.path, f"path must not leave the {what}"),
    )


class PersistentVolumeClaimSource(ApiModel):
    """Weights lie on a volume in the same namespace."""

    claim_name: Name
    """Name of the PersistentVolumeClaim."""
    path: Folder = "."
    """Directory of the checkpoint on the volume, relative to its root."""
    layout: Literal["HubCache"] | None = None
    """HubCache: the directory is the Hugging Face hub's cache, with a folder models--ORG--NAME for each model (HF_HUB_CACHE, the folder hub
    of HF_HOME); the model is found in it by its name and revision. Absent: it is the checkpoint's own."""

    RULES: ClassVar[tuple[Rule, ...]] = _folder_rules("volume")


class ImageFolder(ApiModel):
    """A directory of an OCI image or artifact."""

    reference: ImageReference
    """The image, as a container's is written. With a digest it is always the same; a tag may be moved, and nobody here notices."""
    path: Folder = "."
    """Directory of the checkpoint in the image, relative to its root."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        *_folder_rules("image"),
        Rule(
            cel="!self.reference.contains('://')",
            holds=lambda s: "://" not in s.reference,
            message="must be written as a container's image is, without a scheme such as oci://",
            field=".reference",
        ),
    )


class ImageSource(ImageFolder):
    """Weights lie in an OCI image or artifact, which the nodes pull as they pull containers' images and mount read-only. Nothing in it is
    run. Kubernetes 1.35 and later; pull secrets are those of template.imagePullSecrets."""

    pull_policy: ImagePullPolicy | None = None
    """When it is pulled; absent: Always for the tag latest, else IfNotPresent."""


class ObjectStorageSource(ApiModel):
    """Weights are streamed from a bucket by vLLM itself (--load-format runai_streamer). Nobody here reads buckets: the shape must be given
    by `profile`. Credentials are those of template.env or of template.serviceAccountName."""

    uri: Annotated[str, Field(min_length=8, max_length=1024)]
    """Folder of the checkpoint: s3://BUCKET/PATH, gs://BUCKET/PATH (vLLM 0.10.2 and later) or az://CONTAINER/PATH (0.18.0 and later)."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        _stays_inside("uri", lambda s: s.uri, "uri must have no step upward"),
        Rule(
            cel=f"self.uri.matches('{_BUCKET}')",
            holds=lambda s: re.fullmatch(_BUCKET, s.uri) is not None,
            message=(
                "must be s3://BUCKET/PATH, gs://BUCKET/PATH or az://CONTAINER/PATH: the bucket of lower-case letters, digits and .-_, "
                "the path of letters, digits and ._=+@- between its slashes"
            ),
            field=".uri",
        ),
    )


class ModelSource(ApiModel):
    """Where the pods load weights from: exactly one of the fields."""

    hugging_face: HuggingFaceSource | None = None
    """From the Hugging Face hub."""
    persistent_volume_claim: PersistentVolumeClaimSource | None = None
    """From a volume."""
    image: ImageSource | None = None
    """From an OCI image."""
    object_storage: ObjectStorageSource | None = None
    """From a bucket."""

    RULES: ClassVar[tuple[Rule, ...]] = (exactly_one("huggingFace", "persistentVolumeClaim", "image", "objectStorage"),)


class ProfileRef(ApiModel):
    """Where the model's shape comes from: exactly one of the fields."""

    name: Name | None = None
    """Name of a ModelProfile in the namespace, else of a ClusterModelProfile."""
    config_map_ref: ConfigMapKeyRef | None = None
    """A ConfigMap that holds the model's config.json."""
    inline: Annotated[str, Field(min_length=2, max_length=65536)] | None = None
    """The model's config.json itself, as JSON text of at most 64 KiB."""

    RULES: ClassVar[tuple[Rule, ...]] = (exactly_one("name", "configMapRef", "inline"),)


class ModelSpec(ApiModel):
    """Which model is served, where its weights and where its shape come from."""

    name: ModelName
    """What vLLM is told: a hub id such as meta-llama/Llama-3.3-70B-Instruct, or a path."""
    revision: Revision | None = None
    """Branch, tag or commit; resolved to a commit, recorded, and used by the pods."""
    source: ModelSource | None = None
    """Where the pods load weights from; absent means the hub without a token."""
    profile: ProfileRef | None = None
    """Where the shape comes from; absent means the profile that carries the model's name."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel=(
                "!has(self.source) || !has(self.source.persistentVolumeClaim) || !has(self.source.persistentVolumeClaim.layout)"
                f" || self.name.matches('{HUB_ID}')"
            ),
            holds=lambda m: not m.in_the_hub_s_cache or re.fullmatch(HUB_ID, m.name) is not None,
            message="must be the model's id on the hub, such as org/name: its folder in the hub's cache is called after it",
            field=".name",
        ),
        Rule(
            cel="!has(self.source) || !has(self.source.objectStorage) || has(self.profile)",
            holds=lambda m: m.source is None or m.source.object_storage is None or m.profile is not None,
            message=(
                "must be set, since nobody here reads object storage: make a ModelProfile (`plimsoll profile fetch` of the model on a hub,"
                " `plimsoll profile from-dir` of a copy) and name it in profile.name, or give config.json by configMapRef or inline"
            ),
            field=".profile",
        ),
    )

    @property
    def in_the_hub_s_cache(self) -> bool:
        """Whether the pods find it on a claim that the hub's own client has filled."""
        claim = self.source.persistent_volume_claim if self.source is not None else None
        return claim is not None and claim.layout is not None
