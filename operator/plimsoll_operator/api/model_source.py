"""Which model, where its weights lie and where its shape comes from: the `model` part of an InferenceDeployment.

Only references to Secrets are here, never a value.
"""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from plimsoll_operator.api.base import ApiModel, FileKey, ModelName, Name, Revision, Rule, exactly_one


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


class PersistentVolumeClaimSource(ApiModel):
    """Weights lie on a volume in the same namespace."""

    claim_name: Name
    """Name of the PersistentVolumeClaim."""
    path: Annotated[str, Field(min_length=1, max_length=1024, pattern=r"^[^/].*$")] = "."
    """Directory of the checkpoint on the volume, relative to its root."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel="!self.path.split('/').exists(p, p == '..')",
            holds=lambda s: ".." not in s.path.split("/"),
            message="path must not leave the volume",
            field=".path",
        ),
    )


class ModelSource(ApiModel):
    """Where the pods load weights from: exactly one of the fields."""

    hugging_face: HuggingFaceSource | None = None
    """From the Hugging Face hub."""
    persistent_volume_claim: PersistentVolumeClaimSource | None = None
    """From a volume."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel="has(self.huggingFace) != has(self.persistentVolumeClaim)",
            holds=lambda s: (s.hugging_face is None) != (s.persistent_volume_claim is None),
            message="exactly one of huggingFace and persistentVolumeClaim must be set",
        ),
    )


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
