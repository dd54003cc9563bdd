"""What an informer keeps of objects and whom it tells; how it lists and watches is `test_list_and_watch`."""

import threading

import pytest
from tests.plimsoll_operator.fake_kube import FakeKube

from plimsoll_operator.controller.cluster.informer import Informer, Trimmed
from plimsoll_operator.controller.loops.quarantine import no_border
from plimsoll_operator.errors import ApiFailure
from plimsoll_operator.ports import LEADER_WORKER_SETS, NODES, Key, Manifest


def node(name: str, color: str = "red", noise: str = "") -> Manifest:
    return {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": {"color": color}, "annotations": {"noise": noise}}}


def keep_labels(manifest: Manifest) -> Manifest:
    return {"metadata": {"name": manifest["metadata"]["name"], "labels": manifest["metadata"]["labels"]}}


class Seen:
    def __init__(self) -> None:
        self.changes: list[tuple[str, str | None, str | None]] = []

    def __call__(self, key: Key, old: Manifest | None, new: Manifest | None) -> None:
        colors = [None if m is None else m["metadata"]["labels"]["color"] for m in (old, new)]
        self.changes.append((key[1], colors[0], colors[1]))


def trimmed(seen: Seen, *nodes: Manifest) -> Trimmed:
    cache = Trimmed("nodes", trim=keep_labels, keep=None, on_change=seen, border=no_border)
    cache.begin()
    cache.page(nodes)
    cache.end()
    return cache


def informer(kube: FakeKube, seen: Seen) -> Informer:
    return Informer(kube, NODES, trim=keep_labels, on_change=seen, clock=lambda: 0.0)


def test_every_difference_is_told_once() -> None:
    seen = Seen()
    cache = trimmed(seen, node("a"))
    cache.put(node("b"))
    cache.put(node("a", "blue"))
    cache.put(node("a", "blue"))
    cache.drop(("", "b"))
    cache.drop(("", "b"))
    assert seen.changes == [("a", None, "red"), ("b", None, "red"), ("a", "red", "blue"), ("b", "red", None)]
    assert [row["metadata"]["name"] for row in cache.values()] == ["a"]


def test_a_change_of_what_is_not_kept_wakes_nobody_and_is_not_stored() -> None:
    seen = Seen()
    cache = trimmed(seen, node("a"))
    cache.put(node("a", noise="heartbeat"))
    assert seen.changes == [("a", None, "red")]
    assert "annotations" not in cache.values()[0]["metadata"]


def test_a_list_tells_what_is_new_at_once_and_what_went_when_it_has_ended() -> None:
    seen = Seen()
    cache = trimmed(seen, node("a"), node("b"))
    cache.begin()
    cache.page([node("c")])
    assert seen.changes[2:] == [("c", None, "red")]
    cache.begin()
    cache.page([node("b", "blue")])
    cache.end()
    assert sorted(seen.changes[3:]) == [("a", "red", None), ("b", "red", "blue"), ("c", "red", None)]


def test_lists_come_in_pages() -> None:
    kube, seen = FakeKube(), Seen()
    for index in range(1203):
        kube.create(NODES, node(f"n{index}"))
    cache = informer(kube, seen)
    cache.relist()
    assert len(cache.values()) == 1203


def test_a_list_that_is_asked_for_and_refused_says_so_but_where_it_says_that_nothing_is_served() -> None:
    kube, told = FakeKube(), []
    kube.fail_next("list", ApiFailure(500, "InternalError", "no"))
    groups = Informer(
        kube, LEADER_WORKER_SETS, trim=keep_labels, on_change=Seen(), clock=lambda: 0.0, on_served=lambda: told.append(groups.served)
    )
    with pytest.raises(ApiFailure):
        groups.relist()
    assert not groups.synced.is_set()
    groups.relist()
    assert (groups.synced.is_set(), groups.served, told) == (True, False, [])
    kube.absent.clear()
    groups.relist()
    assert (groups.served, told) == (True, [True])


def test_the_loop_survives_refusals_and_is_synced_only_after_a_list() -> None:
    kube, seen = FakeKube(), Seen()
    kube.create(NODES, node("a"))
    kube.fail_next("list", ApiFailure(0, "ConnectionError", "refused"), ApiFailure(403, "Forbidden", "no"))
    cache = informer(kube, seen)
    assert not cache.synced.is_set()
    stop = threading.Event()
    thread = threading.Thread(target=cache.run, args=(stop,))
    thread.start()
    assert cache.synced.wait(10)
    stop.set()
    thread.join(10)
    assert not thread.is_alive()
