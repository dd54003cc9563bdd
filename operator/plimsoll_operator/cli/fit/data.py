"""The table of `plimsoll fit` for machines: one mapping, whose keys docs/fit.md describes. Decides nothing and prints nothing."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, Final

from plimsoll_operator.cli.fit.rows import Cell, Row, Table, is_on_the_edge
from plimsoll_operator.verdict import Admit, Resize

FORM: Final = "plimsoll.fit/v1"
"""Of the mapping. Keys may be added under it; none changes its meaning or goes."""


def mapping_of(table: Table) -> dict[str, Any]:
    """Everything that was decided, in the order of the table."""
    request = table.request
    return {
        "form": FORM,
        "model": request.model,
        "engine_version": str(request.version),
        "gpus_from": table.source,
        "tokens": list(table.lengths),
        "users": request.users,
        "fits": table.best is not None,
        "chosen": None if table.best is None else next(number for number, row in enumerate(table.rows) if row is table.best),
        "rows": [_row(row) for row in table.rows],
        "otherwise": [] if table.best is not None else _offers(table),
    }


def _offers(table: Table) -> list[dict[str, str]]:
    offers = getattr(table.open, "offers", ())
    return [{"summary": offer.summary, "patch": offer.patch_json} for offer in offers]


def _row(row: Row) -> dict[str, Any]:
    card, plan = row.card, row.plan
    data: dict[str, Any] = {
        "gpu": card.product,
        "sharing": card.sharing,
        "pools": [pool.name for pool in card.pools],
        "gpu_memory_bytes": card.total_memory_bytes,
        "gpus_per_node": max(pool.gpus_per_node for pool in card.pools),
        "gpus": card.gpus,
        "free_gpus": card.free_gpus,
        "cost_per_gpu": card.cost,
    }
    data |= _verdict(row.main)
    if plan is not None:
        data |= {
            "gpus_per_replica": plan.gpus_per_replica,
            "nodes_per_replica": plan.nodes_per_replica,
            "tensor_parallel_size": plan.tensor_parallel_size,
            "pipeline_parallel_size": plan.pipeline_parallel_size,
            "expert_parallel": plan.enable_expert_parallel,
            "max_model_len": plan.max_model_len,
            "max_num_seqs": plan.max_num_seqs,
            "gpu_memory_utilization": plan.gpu_memory_utilization,
            "kv_cache_tokens": plan.kv_cache_tokens,
            "available_now": plan.available_now,
            "memory": asdict(plan.predicted) | {"gpu_total_bytes": plan.gpu_total_bytes, "allocated_bytes": plan.allocated_bytes},
        }
    data["at"] = [{"tokens": cell.tokens, **_verdict(cell)} for cell in row.cells]
    return data


def _verdict(cell: Cell) -> dict[str, Any]:
    verdict = cell.verdict
    data: dict[str, Any] = {"verdict": type(verdict).__name__, "fits": cell.plan is not None, "requests": cell.requests}
    if isinstance(verdict, Admit | Resize):
        refused = verdict.overridden
        return data | {
            "on_the_edge": is_on_the_edge(cell),
            "warnings": [line for line in verdict.warnings if line != verdict.of_now],
            "reason": None if refused is None else refused.reason.value,
            "message": None if refused is None else refused.message,
        }
    return data | {"on_the_edge": False, "warnings": [], "reason": verdict.reason.value, "message": verdict.message}
