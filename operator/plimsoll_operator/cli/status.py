"""`plimsoll status NAME`: how an InferenceDeployment is doing: its plan, its conditions, its pods and their last end, and what to do next.

Reads the object and its pods with the rights of whoever runs it, and says what they say. Decides nothing and writes nothing.
"""

from __future__ import annotations

import argparse
import json
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any, Final

import yaml

from plimsoll_estimator import InvalidInput, format_gib
from plimsoll_operator.api import InferenceDeployment, InferenceDeploymentStatus, Manifest, ObservedStatus, Unreadable, read_stored
from plimsoll_operator.cli.command import SubParsers, add_command
from plimsoll_operator.cli.explain import EXPLAINED
from plimsoll_operator.cli.live import current_namespace, open_cluster
from plimsoll_operator.cli.screen import Screen, aligned, folded, screen_of_stdout
from plimsoll_operator.cli.typed import check_dns_label
from plimsoll_operator.errors import ApiFailure
from plimsoll_operator.names import REPLAN_ANNOTATION
from plimsoll_operator.phase import Summary, summary_of
from plimsoll_operator.ports import INFERENCE_DEPLOYMENTS, PODS, Kube
from plimsoll_operator.reasons import Why
from plimsoll_operator.text import one_line

_DESCRIPTION: Final = "How an InferenceDeployment is doing. Status 0: it fits, 1: it was rejected, 3: not known, 2: it cannot be read."
_BY_FEASIBLE: Final = {"True": 0, "False": 1}
_NOT_KNOWN: Final = 3
_MOST_PODS: Final = 50
_MOST_WORDS: Final = 400
_ADOPT: Final = f'next: adopt what it could run on with kubectl annotate infd {{}} -n {{}} {REPLAN_ANNOTATION}="$(date +%s)" --overwrite'
_GOOD: Final = {"Stalled": "False"}


@dataclass(frozen=True, slots=True, kw_only=True)
class PodLine:
    """One pod: `state` in a word or two, `last_end` of its containers, empty where none has ended."""

    name: str
    state: str
    ready: bool
    restarts: int
    last_end: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What there is to tell. `pods` is None where they may not be listed.

    `phase` and `reason` are as `kubectl get infd` shows them, empty before anything was decided.
    `proposed` is the plan that would be adopted, empty without one.
    `took` is what the engines logged of their start, empty where nothing was read.
    `conditions` are type, status, reason and message; `next_steps` what a reason in the way asks for.
    """

    name: str
    namespace: str
    model: str
    ready: str
    phase: str
    reason: str
    plan: str
    proposed: str
    took: str
    conditions: tuple[tuple[str, str, str, str], ...]
    pods: tuple[PodLine, ...] | None
    offers: tuple[str, ...]
    next_steps: tuple[str, ...]

    @property
    def adoptable(self) -> bool:
        """Whether the proposed plan can be adopted as things stand."""
        return bool(self.proposed) and not any(kind == "Stalled" and status == "True" for kind, status, _, _ in self.conditions)

    @property
    def exit_status(self) -> int:
        """By the condition Feasible."""
        feasible = next((status for kind, status, _, _ in self.conditions if kind == "Feasible"), "Unknown")
        return _BY_FEASIBLE.get(feasible, _NOT_KNOWN)


def register(subparsers: SubParsers) -> None:
    """Add the command."""
    parser = add_command(subparsers, "status", run, _DESCRIPTION)
    parser.add_argument("name", metavar="NAME", help="of the InferenceDeployment")
    parser.add_argument("-n", "--namespace", metavar="NAMESPACE", help="where it is: the kubeconfig's namespace without it")
    parser.add_argument("-o", "--output", choices=("table", "json", "yaml"), default="table", help="json and yaml: the same for machines")


def run(options: argparse.Namespace) -> int:
    """Ask the cluster once and print."""
    namespace = options.namespace or current_namespace() or "default"
    for option, text in (("--namespace", namespace), ("NAME", options.name)):
        check_dns_label(option, text)
    told = told_of(open_cluster(), namespace, options.name)
    if options.output == "json":
        print(json.dumps(_mapping(told), indent=2))
    elif options.output == "yaml":
        print(yaml.safe_dump(_mapping(told), sort_keys=False), end="")
    else:
        print("\n".join(lines_of(told, screen_of_stdout())))
    return told.exit_status


def told_of(kube: Kube, namespace: str, name: str) -> Told:
    """What the object and its pods say. Raises InvalidInput where it is not there or cannot be read."""
    try:
        manifest = kube.get(INFERENCE_DEPLOYMENTS, namespace, name)
    except ApiFailure as error:
        raise InvalidInput("cluster", None, f"cannot be read: {one_line(str(error), _MOST_WORDS)}") from error
    if manifest is None:
        raise InvalidInput("NAME", name, f"is no InferenceDeployment of namespace {namespace}: `kubectl get infd -A` lists all")
    found = read_stored(InferenceDeployment, manifest)
    if isinstance(found, Unreadable):
        raise InvalidInput("NAME", name, f"cannot be read by this release: {found.problem}")
    status = found.status
    conditions = () if status is None else status.conditions
    shown = tuple((row.type, row.status, row.reason, one_line(row.message, _MOST_WORDS)) for row in conditions)
    plan = None if status is None else status.plan
    wanted = found.spec.replicas
    summary = summary_of(conditions)
    return Told(
        name=name,
        namespace=namespace,
        model=found.spec.model.name,
        ready=f"{(status.ready_replicas if status is not None else None) or 0} of {wanted}",
        phase=str(summary.phase) if summary is not None else "",
        reason=summary.reason if summary is not None else "",
        plan="none" if plan is None else _plan(plan.model_dump(mode="json", exclude_none=True)),
        proposed=_proposed(status),
        took="" if status is None or status.observed is None else _took(status.observed),
        conditions=shown,
        pods=_pods(kube, namespace, "" if status is None else status.selector or ""),
        offers=() if status is None else tuple(str(offer.summary) for offer in status.offers),
        next_steps=tuple(dict.fromkeys(_next_steps(shown, summary))),
    )


def _next_steps(conditions: Iterable[tuple[str, str, str, str]], summary: Summary | None) -> Iterator[str]:
    """What the reason of the moment asks for; the other conditions repeat it, or follow from it. Before it, what a model that is not known
    asks for, and after it what its engines took that was not planned.
    """
    of_kind = {kind: (state, reason) for kind, state, reason, _ in conditions}
    moment = summary.reason if summary is not None and summary.reason != Why.READY else ""
    reasons = [of_kind[kind][1] if of_kind.get(kind, ("",))[0] == "False" else "" for kind in ("ModelResolved", "AsPredicted")]
    yield from (EXPLAINED[reason][1] for reason in (reasons[0], moment, reasons[1]) if reason in EXPLAINED)


def _took(observed: ObservedStatus) -> str:
    """Of the start with the least KV cache."""
    beside = format_gib(observed.not_kv_cache_bytes) if observed.not_kv_cache_bytes is not None else "not logged"
    error = f" (error of the prediction {observed.error_ratio})" if observed.error_ratio is not None else ""
    tokens = f"{observed.kv_cache_tokens} tokens" if observed.kv_cache_tokens is not None else "not logged"
    engine = observed.engine_version or "not logged"
    return one_line(f"beside the KV cache {beside}{error}; KV cache {tokens}; vLLM {engine}; pod {observed.pod}", _MOST_WORDS)


def _proposed(status: InferenceDeploymentStatus | None) -> str:
    found = status.proposed_plan if status is not None else None
    return "" if found is None else _plan(found.model_dump(mode="json", exclude_none=True))


def _plan(plan: Mapping[str, Any]) -> str:
    return (
        f"{plan.get('gpus_per_replica')} x {plan.get('product')}, tensor parallel {plan.get('tensor_parallel_size')}, "
        f"context {plan.get('max_model_len')}, KV cache {plan.get('kv_cache_tokens')} tokens, vLLM {plan.get('engine_version')}"
    )


def _pods(kube: Kube, namespace: str, selector: str) -> tuple[PodLine, ...] | None:
    """The pods by name, a page of them at most; None where they may not be listed."""
    if not selector:
        return ()
    try:
        page = kube.list_page(PODS, namespace=namespace, selector=selector, limit=_MOST_PODS)
    except ApiFailure as error:
        if error.status == 403:
            return None
        raise InvalidInput("cluster", None, f"pods cannot be read: {one_line(str(error), _MOST_WORDS)}") from error
    return tuple(sorted((pod_line(pod) for pod in islice(page.items, _MOST_PODS)), key=lambda row: row.name))


def pod_line(pod: Manifest) -> PodLine:
    """One pod in a line: the word that kubectl shows for it, and how its containers ended last."""
    status = pod.get("status") or {}
    rows = [*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())]
    waiting = [row["state"]["waiting"].get("reason") for row in rows if (row.get("state") or {}).get("waiting")]
    gated = bool((pod.get("spec") or {}).get("schedulingGates"))
    state = next((str(reason) for reason in waiting if reason not in (None, "PodInitializing", "ContainerCreating")), None)
    states = [row.get(key) or {} for row in rows for key in ("state", "lastState")]
    ends = [shown["terminated"] for shown in states if (shown.get("terminated") or {}).get("exitCode")]
    if pod["metadata"].get("deletionTimestamp"):
        state = "Terminating"
    return PodLine(
        name=str(pod["metadata"].get("name")),
        state="SchedulingGated" if gated else state or str(status.get("phase") or "Unknown"),
        ready=any(row.get("type") == "Ready" and row.get("status") == "True" for row in status.get("conditions") or ()),
        restarts=sum(int(row.get("restartCount") or 0) for row in rows),
        last_end="; ".join(_end(end) for end in ends[-2:]),
    )


def _end(end: Mapping[str, Any]) -> str:
    said = one_line(str(end.get("message") or "").strip().rpartition("\n")[2], 200)
    return f"status {end.get('exitCode')}, {end.get('reason') or 'Error'}" + (f": {said}" if said else "")


def _mapping(told: Told) -> dict[str, Any]:
    keys = ("type", "status", "reason", "message")
    data = asdict(told) | {"conditions": [dict(zip(keys, row, strict=True)) for row in told.conditions]}
    return {key: list(value) if isinstance(value, tuple) else value for key, value in data.items()}


def lines_of(told: Told, screen: Screen) -> list[str]:
    """For people: what it is, what stands in the way, its pods, and what next."""
    lines = [
        f"{told.name} in {told.namespace}: {told.model}",
        f"  ready  {told.ready}",
        *([f"  now    {told.phase}" + (f" ({told.reason})" if told.reason != told.phase else "")] if told.phase else []),
        f"  plan   {told.plan}",
        *([f"  could  {told.proposed}"] if told.proposed else []),
        *([f"  took   {told.took}"] if told.took else []),
        "",
    ]
    rows = [(kind, status, reason) for kind, status, reason, _ in told.conditions]
    for (kind, status, _, message), cells in zip(told.conditions, aligned(rows), strict=True):
        colour = "green" if status == _GOOD.get(kind, "True") else "yellow" if status == "Unknown" else "red"
        lines += _wrapped(f"{cells[0]}  {screen.paint(cells[1], colour)}  {cells[2]}", message, screen)
    lines += [] if told.conditions else ["No condition yet: does the controller run? `plimsoll doctor` looks."]
    if told.pods is None:
        lines += [
            "",
            "Its pods may not be listed with your rights (`kubectl auth can-i list pods`); what is above is the controller's word.",
        ]
    if told.pods:
        pods = [("POD", "STATE", "READY", "RESTARTS", "LAST END")]
        pods += [(pod.name, pod.state, "yes" if pod.ready else "no", str(pod.restarts), pod.last_end) for pod in told.pods]
        lines += ["", *("  ".join(row).rstrip() for row in aligned(pods, (3,)))]
    lines += ["", *(line for offer in told.offers for line in folded(f"would be admitted: {offer}", screen, "    "))] if told.offers else []
    steps = [_ADOPT.format(told.name, told.namespace)] if told.adoptable else []  # on one line, to be copied
    steps += [line for step in told.next_steps for line in folded(f"next: {step}", screen, "    ")]
    lines += ["", *steps] if steps else []
    return lines


def _wrapped(head: str, message: str, screen: Screen) -> list[str]:
    """A condition, and its sentence below where the screen has no room beside it."""
    if screen.width is None:
        return [f"{head}  {message}".rstrip()]
    indent = "    "
    return [head.rstrip(), *textwrap.wrap(message, screen.width, initial_indent=indent, subsequent_indent=indent, break_long_words=False)]
