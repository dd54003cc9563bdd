"""Which profile answers for a model: the one given or named, then the namespace's, then the cluster's, then the shipped catalogue.

Called by `facts`. What a deployment reads from its own ConfigMap or volume is answered by a profile of exactly that.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterable
from dataclasses import replace
from typing import Final, TypeVar

from plimsoll_estimator import WeightTotals, catalogue
from plimsoll_operator.api import (
    ClusterModelProfile,
    ImageFolder,
    InferenceDeployment,
    ModelProfile,
    ModelProfileSpec,
    ModelSpec,
    ProfileOrigin,
    Unreadable,
)
from plimsoll_operator.facts import ModelFacts, ModelUnknown
from plimsoll_operator.gather.shapes import digest_of, from_config
from plimsoll_operator.gather.store import Store
from plimsoll_operator.names import COMMIT, MANAGED_LABEL, MANAGED_VALUE, NOTES_ANNOTATION
from plimsoll_operator.read_request import DEFAULT_REVISION, MOST_NOTES
from plimsoll_operator.reasons import NoShape
from plimsoll_operator.share import OverShare

CATALOGUE: Final = "catalogue"
"""`source` of facts from the shipped catalogue."""
_P = TypeVar("_P", ModelProfile, ClusterModelProfile)


def model_of(deployment: InferenceDeployment, namespace: str, store: Store) -> ModelFacts | ModelUnknown:
    """The shape given or named by the deployment, then the namespace's, then the cluster's, then the shipped catalogue.

    What the deployment reads from its own ConfigMap or volume is answered by a profile of exactly that, never by the name alone.
    """
    model = deployment.spec.model
    profile = model.profile
    if profile is not None and profile.inline is not None:
        return from_config(model.name, model.revision, profile.inline, None, "inline")
    if profile is not None and profile.name is not None:
        return _named(deployment, namespace, profile.name, store)
    return _resolved(model, namespace, store)


def _resolved(model: ModelSpec, namespace: str, store: Store) -> ModelFacts | ModelUnknown:
    """Whoever answers for the model's name at the revision asked for: the namespace, the cluster, the catalogue."""
    origin = origin_of(model)
    local = _matching(model, origin, store.model_profiles(namespace, model.name))
    if isinstance(local, ModelUnknown):
        return local
    if local is not None:
        return _from_profile(local, model.revision, f"ModelProfile {namespace}/{local.metadata.name}")
    if origin is not None:
        what = _spoken(origin)
        return ModelUnknown(
            kind=NoShape.NOT_FOUND, problem=f"no ModelProfile in namespace {namespace} was read from {what} for {model.name}"
        )
    cluster = _matching(model, None, store.cluster_model_profiles(model.name))
    if isinstance(cluster, ModelUnknown):
        return cluster
    if cluster is not None:
        return _from_profile(cluster, model.revision, f"ClusterModelProfile {cluster.metadata.name}")
    shipped = catalogue.entry(model.name)
    if shipped is not None:
        digest = digest_of(shipped.config, None)
        revision = model.revision or shipped.revision
        return ModelFacts(
            name=model.name,
            revision=revision,
            config=shipped.config,
            weights=None,
            source=CATALOGUE,
            digest=digest,
            as_published=shipped.fidelity == "verbatim",
        )
    problem = f"no ModelProfile in namespace {namespace}, no ClusterModelProfile and no catalogue entry describes {model.name}"
    return ModelUnknown(kind=NoShape.NOT_FOUND, problem=problem)


def draft_of(deployment: InferenceDeployment, namespace: str, store: Store) -> ModelFacts | ModelUnknown | None:
    """The draft model of speculative decoding by its name: a profile's or the catalogue's."""
    speculative = deployment.spec.engine.speculative
    if speculative is None or speculative.model is None:
        return None
    return _resolved(ModelSpec(name=speculative.model), namespace, store)


def siblings_of(model: ModelSpec, namespace: str, store: Store) -> tuple[ModelFacts, ...]:
    """The model with quantised weights, looked up as if the spec named it. A volume, image or bucket holds the weights it holds: none."""
    if model.source is not None and model.source.hugging_face is None:
        return ()
    names = catalogue.quantised_siblings(model.name)
    plain = model.model_copy(update={"revision": None, "profile": None})
    found = (_resolved(plain.model_copy(update={"name": name}), namespace, store) for name in names)
    return tuple(sibling for sibling in found if isinstance(sibling, ModelFacts))


def origin_of(model: ModelSpec) -> ProfileOrigin | None:
    """The ConfigMap, volume or image that the shape must have been read from; None where the model's name says enough.

    A model on the hub is the same for every token, so a token makes no difference; a folder on a volume or in an image is called as its
    owner likes. An inline shape or a named profile answers whatever the weights are: its author says so.
    """
    profile, source = model.profile, model.source
    if profile is not None:
        return ProfileOrigin(config_map_ref=profile.config_map_ref) if profile.config_map_ref is not None else None
    if source is not None and source.persistent_volume_claim is not None:
        return _plain(ProfileOrigin(persistent_volume_claim=source.persistent_volume_claim))
    if source is not None and source.image is not None:
        return _plain(ProfileOrigin(image=ImageFolder(reference=source.image.reference, path=source.image.path)))
    return None


def _plain(origin: ProfileOrigin) -> ProfileOrigin:
    """With the path in its one form: ./a//b/ is a/b."""
    claim, image = origin.persistent_volume_claim, origin.image
    if claim is not None:
        return ProfileOrigin(persistent_volume_claim=claim.model_copy(update={"path": posixpath.normpath(claim.path)}))
    return ProfileOrigin(image=image.model_copy(update={"path": posixpath.normpath(image.path)})) if image is not None else origin


def _spoken(origin: ProfileOrigin) -> str:
    claim, image, configured = origin.persistent_volume_claim, origin.image, origin.config_map_ref
    if claim is not None:
        what = "the hub's cache at " if claim.layout is not None else ""
        return f"{what}{claim.path} of PersistentVolumeClaim {claim.claim_name}"
    if image is not None:
        return f"{image.path} of image {image.reference}"
    return f"key {configured.key} of ConfigMap {configured.name}" if configured is not None else "the hub"


def _named(deployment: InferenceDeployment, namespace: str, name: str, store: Store) -> ModelFacts | ModelUnknown:
    model = deployment.spec.model
    found = store.model_profile(namespace, name) or store.cluster_model_profile(name)
    if isinstance(found, Unreadable):
        return _cannot_be_read(found)
    if found is None:
        return ModelUnknown(
            kind=NoShape.NOT_FOUND, problem=f"there is no ModelProfile {namespace}/{name} and no ClusterModelProfile {name}"
        )
    source = f"{found.kind} {name}"
    if found.spec.model != model.name:
        return ModelUnknown(kind=NoShape.MISMATCH, problem=f"{source} describes {found.spec.model}, not {model.name}")
    if not _revision_answers(found.spec, model.revision):
        return ModelUnknown(kind=NoShape.MISMATCH, problem=f"{source} was read at revision {found.spec.revision}, not {model.revision}")
    return _from_profile(found, model.revision, source)


def _cannot_be_read(profile: Unreadable) -> ModelUnknown:
    """Somebody has described the model, and it is not known how: who answers in its stead might say something else."""
    if isinstance(profile, OverShare):
        return ModelUnknown(kind=NoShape.INVALID, problem=f"{profile} does not count: {profile.problem}")
    return ModelUnknown(kind=NoShape.INVALID, problem=f"{profile} cannot be read by this release: {profile.problem}")


def _matching(model: ModelSpec, origin: ProfileOrigin | None, profiles: Iterable[_P | Unreadable]) -> _P | ModelUnknown | None:
    """The profile that answers for model, revision and origin. Two of the same rank that differ are a contradiction, not a choice."""
    everyone = list(profiles)
    speaking = [p for p in everyone if not isinstance(p, OverShare)] or everyone
    unreadable = sorted((p for p in speaking if isinstance(p, Unreadable) and p.model == model.name), key=lambda p: p.name)
    if unreadable:
        return _cannot_be_read(unreadable[0])
    answering = [
        p
        for p in speaking
        if not isinstance(p, Unreadable)
        and p.spec.model == model.name
        and _revision_answers(p.spec, model.revision)
        and (p.spec.origin and _plain(p.spec.origin)) == origin
    ]
    answering.sort(key=lambda p: p.metadata.name)
    answering.sort(key=lambda p: p.spec.obtained_at or "", reverse=True)  # of two commits of one branch the later reading
    answering.sort(key=lambda p: _rank(p, model.revision))
    if not answering:
        return None
    best = answering[0]
    rivals = (p for p in answering[1:] if _rank(p, model.revision) == _rank(best, model.revision))
    rival = next((p for p in rivals if (p.spec.config, p.spec.weights) != (best.spec.config, best.spec.weights)), None)
    if rival is None:
        return best
    names = " and ".join(sorted((best.metadata.name, rival.metadata.name)))
    return ModelUnknown(kind=NoShape.AMBIGUOUS, problem=f"the {best.kind}s {names} both describe {model.name}, and differ")


def _rank(profile: ModelProfile | ClusterModelProfile, revision: str | None) -> tuple[bool, bool]:
    """Of exactly this revision first, then what people wrote before what the controller has read."""
    return (profile.spec.revision != revision, profile.metadata.labels.get(MANAGED_LABEL) == MANAGED_VALUE)


def _revision_answers(profile: ModelProfileSpec, revision: str | None) -> bool:
    """A profile without a revision answers for all; one at a commit for the branch or tag it was read for, else for all of them."""
    if profile.revision is None or profile.revision == revision:
        return True
    if revision is not None and COMMIT.fullmatch(revision):
        return False
    if profile.requested_revision is not None:
        return profile.requested_revision == (revision or DEFAULT_REVISION)
    return revision is None or bool(COMMIT.fullmatch(profile.revision))


def _from_profile(profile: ModelProfile | ClusterModelProfile, revision: str | None, source: str) -> ModelFacts | ModelUnknown:
    spec, note = profile.spec, profile.metadata.annotations.get(NOTES_ANNOTATION, "")[:MOST_NOTES]
    weights = None
    if spec.weights is not None:
        by_dtype = tuple(sorted((row.dtype, row.bytes) for row in spec.weights.by_dtype))
        weights = WeightTotals(total_bytes=spec.weights.total_bytes, bytes_by_dtype=by_dtype)
    found = from_config(spec.model, spec.revision or revision, spec.config, weights, source)
    return replace(found, note=note) if note and isinstance(found, ModelFacts) else found
