"""What doctor makes of what it saw: one sentence a check, in the order of CHECKS, each naming what to do where something is missing. Pure.

`ok` is as it must be. `note` is worth knowing and no fault: a choice, or what the rights of whoever asks do not show. `lack` is a fault.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import version
from typing import Final, Literal

from plimsoll_estimator import ceil_div
from plimsoll_operator.api import GPUPool, InferenceDeployment, Manifest
from plimsoll_operator.capacity import MAX_LABEL_KEYS, Problem
from plimsoll_operator.cli.doctor.seen import HIDDEN, Leader, Program, Seen
from plimsoll_operator.cli.doctor.selector import selects
from plimsoll_operator.names import API_VERSION, INDEXED_ANNOTATION
from plimsoll_operator.reasons import NoShape, Reason
from plimsoll_operator.render import labels_of

Level = Literal["ok", "note", "lack"]
_LEFT: Final = 0.2
"""Of a certificate's life: the chart's own process and cert-manager renew at a third."""
_MOST_NAMED: Final = 5
_INSTALL: Final = "install the chart, or `helm upgrade` it"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that was looked at."""

    level: Level
    text: str

    @property
    def good(self) -> bool:
        """Whether nothing is missing."""
        return self.level != "lack"


Found = Iterator[Finding]


def findings_of(seen: Seen) -> tuple[Finding, ...]:
    """Everything that there is to say, check by check."""
    return tuple(finding for check in CHECKS for finding in check(seen))


def _ok(text: str) -> Finding:
    return Finding(level="ok", text=text)


def _note(text: str) -> Finding:
    return Finding(level="note", text=text)


def _lack(text: str) -> Finding:
    return Finding(level="lack", text=text)


def _named(names: Iterable[str]) -> str:
    listed = sorted(names)
    more = f" and {len(listed) - _MOST_NAMED} more" if len(listed) > _MOST_NAMED else ""
    return ", ".join(listed[:_MOST_NAMED]) + more


def kinds(seen: Seen) -> Found:
    """Whether the cluster's definitions have what this release writes."""
    if seen.lacking == HIDDEN:
        yield _note("CustomResourceDefinitions may not be read with your rights: whether they are this release's is not known")
        return
    absent = [kind for kind, fields in seen.lacking.items() if fields is None]
    if absent:
        yield _lack(f"not served: {_named(absent)}: {_INSTALL} (its CRDs are templates; with `crds.install=false` apply crds/ yourself)")
    for kind, fields in seen.lacking.items():
        if fields:
            yield _lack(f"the cluster's {kind} is of another release, without {_named(fields)}: {_INSTALL} of this release")
    if not absent and not any(seen.lacking.values()):
        yield _ok(f"{len(seen.lacking)} kinds are served with every field of this release")


def decided_by(seen: Seen) -> Found:
    """Whether what decisions are made by can be read."""
    if seen.unread:
        yield _lack(f"what decisions are made by {seen.unread}")


def programs(seen: Seen) -> Found:
    """Whether the chart's programs run, and are of one release."""
    if seen.programs == HIDDEN:
        yield _note("Deployments may not be listed with your rights: whether controller and webhook run is not known")
        return
    there = {program.component for program in seen.programs}
    works = {"controller": _leads(seen), "webhook": seen.review.outcome == "refused"}
    for component in sorted(works.keys() - there):
        if works[component]:
            yield _note(f"no Deployment of the chart runs the {component}: it runs outside of this cluster, and answers")
        else:
            yield _lack(f"no Deployment of the chart runs the {component}: {_INSTALL}")
    for program in seen.programs:
        yield _program(program)
    own = version("plimsoll-operator")
    for other in sorted({program.version for program in seen.programs} - {own, ""}):
        yield _note(f"this command is release {own}, the cluster runs {other}: answers may differ")


def _program(program: Program) -> Finding:
    said = f"{program.component}: {program.ready} of {program.desired} pods ready in {program.namespace}"
    if program.ready == 0:
        pods = f"kubectl -n {program.namespace} get pods -l app.kubernetes.io/component={program.component}"
        return _lack(f"{said}: `{pods}`, and the log of one of them, say why")
    return _ok(said) if program.ready >= program.desired else _note(f"{said}; the others take over when they are")


def leader(seen: Seen) -> Found:
    """Whether a controller leads: without one nothing is decided after admission and no pod is made."""
    if seen.leader == HIDDEN:
        yield _note("the controller's lease may not be read with your rights: whether one leads is not known")
    elif seen.leader is None:
        if seen.programs != HIDDEN and any(program.component == "controller" for program in seen.programs):
            yield _lack("no controller has ever led: its log says what it waits for")
    elif _leads(seen):
        yield _ok(f"{seen.leader.holder} leads")
    elif not seen.leader.holder or seen.leader.renewed is None:
        yield _lack("no controller leads: nothing is decided after admission and no pod is made")
    else:
        seconds = int((seen.now - seen.leader.renewed).total_seconds())
        yield _lack(f"no controller leads: {seen.leader.holder} renewed its lease {seconds} s ago, and none has taken over")


def _leads(seen: Seen) -> bool:
    return isinstance(seen.leader, Leader) and seen.leader.renews


def webhook_judges(seen: Seen) -> Found:
    """Whether what must be refused at the door is: asked by a dry run of it."""
    review = seen.review
    if review.outcome == "refused":
        yield _ok("the webhook refuses at `kubectl apply` what cannot be (asked by a dry run)")
    elif review.outcome == "passed":
        yield _lack("nobody judges at `kubectl apply`: a dry run of what must be refused passed: is the webhook registered? see below")
    elif review.outcome == "failed":
        yield _lack(f"the API server cannot ask the webhook: {review.text}")
    elif review.outcome == "forbidden":
        yield _note("you may not create InferenceDeployments there: whether the webhook judges is not known (-n names another namespace)")
    else:
        yield _note(f"whether the webhook judges is not known: a dry run was answered with: {review.text}")


def registration(seen: Seen) -> Found:
    """Whether the API server knows the webhook, fails closed, and trusts a certificate that is valid for a while."""
    if seen.registration == HIDDEN:
        yield _note("ValidatingWebhookConfigurations may not be read with your rights: how the webhook is registered is not known")
    elif seen.registration is None:
        yield _lack(f"no ValidatingWebhookConfiguration has the webhook: nothing is judged at `kubectl apply`: {_INSTALL}")
    else:
        if not seen.registration.fails_closed:
            yield _note(f"{seen.registration.name}: failurePolicy Ignore: while no webhook answers, everything passes")
        if seen.registration.authority is None:
            yield _note(f"{seen.registration.name} has no caBundle: right where the API server trusts the certificate by itself")
        else:
            yield _valid("the authority that the API server trusts", seen.registration.authority, seen.now)
    if isinstance(seen.certificate, tuple):
        yield _valid("the webhook's certificate", seen.certificate, seen.now)


def _valid(what: str, life: tuple[datetime, datetime], now: datetime) -> Finding:
    begins, ends = life
    if now >= ends:
        return _lack(f"{what} ended on {ends:%Y-%m-%d %H:%M} UTC: creations fail; who renews it (by default the component certificates)?")
    if (ends - now) / (ends - begins) < _LEFT:
        return _lack(f"{what} ends on {ends:%Y-%m-%d %H:%M} UTC and should be renewed by now: look at the component certificates")
    return _ok(f"{what} is valid until {ends:%Y-%m-%d}")


def rights(seen: Seen) -> Found:
    """Whether the accounts of controller and webhook may do their work."""
    if seen.rights == HIDDEN:
        yield _note("SubjectAccessReviews may not be made with your rights: whether controller and webhook have theirs is not known")
        return
    for account, denied in seen.rights.items():
        if denied:
            yield _lack(f"the ServiceAccount {account} may not {_named(denied)}: {_INSTALL}, which brings its ClusterRole and binding")
    if seen.rights and not any(seen.rights.values()):
        yield _ok("the accounts of controller and webhook have their rights")


def guards(seen: Seen) -> Found:
    """Whether what the controller's token may write is bounded."""
    if seen.guards is None:
        yield _lack("ValidatingAdmissionPolicies are not served: Kubernetes 1.30 or newer is needed")
    elif seen.guards == 0:
        yield _note("no ValidatingAdmissionPolicy of the chart: what the controller's token may write is bounded by its rights alone")
    elif seen.guards != HIDDEN:
        what = "1 admission policy bounds" if seen.guards == 1 else f"{seen.guards} admission policies bound"
        yield _ok(f"{what} what the controller's token may write")


def pools(seen: Seen) -> Found:
    """Whether there are GPUs to plan on, and which are doubted."""
    if seen.unread:
        return
    if not seen.world.pools:
        yield _lack("no GPUPool: is the controller running, and are GPU nodes labelled by GPU feature discovery?")
        return
    number = len(seen.world.pools)
    yield _ok(f"{number} GPU pool{'s are' if number != 1 else ' is'} known")
    doubted = [pool for pool in seen.world.pools if pool.status is not None and not pool.status.trusted]
    foreign = [pool for pool in doubted if _is_foreign(pool)]
    if foreign:
        yield _note(f"shown and never planned on, for want of memory rules for their vendor: {_named(p.metadata.name for p in foreign)}")
    bad = [pool for pool in doubted if not _is_foreign(pool)]
    if bad:
        yield _lack(f"pools that nothing is planned on: {_named(p.metadata.name for p in bad)} (`plimsoll nodes` says which nodes and why)")
    elif len(foreign) < number:
        yield _ok("the others are trusted" if foreign else "all pools are trusted")


def _is_foreign(pool: GPUPool) -> bool:
    """Whether nothing but its vendor keeps the pool out; its problems begin with their names."""
    names = {problem.partition(":")[0] for problem in (() if pool.status is None else pool.status.problems)}
    return {name for name in names if name in _EXCLUDING} == {Problem.VENDOR_UNSUPPORTED}


_EXCLUDING: Final = frozenset(problem.value for problem in Problem if problem.excludes)


def policy(seen: Seen) -> Found:
    """The built-in defaults hold without a policy named default."""
    if seen.unread:
        return
    broken = [str(row) for row in seen.world.unreadable if row.kind == "FitPolicy"]
    if broken:
        yield _lack(f"{', '.join(broken)} cannot be read by this release: nothing is admitted under it")
        return
    named = [policy for policy in seen.world.policies if policy.metadata.name == "default"]
    yield _ok("FitPolicy default is there") if named else _note("no FitPolicy default: the built-in defaults hold")


def leader_worker_sets(seen: Seen) -> Found:
    """Only replicas over several nodes need it."""
    if seen.unread:
        return
    if seen.world.leader_worker_sets:
        yield _ok("LeaderWorkerSet is served: replicas may span nodes")
        return
    needing = [_name(item) for item in seen.deployments if item.spec.placement.max_nodes_per_replica > 1]
    if needing:
        yield _lack(f"LeaderWorkerSet is not served, and needed by {_named(needing)}: install it, or keep replicas on one node")
    else:
        yield _note("LeaderWorkerSet is not served: only placement.maxNodesPerReplica above 1 needs it")


def models(seen: Seen) -> Found:
    """Whether shapes can be read from where models are."""
    waiting = [_name(item) for item in seen.deployments if _condition(item, "ModelResolved")[1] == NoShape.UNREACHABLE]
    if waiting:
        said = next(_condition(item, "ModelResolved")[2] for item in seen.deployments if _name(item) == sorted(waiting)[0])
        yield _lack(f"where models are cannot be reached, which {_named(waiting)} wait for: {said}")


def label_index(seen: Seen) -> Found:
    """Whether pools can still be split by one more label that users select by."""
    keys: set[str] = set()
    for pool in seen.world.pools:
        keys |= set(filter(None, (pool.metadata.annotations.get(INDEXED_ANNOTATION) or "").split(",")))
    refused = [_name(item) for item in seen.deployments if _condition(item, "Feasible")[1] == Reason.LABEL_NOT_INDEXED]
    if len(keys) >= MAX_LABEL_KEYS:
        waiting = f"; {_named(refused)} wait" if refused else ""
        yield _lack(f"all {MAX_LABEL_KEYS} label keys of nodeSelectors are in use ({_named(keys)}){waiting}: drop one")
    elif refused:
        yield _note(f"being decided by the nodes themselves, for a label that pools are not split by: {_named(refused)}")


def evictions(seen: Seen) -> Found:
    """Whether drains can move the pods: Kubernetes evicts none that two budgets are of (pkg/registry/core/pod/storage/eviction.go)."""
    if seen.budgets == HIDDEN:
        yield _note("whether PodDisruptionBudgets hold up drains is not seen with your rights: it takes that of listing them")
        return
    for item in seen.deployments:
        template = item.spec.template
        labels = {**(template.labels if template is not None else {}), **labels_of(item)}
        others = [name for name, selector in _others(seen.budgets, item.metadata.namespace or "default") if selects(selector, labels)]
        own = [f"its own, {item.metadata.name}"] if item.spec.pod_disruption_budget is not None else []
        if len(others) + len(own) > 1:
            named = ", ".join((*others, *own))
            yield _lack(f"{_name(item)}: several PodDisruptionBudgets are of its pods ({named}), so that Kubernetes evicts none: keep one")
        elif own and not _may_go(item):
            yield _note(f"{_name(item)}: its podDisruptionBudget lets none of its replicas go, and a drain of their nodes waits")


def _others(budgets: Iterable[Manifest], namespace: str) -> Iterator[tuple[str, object]]:
    """Name and selector of budgets that are not made by Plimsoll."""
    for one in budgets:
        owners = one["metadata"].get("ownerReferences") or ()
        ours = any(owner.get("kind") == "InferenceDeployment" and owner.get("apiVersion") == API_VERSION for owner in owners)
        if one["metadata"].get("namespace", "default") == namespace and not ours:
            yield one["metadata"]["name"], (one.get("spec") or {}).get("selector")


def _may_go(item: InferenceDeployment) -> bool:
    """Whether the budget leaves a replica that may be evicted while all of them serve. Shares round up, as Kubernetes has them."""
    budget, replicas = item.spec.pod_disruption_budget, item.spec.replicas
    if budget is None:
        return True

    def counted(text: str) -> int:
        return ceil_div(int(text[:-1]) * replicas, 100) if text.endswith("%") else int(text)

    if budget.max_unavailable is not None:
        return counted(budget.max_unavailable) > 0
    return counted(budget.min_available or "0") < replicas or replicas == 0


def standing(seen: Seen) -> Found:
    """How the cluster's deployments stand, in one line."""
    stalled = [_name(item) for item in seen.deployments if _condition(item, "Stalled")[0] == "True"]
    unknown = [_name(item) for item in seen.deployments if _condition(item, "Feasible")[0] == "Unknown"]
    if stalled:
        yield _note(f"stalled: {_named(stalled)} (`plimsoll status NAME` says why)")
    if unknown:
        yield _note(f"undecided: {_named(unknown)} (`plimsoll status NAME` says what is missing)")


def _name(item: InferenceDeployment) -> str:
    return f"{item.metadata.namespace or 'default'}/{item.metadata.name}"


def _condition(item: InferenceDeployment, kind: str) -> tuple[str, str, str]:
    """Status, reason and message; empty where the object has no such condition."""
    rows = () if item.status is None else item.status.conditions
    return next(((row.status, row.reason, row.message) for row in rows if row.type == kind), ("", "", ""))


CHECKS: Final[tuple[Callable[[Seen], Found], ...]] = (
    kinds, decided_by, programs, leader, webhook_judges, registration, rights, guards,
    pools, policy, leader_worker_sets, models, label_index, evictions, standing,
)  # fmt: skip
