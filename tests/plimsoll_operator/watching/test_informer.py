import threading

import pytest
from tests.plimsoll_operator.fake_kube import FakeKube

from plimsoll_operator.controller.cluster.informer import Informer
from plimsoll_operator.errors import ApiFailure, WatchExpired
from plimsoll_operator.ports import NODES, Key, Manifest


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


def informer(kube: FakeKube, seen: Seen) -> Informer:
    return Informer(kube, NODES, trim=keep_labels, on_change=seen, clock=lambda: 0.0)


def test_list_then_watch_tells_every_difference_once() -> None:
    kube, seen = FakeKube(), Seen()
    kube.create(NODES, node("a"))
    cache = informer(kube, seen)
    version = cache.relist()
    kube.create(NODES, node("b"))
    kube.replace(NODES, node("a", "blue"))
    kube.delete(NODES, "", "b")
    cache.follow(version)
    assert seen.changes == [("a", None, "red"), ("b", None, "red"), ("a", "red", "blue"), ("b", "red", None)]
    assert [row["metadata"]["name"] for row in cache.values()] == ["a"]


def test_a_change_of_what_is_not_kept_wakes_nobody_and_is_not_stored() -> None:
    kube, seen = FakeKube(), Seen()
    kube.create(NODES, node("a"))
    cache = informer(kube, seen)
    version = cache.relist()
    kube.replace(NODES, node("a", noise="heartbeat"))
    cache.follow(version)
    assert seen.changes == [("a", None, "red")]
    assert "annotations" not in cache.values()[0]["metadata"]


def test_after_an_expired_watch_a_new_list_tells_what_was_deleted_meanwhile() -> None:
    kube, seen = FakeKube(), Seen()
    kube.create(NODES, node("a"))
    kube.create(NODES, node("b"))
    cache = informer(kube, seen)
    version = cache.relist()
    kube.delete(NODES, "", "a")
    kube.compact()
    with pytest.raises(WatchExpired):
        cache.follow(version)
    cache.relist()
    assert seen.changes[-1] == ("a", "red", None)


def test_lists_come_in_pages() -> None:
    kube, seen = FakeKube(), Seen()
    for index in range(1203):
        kube.create(NODES, node(f"n{index}"))
    cache = informer(kube, seen)
    cache.relist()
    assert len(cache.values()) == 1203


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
