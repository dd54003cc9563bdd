"""Which GPU nodes carry a label, by value: for the few label keys that somebody asks about, kept up to date node by node.

Owned by the index. Tells how many values a key has, so that pools are split by few, and finds the nodes of a selector without a walk
over all of them. Bounded: the keys asked about longest ago are forgotten. Knows no pools.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Iterable, Mapping
from typing import Final

MAX_KEYS: Final = 128


class Carriers:
    """See the module. Not thread-safe."""

    def __init__(self) -> None:
        self._labels: dict[str, Mapping[str, str]] = {}
        self._carried: Counter[str] = Counter()
        self._by_key: OrderedDict[str, dict[str, set[str]]] = OrderedDict()

    @property
    def nodes(self) -> int:
        """GPU nodes there are."""
        return len(self._labels)

    def changed(self, node: str, labels: Mapping[str, str] | None) -> None:
        """The node has these labels now; None: it is gone, or has no GPUs."""
        old = self._labels.pop(node, {})
        if labels is not None:
            self._labels[node] = labels
        new = labels or {}
        for key in old.keys() ^ new.keys():
            self._carried[key] += 1 if key in new else -1
            if not self._carried[key]:
                del self._carried[key]
        for key, nodes in self._by_key.items():
            if old.get(key) != new.get(key):
                if key in old:
                    nodes[old[key]].discard(node)
                    if not nodes[old[key]]:
                        del nodes[old[key]]
                if key in new:
                    nodes.setdefault(new[key], set()).add(node)

    def values(self, key: str) -> int:
        """How many values of the label there are."""
        return len(self._of(key))

    def nodes_with(self, pairs: Iterable[tuple[str, str]]) -> frozenset[str]:
        """The nodes that have all of these labels; all nodes where none is asked for."""
        found = sorted((self._of(key).get(value, set()) for key, value in pairs), key=len)
        return frozenset(found[0].intersection(*found[1:])) if found else frozenset(self._labels)

    def _of(self, key: str) -> dict[str, set[str]]:
        known = self._by_key.get(key)
        if known is None and key not in self._carried:
            return {}  # made-up keys, of which there is no end, cost nothing
        if known is None:
            known = {}
            for node, labels in self._labels.items():
                if key in labels:
                    known.setdefault(labels[key], set()).add(node)
            self._by_key[key] = known
            while len(self._by_key) > MAX_KEYS:
                self._by_key.popitem(last=False)
        self._by_key.move_to_end(key)
        return known
