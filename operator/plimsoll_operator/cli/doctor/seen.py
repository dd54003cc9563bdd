"""What `plimsoll doctor` looks at in a cluster, read once into values. Writes nothing: its one creation is a dry run that must be refused.

Called by the command, before `checks` judge. Where the rights of whoever runs it do not reach, a value is HIDDEN and the rest is read.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from typing import Any, Final, Literal, TypeAlias, TypeVar

from pydantic import BaseModel

from plimsoll_estimator import InvalidInput
from plimsoll_operator.api import KINDS, InferenceDeployment, Manifest, read_stored
from plimsoll_operator.certificate import life_of
from plimsoll_operator.cli.doctor.rights import missing_rights
from plimsoll_operator.cli.live import DECIDED_BY, of_all_or_one, pages, read_from
from plimsoll_operator.cli.world import World
from plimsoll_operator.errors import ApiFailure
from plimsoll_operator.names import API_VERSION, APP_NAME_LABEL, GROUP
from plimsoll_operator.ports import (
    CUSTOM_RESOURCE_DEFINITIONS,
    DEPLOYMENTS,
    INFERENCE_DEPLOYMENTS,
    LEASE_NAME,
    LEASES,
    NAMESPACES,
    POD_DISRUPTION_BUDGETS,
    SECRETS,
    VALIDATING_ADMISSION_POLICIES,
    VALIDATING_WEBHOOK_CONFIGURATIONS,
    Kube,
    Resource,
)
from plimsoll_operator.text import one_line

Hidden: TypeAlias = Literal["hidden"]
HIDDEN: Final[Hidden] = "hidden"
"""What the rights of whoever runs the command do not show."""
WEBHOOK: Final = "validate.inference.plimsoll.dev"
_STALE: Final = timedelta(seconds=30)
"""Twice a lease: by then another controller would lead."""
_RENEWED_WITHIN_SECONDS: Final = 5.0
"""A holder renews every two."""
_COMPONENT: Final = "app.kubernetes.io/component"
_VERSION: Final = "app.kubernetes.io/version"
_OURS: Final = f"{APP_NAME_LABEL}=plimsoll"
_DEEPEST: Final = 12
_MOST_WORDS: Final = 400
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """A Deployment of the chart: its component, where it is, its pods that are ready of those desired, and the release that it is of."""

    component: str
    namespace: str
    desired: int
    ready: int
    version: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Leader:
    """Where the lease is, who holds it, empty for nobody, when it was renewed last, None for never, and whether it still is."""

    namespace: str
    holder: str
    renewed: datetime | None
    renews: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Registration:
    """The API server's way to the webhook: `fails_closed` where nothing passes unjudged, and how long its authority is valid.

    `home` is the namespace of its Service, empty where it is called by URL: what elsewhere has the chart's names may be anybody's.
    """

    name: str
    home: str
    fails_closed: bool
    authority: tuple[datetime, datetime] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Review:
    """How the API server answered a creation that the webhook must refuse.

    `outcome` is refused (by the webhook, as it must), passed (nobody looked), failed (the webhook was not reached), forbidden (you may not
    create there) or other; `text` is what it said.
    """

    outcome: Literal["refused", "passed", "failed", "forbidden", "other"]
    text: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """The cluster as doctor sees it. `lacking` maps a served kind to the fields that this release has and the cluster's definition lacks;
    a kind that is not served maps to None. `rights` has what the accounts of the programs may not do.
    `unread` says why what decisions are made by could not be read; `world` is empty then."""

    now: datetime
    lacking: Mapping[str, tuple[str, ...] | None] | Hidden
    programs: tuple[Program, ...] | Hidden
    leader: Leader | Hidden | None
    registration: Registration | Hidden | None
    rights: Mapping[str, tuple[str, ...]] | Hidden
    certificate: tuple[datetime, datetime] | Hidden | None
    review: Review
    guards: int | Hidden | None
    world: World
    deployments: tuple[InferenceDeployment, ...]
    budgets: tuple[Manifest, ...] | Hidden
    unread: str


def see(kube: Kube, world: World, namespace: str, now: datetime, pause: Callable[[float], None]) -> Seen:
    """Look at everything once, and at a lease that looks old a second time after a `pause` of some seconds: clocks differ.

    Raises InvalidInput where there is no cluster that answers.
    """
    _must_answer(kube)
    unread = ""
    try:
        read_from(kube, world)
    except InvalidInput as error:
        unread = error.limit
    deployments = () if unread else tuple(_deployments(kube, namespace))
    registration = _or_hidden(lambda: _registration(kube))
    home = registration.home if isinstance(registration, Registration) else ""
    programs = _or_hidden(lambda: tuple(_programs(kube, home)))
    leader = _or_hidden(lambda: _leader(kube, home, now, pause))
    return Seen(
        now=now,
        lacking=_or_hidden(lambda: _lacking(kube)),
        programs=programs,
        leader=leader,
        registration=registration,
        rights=_or_hidden(lambda: _rights(kube, registration, leader)),
        certificate=_or_hidden(lambda: _certificate(kube, leader.namespace)) if isinstance(leader, Leader) else None,
        review=_review(kube, namespace),
        guards=_or_hidden(lambda: _guards(kube)),
        world=world,
        deployments=deployments,
        budgets=_or_hidden(lambda: tuple(of_all_or_one(kube, POD_DISRUPTION_BUDGETS, namespace))) if deployments else (),
        unread=unread,
    )


def _deployments(kube: Kube, namespace: str) -> Iterator[InferenceDeployment]:
    """Those that this release can read: of all namespaces, or of the one."""
    for item in of_all_or_one(kube, INFERENCE_DEPLOYMENTS, namespace):
        found = read_stored(InferenceDeployment, item)
        if isinstance(found, InferenceDeployment):
            yield found


def _must_answer(kube: Kube) -> None:
    try:
        kube.get(NAMESPACES, "", "default")
    except ApiFailure as failure:
        if failure.status not in (403, 404):
            raise InvalidInput("cluster", None, f"cannot be asked: {one_line(str(failure), _MOST_WORDS)}") from failure


def _or_hidden(read: Callable[[], _T]) -> _T | Hidden:
    try:
        return read()
    except ApiFailure as failure:
        if failure.status == 403:
            return HIDDEN
        raise InvalidInput("cluster", None, f"cannot be read: {one_line(str(failure), _MOST_WORDS)}") from failure


def _listed(kube: Kube, resource: Resource, selector: str, namespace: str = "") -> tuple[Manifest, ...]:
    """The first page: of what the chart makes there is less than that."""
    return kube.list_page(resource, namespace=namespace, selector=selector).items


def _programs(kube: Kube, home: str) -> Iterator[Program]:
    for item in _listed(kube, DEPLOYMENTS, _OURS, home):
        labels = item["metadata"].get("labels") or {}
        template = ((item["spec"].get("template") or {}).get("metadata") or {}).get("labels") or {}
        yield Program(
            component=str(template.get(_COMPONENT) or item["metadata"]["name"]),
            namespace=str(item["metadata"].get("namespace") or ""),
            desired=int(item["spec"].get("replicas", 1)),
            ready=int((item.get("status") or {}).get("readyReplicas") or 0),
            version=str(labels.get(_VERSION) or ""),
        )


def _leader(kube: Kube, home: str, now: datetime, pause: Callable[[float], None]) -> Leader | None:
    """By the lease's name, wherever it is if that is not known: every node has a lease too, so there may be some pages of them."""
    for lease in pages(kube, LEASES, home):
        if lease["metadata"]["name"] == LEASE_NAME:
            where, (holder, renewed) = str(lease["metadata"].get("namespace") or ""), _hold(lease)
            renews = bool(holder) and renewed is not None and abs(now - renewed) <= _STALE
            if holder and not renews:
                pause(_RENEWED_WITHIN_SECONDS)
                renews = _hold(kube.get(LEASES, where, LEASE_NAME) or {}) != (holder, renewed)
            return Leader(namespace=where, holder=holder, renewed=renewed, renews=renews)
    return None


def _hold(lease: Manifest) -> tuple[str, datetime | None]:
    spec = lease.get("spec") or {}
    return one_line(str(spec.get("holderIdentity") or ""), _MOST_WORDS), _time(spec.get("renewTime"))


def _time(text: object) -> datetime | None:
    try:
        return datetime.fromisoformat(str(text)) if text else None
    except ValueError:
        return None


def _registration(kube: Kube) -> Registration | None:
    for item in _listed(kube, VALIDATING_WEBHOOK_CONFIGURATIONS, ""):
        for webhook in item.get("webhooks") or ():
            if webhook.get("name") == WEBHOOK:
                client = webhook.get("clientConfig") or {}
                return Registration(
                    name=str(item["metadata"]["name"]),
                    home=str((client.get("service") or {}).get("namespace") or ""),
                    fails_closed=webhook.get("failurePolicy", "Fail") == "Fail",
                    authority=_life(client.get("caBundle")),
                )
    return None


def _rights(kube: Kube, registration: Registration | Hidden | None, leader: Leader | Hidden | None) -> Mapping[str, tuple[str, ...]]:
    """Of the accounts as the chart names them; of none where it is not known what the release is called and where it is."""
    if not isinstance(registration, Registration):
        return {}
    home = registration.home or (leader.namespace if isinstance(leader, Leader) else "")
    return missing_rights(kube, registration.name, home) if home else {}


def _certificate(kube: Kube, namespace: str) -> tuple[datetime, datetime] | None:
    """Of the webhook's own Secret; a certificate that comes from elsewhere is not found, which is no fault."""
    for item in kube.list_page(SECRETS, namespace=namespace, selector=_OURS).items:
        if str(item["metadata"]["name"]).endswith("-webhook-certificate"):
            return _life((item.get("data") or {}).get("tls.crt"))
    return None


def _life(encoded: object) -> tuple[datetime, datetime] | None:
    try:
        return life_of(base64.b64decode(str(encoded or ""), validate=True))
    except binascii.Error:
        return None


def impossible(namespace: str) -> Manifest:
    """What the schema takes and only the webhook refuses, under every policy: a field that is not honoured yet."""
    metadata = {"name": "plimsoll-doctor", "namespace": namespace}
    engine, placement = {"image": "vllm/vllm-openai:v0.19.0"}, {"queueName": "doctor"}
    spec = {"model": {"name": "plimsoll/doctor"}, "engine": engine, "placement": placement}
    return {"apiVersion": API_VERSION, "kind": INFERENCE_DEPLOYMENTS.kind, "metadata": metadata, "spec": spec}


def _review(kube: Kube, namespace: str) -> Review:
    """A dry run of it."""
    try:
        kube.dry_run_create(INFERENCE_DEPLOYMENTS, impossible(namespace))
    except ApiFailure as failure:
        text = one_line(str(failure), _MOST_WORDS)
        if f'"{WEBHOOK}" denied' in text:
            return Review(outcome="refused", text=text)
        if "failed calling webhook" in text:
            return Review(outcome="failed", text=text)
        return Review(outcome="forbidden" if failure.status == 403 else "other", text=text)
    return Review(outcome="passed")


def _guards(kube: Kube) -> int | None:
    """The chart's admission policies; None where the API server has no such kind (before Kubernetes 1.30)."""
    try:
        return len(_listed(kube, VALIDATING_ADMISSION_POLICIES, _OURS))
    except ApiFailure as failure:
        if failure.status == 404:
            return None
        raise


def _lacking(kube: Kube) -> Mapping[str, tuple[str, ...] | None]:
    served: dict[str, frozenset[str]] = {}
    for resource in (INFERENCE_DEPLOYMENTS, *DECIDED_BY):
        definition = kube.get(CUSTOM_RESOURCE_DEFINITIONS, "", f"{resource.plural}.{GROUP}")
        for version in (definition or {}).get("spec", {}).get("versions") or ():
            if version.get("served") and f"{GROUP}/{version.get('name')}" == API_VERSION:
                served[resource.kind] = frozenset(_fields(version["schema"]["openAPIV3Schema"], {}))
    return {kind: tuple(sorted(_own_fields(model) - served[kind])) if kind in served else None for kind, model in KINDS.items()}


@cache
def _own_fields(model: type[BaseModel]) -> frozenset[str]:
    """Paths of all fields below spec that this release's type has; metadata is Kubernetes' own, and a status is cut to what is served."""
    schema = model.model_json_schema(by_alias=True)
    return frozenset(path for path in _fields(schema, schema.get("$defs") or {}) if path.startswith(".spec."))


def _fields(schema: Mapping[str, Any], defs: Mapping[str, Any], path: str = "", depth: int = 0) -> Iterator[str]:
    """Paths of all fields that a schema has; what `$ref` names is in `defs`."""
    if depth > _DEEPEST:
        return
    if "$ref" in schema:
        yield from _fields(defs[schema["$ref"].rpartition("/")[2]], defs, path, depth)
    for part in schema.get("anyOf") or ():
        yield from _fields(part, defs, path, depth)
    for name, part in (schema.get("properties") or {}).items():
        yield f"{path}.{name}"
        yield from _fields(part, defs, f"{path}.{name}", depth + 1)
    items = schema.get("items")
    if isinstance(items, Mapping):
        yield from _fields(items, defs, f"{path}[]", depth + 1)
