"""A comparison of releases as `plimsoll plan --compare-engine` prints it: side by side for people, as a mapping for machines.

docs/upgrade.md describes the mapping. Decides nothing and reads no file.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from plimsoll_estimator import EngineVersion, flag_of, format_gib
from plimsoll_operator.cli.plan_text import judged_mapping, manifest_lines
from plimsoll_operator.upgrade import Change, Comparison, Difference, Judged, Outcome
from plimsoll_operator.verdict import Admit, Plan, Reject, Resize, Undecided, Verdict

_MOST_FLAGS: Final = 12
_NOTHING: Final = format_gib(0)
_WORDS: Final = {
    Outcome.STILL_FITS: "still fits",
    Outcome.FITS_NOW: "fits, as the present release does not",
    Outcome.NO_LONGER_FITS: "no longer fits",
    Outcome.DOES_NOT_FIT: "does not fit",
    Outcome.NOT_KNOWN: "is not known to fit",
}
_PLANNED: Final = {"max_model_len", "max_num_seqs", "max_num_batched_tokens", "gpu_memory_utilization", "dtype"}
"""What the plan tells the pods in any case, whatever the default is."""
_NO_ARGUMENTS: Final = {"uses_v2_model_runner": "model runner V2", "max_in_flight_tokens": "tokens in flight"}
_TOLD: Final = (("KV cache tokens", "kv_cache_tokens"), ("max-model-len", "max_model_len"), ("GPUs", "gpus_per_replica"))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Row:
    """One line of the table: what it is called, and the value a plan has. Whole numbers and bytes show how far they moved.

    A line that has the `usual` value everywhere is left out.
    """

    label: str
    value: Callable[[Plan], str | int]
    in_bytes: bool = False
    usual: str | int | None = None


def _sizes(plan: Plan) -> str:
    said = f"tensor {plan.tensor_parallel_size}"
    for name, size in (("pipeline", plan.pipeline_parallel_size), ("data", plan.data_parallel_size)):
        said += f", {name} {size}" if size > 1 else ""
    said += f", decode context {plan.decode_context_parallel_size}" if plan.decode_context_parallel_size > 1 else ""
    return said + (", experts" if plan.enable_expert_parallel else "")


_ROWS: Final = (
    _Row(label="GPUs", value=lambda p: f"{p.gpus_per_replica} x {' or '.join(p.gpu_products)}"),
    _Row(label="nodes per replica", value=lambda p: p.nodes_per_replica, usual=1),
    _Row(label="free now", value=lambda p: "yes" if p.available_now else "no"),
    _Row(label="parallel sizes", value=_sizes),
    _Row(label="gpu-memory-utilization", value=lambda p: p.gpu_memory_utilization),
    _Row(label="budget of one GPU", value=lambda p: p.allocated_bytes, in_bytes=True),
    _Row(label="max-model-len", value=lambda p: p.max_model_len),
    _Row(label="max-num-seqs", value=lambda p: p.max_num_seqs),
    _Row(label="max-num-batched-tokens", value=lambda p: p.max_num_batched_tokens),
    _Row(label="dtype", value=lambda p: p.dtype),
    _Row(label="quantization", value=lambda p: p.quantization or "none", usual="none"),
    _Row(label="kv-cache-dtype", value=lambda p: p.kv_cache_dtype, usual="auto"),
    _Row(label="weights", value=lambda p: p.predicted.weights_bytes, in_bytes=True),
    _Row(label="activation", value=lambda p: p.predicted.activation_bytes, in_bytes=True),
    _Row(label="CUDA graphs", value=lambda p: p.predicted.cuda_graph_bytes, in_bytes=True),
    _Row(label="non-torch", value=lambda p: p.predicted.non_torch_bytes, in_bytes=True),
    _Row(label="KV cache", value=lambda p: p.predicted.kv_cache_bytes, in_bytes=True),
    _Row(label="  at the lower end", value=lambda p: (p.kv_cache_interval_bytes or (0,))[0], in_bytes=True),
    _Row(label="  needed", value=lambda p: p.kv_cache_needed_bytes, in_bytes=True),
    _Row(label="KV cache tokens", value=lambda p: p.kv_cache_tokens),
    _Row(label="full requests", value=lambda p: p.max_concurrency),
    _Row(label="replicas needed", value=lambda p: p.replicas_needed, usual=0),
    _Row(label="host memory of a pod", value=lambda p: p.host_memory_bytes, in_bytes=True),
    _Row(label="ephemeral storage", value=lambda p: p.ephemeral_storage_bytes, in_bytes=True),
)


def comparison_mapping(name: str, comparison: Comparison) -> dict[str, Any]:
    """The comparison of the InferenceDeployment of that name for machines."""
    present = judged_mapping(comparison.present) | {"arguments": list(comparison.present.arguments)}
    return {"name": name, "present": present, "others": [_other(difference) for difference in comparison.others]}


def _other(found: Difference) -> dict[str, Any]:
    changes = {part: [asdict(change) for change in getattr(found, part)] for part in ("figures", "arguments", "defaults")}
    return {
        "outcome": found.outcome.value,
        **judged_mapping(found.judged),
        "arguments": list(found.judged.arguments),
        "differences": {
            **changes,
            "defaults_on": found.defaults_on,
            "flags_new": list(found.flags_new),
            "flags_gone": list(found.flags_gone),
            "warnings_new": list(found.warnings_new),
            "warnings_gone": list(found.warnings_gone),
        },
    }


def comparison_lines(name: str, comparison: Comparison) -> list[str]:
    """All releases side by side, then what is to be said of each."""
    present, others = comparison.present, comparison.others
    if not others:
        return [f"{name}: vLLM {present.version} is compared with itself: no other release was named for it"]
    lines = [f"{name}: {headline(other)}" for other in others]
    lines += _table(list(comparison.judged))
    if said := _said(present, present.warnings):
        lines += ["", f"vLLM {present.version}, the present release", *_indented(said)]
    for other in others:
        lines += ["", f"vLLM {other.judged.version}", *_indented(differences(other, present.version))]
    return lines


def headline(found: Difference) -> str:
    """What becomes of the request, and the figures that its users notice."""
    moved = {change.name: change for change in found.figures}
    told = ", ".join(f"{label} {moved[name].new} instead of {moved[name].old}" for label, name in _TOLD if name in moved)
    return f"vLLM {found.judged.version} {_WORDS[found.outcome]}{_edge(found.judged.verdict)}{f': {told}' if told else ''}"


def _indented(lines: list[str]) -> list[str]:
    return [f"  {line}" for line in lines]


def comparison_cells(columns: Sequence[Judged]) -> list[list[str]]:
    """The figures side by side: a head with the releases, then a row each, whose first cell is its label."""
    cells = [["", *(f"vLLM {judged.version}" for judged in columns)], ["verdict", *(_verdict(judged.verdict) for judged in columns)]]
    plans = [judged.plan for judged in columns]
    for row in _ROWS:
        values = [None if plan is None else row.value(plan) for plan in plans]
        if any(value not in (None, row.usual) for value in values):
            cells.append([row.label, *(_cell(row, value, values[0]) for value in values)])
    return cells


def _table(columns: list[Judged]) -> list[str]:
    """One line a figure; a star where not all releases have the same."""
    starred = [(not (row[0] and len(set(row[1:])) > 1), row) for row in comparison_cells(columns)]
    widths = [max(len(row[place]) for _, row in starred) for place in range(len(columns) + 1)]
    return [
        f"{' ' if same else '*'} " + "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()
        for same, row in starred
    ]


def _cell(row: _Row, value: str | int | None, first: str | int | None) -> str:
    if value is None:
        return "-"
    text = format_gib(value) if row.in_bytes and isinstance(value, int) else str(value)
    if not isinstance(value, int) or not isinstance(first, int) or value == first:
        return text
    by = value - first
    shown = format_gib(abs(by)) if row.in_bytes else str(abs(by))
    return text if shown == _NOTHING else f"{text} ({'+' if by > 0 else '-'}{shown})"


def _verdict(verdict: Verdict) -> str:
    word = type(verdict).__name__
    if isinstance(verdict, Admit | Resize):
        against = f" against {verdict.overridden.reason}" if verdict.overridden is not None else ""
        return f"{word}{against}{_edge(verdict)}"
    return f"{word} ({verdict.reason}){_edge(verdict)}"


def _edge(verdict: Verdict) -> str:
    return ", on the edge" if not isinstance(verdict, Undecided) and verdict.on_the_edge else ""


def _said(judged: Judged, warnings: tuple[str, ...]) -> list[str]:
    """What a verdict says beside figures."""
    verdict = judged.verdict
    lines: list[str] = []
    if isinstance(verdict, Undecided):
        lines += [verdict.message, verdict.next_step]
    elif isinstance(verdict, Reject):
        lines += [f"{verdict.field}: {verdict.message}", *verdict.details]
        for offer in verdict.offers:
            lines += [f"would be admitted: {offer.summary}", f"  {offer.patch_json}"]
        lines += [judged.stored_as_a_warning] if judged.stored_as_a_warning else []
    elif isinstance(verdict, Resize):
        lines += [f"moved: {change.field} from {change.old} to {change.new}" for change in verdict.changes]
    lines += [f"warning: {line}" for line in warnings]
    return lines + manifest_lines(judged)


def differences(found: Difference, present: EngineVersion) -> list[str]:
    """What is to be said of one other release beside its figures, a line each."""
    lines = _said(found.judged, found.warnings_new)
    lines += [f"no longer warned: {line}" for line in found.warnings_gone if found.judged.plan is not None]
    lines += [f"argument {_moved(change.name, change)}" for change in found.arguments]
    for change in found.defaults:
        flag = flag_of(change.name, found.judged.version) or _NO_ARGUMENTS.get(change.name, change.name)
        lines.append(f"vLLM's default {_moved(flag, change)}" + (", which the plan sets" if change.name in _PLANNED else ""))
    new, gone = len(found.flags_new), found.flags_gone
    if new or gone:
        named = f" ({', '.join(gone[:_MOST_FLAGS])}{', ...' if len(gone) > _MOST_FLAGS else ''})" if gone else ""
        lines.append(f"flags of vllm serve since {present}: {new} new, {len(gone)} gone{named}; -o json names all")
    return lines


def _moved(name: str, change: Change) -> str:
    if change.old is None or change.new is None:
        value = change.old if change.new is None else change.new
        return f"{name}{'' if value is True else f' {value}'} {'goes' if change.new is None else 'comes'}"
    return f"{name} from {change.old} to {change.new}"
