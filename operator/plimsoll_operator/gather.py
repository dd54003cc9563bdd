"""From cached objects to Facts: the first of gather, decide, apply. The same for webhook, controller and CLI.

Each door brings its own Store (informer cache, in-memory files); this module chooses the profile, the policy and the pools.
Makes no request, knows no clock, and never judges whether anything fits.
"""

from __future__ import annotations

import hashlib
import json
import posixpath
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final, Protocol, TypeVar

from plimsoll_estimator import HfConfig, InvalidInput, WeightTotals, answers_bytes, catalogue, kept_with_config
from plimsoll_operator import calibration
from plimsoll_operator.api import (
    ClusterModelProfile,
    EngineCalibration,
    FitPolicy,
    FitPolicySpec,
    GPUPool,
    InferenceDeployment,
    LabelSelector,
    ModelProfile,
    ModelProfileSpec,
    ModelSpec,
    PersistentVolumeClaimSource,
    ProfileOrigin,
    SelectorRequirement,
    Unreadable,
)
from plimsoll_operator.capacity.pools import is_offer, pool_facts
from plimsoll_operator.facts import Bypass, DeploymentUse, Facts, HeldPolicy, ModelFacts, ModelUnknown
from plimsoll_operator.names import BYPASS_ANNOTATION, COMMIT, MANAGED_LABEL, MANAGED_VALUE, NOTES_ANNOTATION
from plimsoll_operator.remembered import Remembered, kept_bytes
from plimsoll_operator.share import OverShare
from plimsoll_operator.verdict import Plan
from plimsoll_operator.wanted import DEFAULT_REVISION, MOST_NOTES

DEFAULT_POLICY: Final = "default"
CATALOGUE: Final = "catalogue"
"""`source` of facts from the shipped catalogue."""
_USUAL_ANSWERS_BYTES: Final = 128 << 10
_LISTS_OF_MODULES: Final = ("quantization_config", "compression_config")
_P = TypeVar("_P", ModelProfile, ClusterModelProfile)


@kept_with_config
def config_bytes(config: HfConfig) -> int:
    """What the values of a config keep alive."""
    return kept_bytes(config.as_mapping())


@dataclass(frozen=True, slots=True)
class _Shape:
    """A config read from text, once for all who bring the same text, and the bytes of its values."""

    config: HfConfig
    values_bytes: int

    @classmethod
    def read(cls, text: str) -> _Shape:
        config = HfConfig.from_json(text)
        quantised = [kept_bytes(config.raw(key)) for key in _LISTS_OF_MODULES]
        return cls(config, config_bytes(config) + sum(quantised))  # what their lists of modules become weighs as much again

    @property
    def kept_bytes(self) -> int:
        """With what the estimator keeps with it: room for a usual decision from the start, more when there is more."""
        return self.values_bytes + max(_USUAL_ANSWERS_BYTES, answers_bytes(self.config))


_SHAPES: Final[Remembered[bytes, _Shape]] = Remembered("shapes", 48 << 20, lambda shape: shape.kept_bytes)


class Store(Protocol):
    """Parsed objects at one moment. Orders do not matter: whatever is chosen is chosen by name."""

    def model_profile(self, namespace: str, name: str) -> ModelProfile | Unreadable | None:
        """The ModelProfile of this name, or None."""
        ...

    def cluster_model_profile(self, name: str) -> ClusterModelProfile | Unreadable | None:
        """The ClusterModelProfile of this name, or None."""
        ...

    def model_profiles(self, namespace: str, model: str) -> Iterable[ModelProfile | Unreadable]:
        """All ModelProfiles of the namespace that speak of the model."""
        ...

    def cluster_model_profiles(self, model: str) -> Iterable[ClusterModelProfile | Unreadable]:
        """All ClusterModelProfiles that speak of the model."""
        ...

    def gpu_pools(self) -> Iterable[GPUPool]:
        """All GPUPools."""
        ...

    def fit_policies(self) -> Iterable[FitPolicy | Unreadable]:
        """All FitPolicies, also those that cannot be read: they hold too."""
        ...

    def calibrations(self) -> Iterable[EngineCalibration]:
        """All EngineCalibrations."""
        ...

    def namespace_labels(self, namespace: str) -> Mapping[str, str] | None:
        """Labels of the namespace; None while nobody has told of it yet."""
        ...

    def uses(self, namespace: str) -> Mapping[str, DeploymentUse]:
        """What the InferenceDeployments of the namespace hold, by name. Asked only where a cap is set."""
        ...

    def bypass_is_protected(self) -> bool:
        """Whether admission lets only those write the bypass annotation who may."""
        ...

    def serves_leader_worker_sets(self) -> bool:
        """Whether the cluster serves leaderworkerset.x-k8s.io/v1. Asked only where placement allows several nodes a replica."""
        ...


def facts_for(deployment: InferenceDeployment, store: Store, *, applied_plan: Plan | None, unknown_fields: tuple[str, ...] = ()) -> Facts:
    """Everything that `decide` may look at for this deployment. Raises nothing: what is missing is part of the facts."""
    namespace = deployment.metadata.namespace or "default"
    held = policy_for(namespace, store)
    policy = held.spec
    return Facts(
        deployment=deployment,
        model=_model(deployment, namespace, store),
        pools=tuple(sorted((pool_facts(pool) for pool in store.gpu_pools() if is_offer(pool)), key=lambda pool: pool.name)),
        policy=policy,
        policy_problem=held.problem,
        unknown_fields=unknown_fields,
        applied_plan=applied_plan,
        beside=_beside(deployment, namespace, policy, store),
        bypass=_bypass(deployment, store),
        siblings=_siblings(deployment.spec.model, namespace, store),
        leader_worker_set=store.serves_leader_worker_sets(),
        draft=_draft(deployment, namespace, store),
        corrections=calibration.applied(store.calibrations(), policy.calibration_trust),
    )


def policy_for(namespace: str, store: Store) -> HeldPolicy:
    """The FitPolicy that holds for a namespace."""
    return _policy(store.fit_policies(), namespace, store.namespace_labels(namespace))


def _beside(deployment: InferenceDeployment, namespace: str, policy: FitPolicySpec, store: Store) -> tuple[DeploymentUse, ...]:
    """The other deployments' use; sorted, so that the same world makes the same facts."""
    if policy.max_gpus_per_namespace is None and policy.max_predicted_gib_per_namespace is None:
        return ()
    return tuple(use for name, use in sorted(store.uses(namespace).items()) if name != deployment.metadata.name and use.gpus)


def _bypass(deployment: InferenceDeployment, store: Store) -> Bypass:
    if not deployment.metadata.annotations.get(BYPASS_ANNOTATION, "").strip():
        return Bypass.ABSENT
    return Bypass.HONOURED if store.bypass_is_protected() else Bypass.UNPROTECTED


def _model(deployment: InferenceDeployment, namespace: str, store: Store) -> ModelFacts | ModelUnknown:
    """The shape given or named by the deployment, then the namespace's, then the cluster's, then the shipped catalogue.

    What the deployment reads from its own ConfigMap or volume is answered by a profile of exactly that, never by the name alone.
    """
    wanted = deployment.spec.model
    profile = wanted.profile
    if profile is not None and profile.inline is not None:
        return _from_config(wanted.name, wanted.revision, profile.inline, None, "inline")
    if profile is not None and profile.name is not None:
        return _named(deployment, namespace, profile.name, store)
    return _resolved(wanted, namespace, store)


def _resolved(wanted: ModelSpec, namespace: str, store: Store) -> ModelFacts | ModelUnknown:
    """Whoever answers for the model's name at the wanted revision: the namespace, the cluster, the catalogue."""
    origin = origin_of(wanted)
    local = _matching(wanted, origin, store.model_profiles(namespace, wanted.name))
    if isinstance(local, ModelUnknown):
        return local
    if local is not None:
        return _from_profile(local, wanted.revision, f"ModelProfile {namespace}/{local.metadata.name}")
    if origin is not None:
        what = _spoken(origin)
        return ModelUnknown(kind="NotFound", problem=f"no ModelProfile in namespace {namespace} was read from {what} for {wanted.name}")
    cluster = _matching(wanted, None, store.cluster_model_profiles(wanted.name))
    if isinstance(cluster, ModelUnknown):
        return cluster
    if cluster is not None:
        return _from_profile(cluster, wanted.revision, f"ClusterModelProfile {cluster.metadata.name}")
    shipped = catalogue.entry(wanted.name)
    if shipped is not None:
        digest = _digest(shipped.config, None)
        revision = wanted.revision or shipped.revision
        return ModelFacts(name=wanted.name, revision=revision, config=shipped.config, weights=None, source=CATALOGUE, digest=digest)
    problem = f"no ModelProfile in namespace {namespace}, no ClusterModelProfile and no catalogue entry describes {wanted.name}"
    return ModelUnknown(kind="NotFound", problem=problem)


def _draft(deployment: InferenceDeployment, namespace: str, store: Store) -> ModelFacts | ModelUnknown | None:
    """The draft model of speculative decoding by its name: a profile's or the catalogue's."""
    speculative = deployment.spec.engine.speculative
    if speculative is None or speculative.model is None:
        return None
    return _resolved(ModelSpec(name=speculative.model), namespace, store)


def _siblings(wanted: ModelSpec, namespace: str, store: Store) -> tuple[ModelFacts, ...]:
    """The model with quantised weights, looked up as if the spec named it. A volume holds the weights it holds: none."""
    if wanted.source is not None and wanted.source.persistent_volume_claim is not None:
        return ()
    names = catalogue.quantised_siblings(wanted.name)
    plain = wanted.model_copy(update={"revision": None, "profile": None})
    found = (_resolved(plain.model_copy(update={"name": name}), namespace, store) for name in names)
    return tuple(sibling for sibling in found if isinstance(sibling, ModelFacts))


def origin_of(model: ModelSpec) -> ProfileOrigin | None:
    """The ConfigMap or volume of the namespace that the shape must have been read from; None where the model's name says enough.

    A model on the hub is the same for every token, so a token makes no difference; a folder on a volume is called as its owner
    likes. An inline shape or a named profile answers whatever the weights are: its author says so.
    """
    profile, source = model.profile, model.source
    if profile is not None:
        return ProfileOrigin(config_map_ref=profile.config_map_ref) if profile.config_map_ref is not None else None
    if source is not None and source.persistent_volume_claim is not None:
        return _plain(ProfileOrigin(persistent_volume_claim=source.persistent_volume_claim))
    return None


def _plain(origin: ProfileOrigin) -> ProfileOrigin:
    """With the path in its one form: ./a//b/ is a/b."""
    claim = origin.persistent_volume_claim
    if claim is None:
        return origin
    path = posixpath.normpath(claim.path)
    return ProfileOrigin(persistent_volume_claim=PersistentVolumeClaimSource(claim_name=claim.claim_name, path=path))


def _spoken(origin: ProfileOrigin) -> str:
    claim, configured = origin.persistent_volume_claim, origin.config_map_ref
    if claim is not None:
        return f"{claim.path} of PersistentVolumeClaim {claim.claim_name}"
    return f"key {configured.key} of ConfigMap {configured.name}" if configured is not None else "the hub"


def _named(deployment: InferenceDeployment, namespace: str, name: str, store: Store) -> ModelFacts | ModelUnknown:
    wanted = deployment.spec.model
    found = store.model_profile(namespace, name) or store.cluster_model_profile(name)
    if isinstance(found, Unreadable):
        return _cannot_be_read(found)
    if found is None:
        return ModelUnknown(kind="NotFound", problem=f"there is no ModelProfile {namespace}/{name} and no ClusterModelProfile {name}")
    source = f"{found.kind} {name}"
    if found.spec.model != wanted.name:
        return ModelUnknown(kind="Mismatch", problem=f"{source} describes {found.spec.model}, not {wanted.name}")
    if not _revision_answers(found.spec, wanted.revision):
        return ModelUnknown(kind="Mismatch", problem=f"{source} was read at revision {found.spec.revision}, not {wanted.revision}")
    return _from_profile(found, wanted.revision, source)


def _cannot_be_read(profile: Unreadable) -> ModelUnknown:
    """Somebody has described the model, and it is not known how: who answers in its stead might say something else."""
    if isinstance(profile, OverShare):
        return ModelUnknown(kind="Invalid", problem=f"{profile} does not count: {profile.problem}")
    return ModelUnknown(kind="Invalid", problem=f"{profile} cannot be read by this release: {profile.problem}")


def _matching(wanted: ModelSpec, origin: ProfileOrigin | None, profiles: Iterable[_P | Unreadable]) -> _P | ModelUnknown | None:
    """The profile that answers for model, revision and origin. Two of the same rank that differ are a contradiction, not a choice."""
    everyone = list(profiles)
    speaking = [p for p in everyone if not isinstance(p, OverShare)] or everyone
    unreadable = sorted((p for p in speaking if isinstance(p, Unreadable) and p.model == wanted.name), key=lambda p: p.name)
    if unreadable:
        return _cannot_be_read(unreadable[0])
    answering = [
        p
        for p in speaking
        if not isinstance(p, Unreadable)
        and p.spec.model == wanted.name
        and _revision_answers(p.spec, wanted.revision)
        and (p.spec.origin and _plain(p.spec.origin)) == origin
    ]
    answering.sort(key=lambda p: p.metadata.name)
    answering.sort(key=lambda p: p.spec.obtained_at or "", reverse=True)  # of two commits of one branch the later reading
    answering.sort(key=lambda p: _rank(p, wanted.revision))
    if not answering:
        return None
    best = answering[0]
    rivals = (p for p in answering[1:] if _rank(p, wanted.revision) == _rank(best, wanted.revision))
    rival = next((p for p in rivals if (p.spec.config, p.spec.weights) != (best.spec.config, best.spec.weights)), None)
    if rival is None:
        return best
    names = " and ".join(sorted((best.metadata.name, rival.metadata.name)))
    return ModelUnknown(kind="Ambiguous", problem=f"the {best.kind}s {names} both describe {wanted.name}, and differ")


def _rank(profile: ModelProfile | ClusterModelProfile, wanted: str | None) -> tuple[bool, bool]:
    """Of exactly this revision first, then what people wrote before what the controller has read."""
    return (profile.spec.revision != wanted, profile.metadata.labels.get(MANAGED_LABEL) == MANAGED_VALUE)


def _revision_answers(profile: ModelProfileSpec, wanted: str | None) -> bool:
    """A profile without a revision answers for all; one at a commit for the branch or tag it was read for, else for all of them."""
    if profile.revision is None or profile.revision == wanted:
        return True
    if wanted is not None and COMMIT.fullmatch(wanted):
        return False
    if profile.requested_revision is not None:
        return profile.requested_revision == (wanted or DEFAULT_REVISION)
    return wanted is None or bool(COMMIT.fullmatch(profile.revision))


def _from_profile(profile: ModelProfile | ClusterModelProfile, wanted: str | None, source: str) -> ModelFacts | ModelUnknown:
    spec, note = profile.spec, profile.metadata.annotations.get(NOTES_ANNOTATION, "")[:MOST_NOTES]
    weights = None
    if spec.weights is not None:
        by_dtype = tuple(sorted((row.dtype, row.bytes) for row in spec.weights.by_dtype))
        weights = WeightTotals(total_bytes=spec.weights.total_bytes, bytes_by_dtype=by_dtype)
    found = _from_config(spec.model, spec.revision or wanted, spec.config, weights, source)
    return replace(found, note=note) if note and isinstance(found, ModelFacts) else found


def _from_config(name: str, revision: str | None, text: str, weights: WeightTotals | None, source: str) -> ModelFacts | ModelUnknown:
    key = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=32).digest()
    try:
        shape = _SHAPES.ask(key, lambda: _Shape.read(text))
    except InvalidInput as error:
        return ModelUnknown(kind="Invalid", problem=f"{source}: {error}")
    _SHAPES.keep(key, shape)  # what is kept with it has grown since it was asked for last
    config = shape.config
    return ModelFacts(name=name, revision=revision, config=config, weights=weights, source=source, digest=_digest(config, weights))


@kept_with_config
def _digest(config: HfConfig, weights: WeightTotals | None) -> str:
    """Identifies the shape, whoever spelled it: sorted keys, no spaces."""
    totals = None if weights is None else [weights.total_bytes, weights.bytes_by_dtype]
    text = json.dumps([dict(config.as_mapping()), totals], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _policy(policies: Iterable[FitPolicy | Unreadable], namespace: str, labels: Mapping[str, str] | None) -> HeldPolicy:
    """The first policy by name whose selector matches the namespace, else `default`, else the built-in defaults.

    One that cannot be read holds for whatever its selector selects, and for everything where that cannot be read either. Of a namespace
    that was made a moment ago the labels may not be known yet: then it is not known whether a selector leaves it out.
    """
    fallback = HeldPolicy(spec=FitPolicySpec())
    for policy in sorted(policies, key=_name_of):
        if _name_of(policy) == DEFAULT_POLICY:
            fallback = _held(policy)
        elif labels is None and not _selects_all(policy):
            return HeldPolicy(
                spec=FitPolicySpec(), problem=f"The labels of namespace {namespace} are not known yet, by which FitPolicies select"
            )
        elif _holds_for(policy, labels or {}):
            return _held(policy)
    return fallback


def _name_of(policy: FitPolicy | Unreadable) -> str:
    return policy.name if isinstance(policy, Unreadable) else policy.metadata.name


def _selects_all(policy: FitPolicy | Unreadable) -> bool:
    selector = policy.selector if isinstance(policy, Unreadable) else policy.spec.namespace_selector
    return selector is None or not (selector.match_labels or selector.match_expressions)


def _holds_for(policy: FitPolicy | Unreadable, labels: Mapping[str, str]) -> bool:
    if isinstance(policy, Unreadable):
        return policy.selector is None or _selects(policy.selector, labels)
    return policy.spec.namespace_selector is not None and _selects(policy.spec.namespace_selector, labels)


def _held(policy: FitPolicy | Unreadable) -> HeldPolicy:
    if not isinstance(policy, Unreadable):
        return HeldPolicy(spec=policy.spec)
    return HeldPolicy(spec=FitPolicySpec(), problem=f"{policy} cannot be read by this release: {policy.problem}")


def _selects(selector: LabelSelector, labels: Mapping[str, str]) -> bool:
    return all(labels.get(key) == value for key, value in selector.match_labels.items()) and all(
        _holds(requirement, labels) for requirement in selector.match_expressions
    )


def _holds(requirement: SelectorRequirement, labels: Mapping[str, str]) -> bool:
    present = requirement.key in labels
    match requirement.operator:
        case "In":
            return present and labels[requirement.key] in requirement.values
        case "NotIn":
            return not present or labels[requirement.key] not in requirement.values
        case "Exists":
            return present
        case "DoesNotExist":
            return not present
