"""What a GPUPool can hold of a derived pool: figures are cut to their bounds, and some pools no object can hold.

Asked before a derived pool becomes facts (`offers`) and before one is written (`pools`): so the webhook, which reads the object, and
the controller, which has the pool itself, plan on the same one. The bounds are those of the API type. Knows no nodes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any, Final

from pydantic.alias_generators import to_camel

from plimsoll_operator.api import GPUPoolStatus, NodesByFreeGpus
from plimsoll_operator.api.base import StatusModel, largest
from plimsoll_operator.capacity.derived import DerivedPool, PoolKey
from plimsoll_operator.facts import FreeNodes


def _most(value: type, kind: type[StatusModel], *, gpus: str) -> Mapping[str, int]:
    """By attribute of `value` what the field of the same name in `kind` holds at most; `gpus` is that of its attribute `gpus`."""
    names = {field.name: to_camel(field.name) for field in fields(value)} | {"gpus": gpus}
    return {name: largest(kind)[alias] for name, alias in names.items() if alias in largest(kind) and hasattr(value, name)}


_OF_POOL: Final = _most(DerivedPool, GPUPoolStatus, gpus="totalGpus")
_OF_KEY: Final = _most(PoolKey, GPUPoolStatus, gpus="")
_OF_ROW: Final = _most(FreeNodes, NodesByFreeGpus, gpus="freeGpus")


def within_bounds(pool: DerivedPool) -> DerivedPool:
    """The same pool with each figure at most what its field holds: beyond that nothing real is, and of a capacity less is safe.

    GPUs of strangers are at most those there are: a pod may ask for more than its node has.
    """
    cut = _cut(pool, _OF_POOL)
    gpus = cut.get("gpus", pool.gpus)
    if pool.foreign_gpus > gpus:
        cut["foreign_gpus"] = gpus
    if key := _cut(pool.key, _OF_KEY):
        cut["key"] = replace(pool.key, **key)
    rows = {place: row for place, one in enumerate(pool.free_nodes) if (row := _cut(one, _OF_ROW))}
    if rows:
        cut["free_nodes"] = tuple(replace(row, **rows.get(place, {})) for place, row in enumerate(pool.free_nodes))
    return replace(pool, **cut) if cut else pool


def _cut(value: object, most: Mapping[str, int]) -> dict[str, Any]:
    """Those figures of `value` that are beyond their bounds, cut to them."""
    return {name: bound for name, bound in most.items() if (figure := getattr(value, name)) is not None and figure > bound}
