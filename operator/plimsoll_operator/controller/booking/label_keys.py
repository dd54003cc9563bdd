"""Which node labels the pools are split by: few, in use, carried by nodes, with few values, and shared fairly between namespaces.

Asked by the ledger when deployments and nodes change. A label that has no place here is no less honoured: the controller looks at the
nodes themselves. Only the webhook, which sees pools alone, leaves such a deployment to the controller. A key that is in is not put out
for another's sake, and stays for a while when nobody uses it, so that pools are not renamed back and forth. Time is handed in.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Final

from plimsoll_operator.capacity import MAX_LABEL_KEYS
from plimsoll_operator.names import PRODUCT_LABEL
from plimsoll_operator.ports import Key

KEYS_A_NAMESPACE: Final = 4
RELEASE_SECONDS: Final = 600.0
_FEW_VALUES: Final = 8
_MOST_VALUES: Final = 32
# Of what one namespace asks for no more is looked at: each look may walk all nodes.
_LOOKED_AT: Final = 16


class LabelKeys:
    """See the module. Not thread-safe."""

    def __init__(self) -> None:
        self._selected_by: dict[Key, frozenset[str]] = {}
        self._held_by: dict[str, str] = {}
        self._unused_since: dict[str, float] = {}

    def use(self, key: Key, label_keys: Iterable[str]) -> bool:
        """This deployment selects by these; none when it is gone. Returns whether that is news."""
        wanted = frozenset(label_keys) - {PRODUCT_LABEL}
        if self._selected_by.get(key, frozenset()) == wanted:
            return False
        if wanted:
            self._selected_by[key] = wanted
        else:
            del self._selected_by[key]
        return True

    def chosen(self, values: Callable[[str], int], nodes: int, now: float) -> frozenset[str]:
        """The keys to split pools by. `values` says how many values of a key the nodes carry, `nodes` how many GPU nodes there are."""
        most = max(_FEW_VALUES, min(_MOST_VALUES, nodes // 4))
        wanted = self._wanted()
        self._release(wanted, values, most, now)
        held = Counter(self._held_by.values())
        candidates = {namespace: sorted(keys - self._held_by.keys())[:_LOOKED_AT] for namespace, keys in wanted.items()}
        for turn in range(_LOOKED_AT):
            for namespace in sorted(candidates):
                if turn >= len(candidates[namespace]):
                    continue
                label = candidates[namespace][turn]
                if label in self._held_by or held[namespace] >= KEYS_A_NAMESPACE or not 0 < values(label) <= most:
                    continue
                if len(self._held_by) >= MAX_LABEL_KEYS - 1 and not self._make_room():
                    return self._all()
                self._held_by[label] = namespace
                held[namespace] += 1
        return self._all()

    def _all(self) -> frozenset[str]:
        return frozenset({PRODUCT_LABEL, *self._held_by})

    def _wanted(self) -> dict[str, set[str]]:
        wanted: dict[str, set[str]] = {}
        for (namespace, _), keys in self._selected_by.items():
            wanted.setdefault(namespace, set()).update(keys)
        return wanted

    def _release(self, wanted: dict[str, set[str]], values: Callable[[str], int], most: int, now: float) -> None:
        """Let go of keys that nobody has used for a while, that no node carries any more, or that have become far too many pools."""
        for label, namespace in tuple(self._held_by.items()):
            users = sorted(user for user, keys in wanted.items() if label in keys)
            if users:
                self._unused_since.pop(label, None)
                self._held_by[label] = namespace if namespace in users else users[0]
            since = now if users else self._unused_since.setdefault(label, now)
            if now - since >= RELEASE_SECONDS or not 0 < values(label) <= 2 * most:
                del self._held_by[label]
                self._unused_since.pop(label, None)

    def _make_room(self) -> bool:
        """Let go of the key that nobody has used for longest."""
        if not self._unused_since:
            return False
        longest = min(self._unused_since, key=lambda label: (self._unused_since[label], label))
        del self._held_by[longest], self._unused_since[longest]
        return True
