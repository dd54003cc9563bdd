"""Nodes that people published, one by one: the pools that are right of each, or the doubt (data/public_nodes.json, with addresses)."""

import json

import pytest
from tests.folders import DATA

from plimsoll_operator.capacity import CapacityIndex, DerivedPool
from plimsoll_operator.ports import Manifest

NODES = json.loads((DATA / "public_nodes.json").read_text(encoding="utf-8"))["nodes"]
HOST = {"cpu": "96", "memory": "768Gi", "ephemeral-storage": "1Ti", "pods": "110"}
READY = [{"type": "Ready", "status": "True"}]


def said(pool: DerivedPool) -> Manifest:
    """What of a pool is kept beside a node: who it is and what it offers, or why it is left out, with the first particulars."""
    key = pool.key
    row: Manifest = {"resource": key.resource, "product": key.product}
    if key.excluded_for:
        row["doubts"] = [doubt.value for doubt in key.excluded_for]
    else:
        row["gib"] = round(key.usable_memory_bytes / (1 << 30), 2)
        row["free"] = pool.free_gpus
        row["sharing"] = key.sharing if key.sharing_replicas == 1 else f"{key.sharing} {key.sharing_replicas}"
    particulars = next((row.detail for row in pool.problems if row.detail and row.problem.excludes), "")
    return row | ({"says": particulars} if particulars else {})


@pytest.mark.parametrize("node", NODES, ids=[node["why"] for node in NODES])
def test_a_published_node_is_read_as_who_knows_it_would(node: Manifest) -> None:
    index = CapacityIndex()
    status = {"allocatable": HOST | node["allocatable"], "conditions": READY}
    index.node_event("ADDED", {"metadata": {"name": "n", "labels": node["labels"]}, "status": status})
    assert [said(pool) for pool in sorted(index.pools(), key=lambda pool: pool.key.resource)] == node["right"]


def test_every_published_node_has_an_address() -> None:
    assert len(NODES) >= 40
    assert all(node["source"].startswith("https://github.com/") for node in NODES)
    assert len({json.dumps([node["labels"], node["allocatable"]], sort_keys=True) for node in NODES}) == len(NODES)
