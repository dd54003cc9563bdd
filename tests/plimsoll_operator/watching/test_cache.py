"""The webhook's caches: what they keep for readers, whose profiles count, what is served. How they list: `test_list_and_watch`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import httpx
import pytest
from tests.plimsoll_operator.watching.watched_server import event, thing

from plimsoll_operator.api import ModelProfile, Unreadable
from plimsoll_operator.namespaced import Namespaced
from plimsoll_operator.ports import Manifest, Page
from plimsoll_operator.watch import Served, Watched
from plimsoll_operator.webhook.store import CacheStore


class Hang(httpx.AsyncByteStream):
    """A watch on which nothing happens any more, after these events."""

    def __init__(self, *events: bytes) -> None:
        self._events = events

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for line in self._events:
            yield line
        await asyncio.sleep(3600)


def page(*items: dict[str, Any]) -> httpx.Response:
    return httpx.Response(200, json={"metadata": {"resourceVersion": "1"}, "items": list(items)})


def listed(parse: Callable[[Manifest], str | None], *items: Manifest) -> Namespaced[str]:
    cache = Namespaced("Thing", parse)
    cache.begin()
    cache.page(items)
    cache.end()
    return cache


def test_what_is_not_to_be_kept_leaves_the_cache() -> None:
    cache = listed(lambda obj: None if obj["value"] == "bad" else "ok", thing("a", 1, "x"), thing("b", 1, "bad"))
    assert cache.objects == {("n", "a"): "ok"}
    cache.put(thing("a", 2, "bad"))
    assert cache.objects == {}


def test_what_the_parser_stumbles_over_is_told_with_its_traceback_once(caplog: pytest.LogCaptureFixture) -> None:
    def parse(obj: Manifest) -> str:
        return str(1 // (obj["value"] != "poison"))

    cache = listed(parse, thing("bad", 1, "poison"))
    for version in range(2, 5):
        cache.put(thing("bad", version, "poison"))
    cache.put(thing("other", 5, "poison"))
    assert (caplog.text.count("Thing n/bad is not taken"), caplog.text.count("Traceback")) == (1, 2)
    assert cache.objects == {}


def test_a_reader_sees_a_list_when_it_has_ended_and_all_of_it() -> None:
    cache = listed(lambda obj: str(obj["value"]), thing("a", 1, "x"))
    cache.begin()
    cache.page([thing("b", 2, "y")])
    assert cache.objects == {("n", "a"): "x"}
    cache.begin()
    cache.page([thing("c", 3, "z")])
    cache.page([thing("d", 3, "z")])
    cache.end()
    assert set(cache.of("n")) == {"c", "d"}


def test_caches_that_share_a_page_hold_one_at_a_time() -> None:
    held: list[int] = []

    async def go() -> None:
        lock = asyncio.Lock()
        open_pages = 0

        async def server(request: httpx.Request) -> httpx.Response:
            nonlocal open_pages
            if request.url.params.get("watch"):
                return httpx.Response(200, stream=Hang())
            open_pages += 1
            held.append(open_pages)
            await asyncio.sleep(0)
            open_pages -= 1
            return page(thing("a", 1, "x"))

        caches = [Watched(kind="Thing", path="/things", parse=lambda obj: str(obj["value"]), page=lock) for _ in range(5)]
        async with httpx.AsyncClient(transport=httpx.MockTransport(server), base_url="https://api") as client:
            tasks = [asyncio.create_task(cache.run(client)) for cache in caches]
            while not all(cache.synced for cache in caches):
                await asyncio.sleep(0)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    asyncio.run(asyncio.wait_for(go(), 10))
    assert held == [1] * 5


def test_objects_that_are_read_elsewhere_stay_as_they_were_while_events_go_on() -> None:
    cache = listed(lambda obj: str(obj["value"]), thing("a", 1, "x"), thing("b", 1, "y"))
    held = [cache.of("n")]
    changes: list[Callable[[], object]] = [
        lambda: cache.put(thing("c", 2, "z")),
        lambda: cache.drop(("n", "a")),
        lambda: cache.put(thing("d", 4, "z")),
    ]
    for change in changes:
        change()
        held.append(cache.of("n"))
    assert [sorted(rows) for rows in held] == [["a", "b"], ["a", "b", "c"], ["b", "c"], ["b", "c", "d"]]


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def heard(*caches: Watched[Any]) -> None:
    """Empty lists."""
    for cache in caches:
        cache.reflector.restart()
        cache.reflector.page(Page((), "1", ""))


def asked(store: CacheStore) -> None:
    """Whether LeaderWorkerSet is served."""

    async def go() -> None:
        async with httpx.AsyncClient(transport=httpx.MockTransport(lambda _: httpx.Response(404)), base_url="https://api") as client:
            await store.leader_worker_sets.ask(client)

    asyncio.run(go())


def test_old_news_fails_readiness_and_says_of_which_kind() -> None:
    clock = Clock()
    store = CacheStore(clock=clock)
    asked(store)
    heard(*store.caches)
    assert (store.ready(), store.problem()) == (True, "")
    clock.now += 299
    assert store.problem() == ""
    clock.now += 86_400 - 299
    heard(*store.caches[:2], *store.caches[3:])
    asked(store)
    assert store.problem() == "nothing was heard for too long of GPUPool (86400 s)"
    clock.now += 400
    assert "discovery (400 s)" in store.problem()


def test_the_store_is_ready_when_every_kind_is_listed_and_says_what_is_missing() -> None:
    store = CacheStore()
    assert len(store.waiting()) == 8
    heard(*store.caches[:-1])
    assert (store.ready(), store.waiting()) == (False, ["Namespace", "discovery"])
    heard(store.caches[-1])
    assert (store.ready(), store.waiting()) == (False, ["discovery"])
    asked(store)
    assert store.ready()


SERVED = {"resources": [{"name": "leaderworkersets"}, {"name": "leaderworkersets/scale"}]}


@pytest.mark.parametrize(
    ("why", "answers", "served", "synced"),
    [
        ("a group that lists the resource serves it", [httpx.Response(200, json=SERVED)], True, True),
        ("an unknown group serves nothing", [httpx.Response(404)], False, True),
        ("a group without the resource does not serve it", [httpx.Response(200, json={"resources": [{"name": "others"}]})], False, True),
        ("a body that is no list of resources says no", [httpx.Response(200, json={"resources": "?"})], False, True),
        ("an error is no answer: the last one stands", [httpx.Response(200, json=SERVED), httpx.Response(503)], True, True),
        ("before the first answer nothing is known and nothing served", [httpx.Response(503)], False, False),
        ("what is uninstalled is gone", [httpx.Response(200, json=SERVED), httpx.Response(404)], False, True),
    ],
)
def test_whether_a_resource_is_served(why: str, answers: list[httpx.Response], served: bool, synced: bool) -> None:
    asked: list[str] = []

    async def go() -> Served:
        watcher = Served("leaderworkerset.x-k8s.io/v1", "leaderworkersets", every_seconds=0.001)
        done = asyncio.Event()

        async def server(request: httpx.Request) -> httpx.Response:
            asked.append(request.url.path)
            if len(asked) > len(answers):
                done.set()
                await asyncio.sleep(60)
            return answers[len(asked) - 1]

        async with httpx.AsyncClient(transport=httpx.MockTransport(server), base_url="https://api") as client:
            task = asyncio.create_task(watcher.run(client))
            await asyncio.wait_for(done.wait(), 10)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        return watcher

    watcher = asyncio.run(go())
    assert (watcher.served, watcher.synced) == (served, synced), why
    assert set(asked) == {"/apis/leaderworkerset.x-k8s.io/v1"}


def test_objects_of_the_kinds_are_parsed_on_arrival_and_broken_ones_are_named(caplog: pytest.LogCaptureFixture) -> None:
    items: dict[str, list[dict[str, Any]]] = {
        "modelprofiles": [
            {"metadata": {"namespace": "n", "name": "good"}, "spec": {"model": "a/b", "config": "{}"}},
            {"metadata": {"namespace": "m", "name": "other"}, "spec": {"model": "a/b", "config": "{}"}},
            {"metadata": {"namespace": "n", "name": "bad"}, "spec": {"model": "a/b"}},
        ],
        "namespaces": [{"metadata": {"name": "n", "labels": {"a": "b"}}}, {"metadata": {"name": "bare"}}],
        "inferencedeployments": [{"metadata": {"namespace": "n", "name": "d"}, "spec": {"replicas": 2}}],
    }
    store = CacheStore()

    async def server(request: httpx.Request) -> httpx.Response:
        if request.url.params.get("watch"):
            return httpx.Response(200, stream=Hang())
        return page(*items.get(request.url.path.rsplit("/", 1)[1], []))

    async def go() -> None:
        async with httpx.AsyncClient(transport=httpx.MockTransport(server), base_url="https://api") as client:
            task = asyncio.create_task(store.run(client))
            while not store.ready():
                await asyncio.sleep(0.001)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    asyncio.run(asyncio.wait_for(go(), 10))
    good, bad = store.model_profiles("n", "a/b")
    assert (getattr(good, "kind", ""), str(bad)) == ("ModelProfile", "ModelProfile n/bad")
    assert store.model_profile("m", "other") is not None
    assert (store.namespace_labels("n"), store.namespace_labels("bare"), store.namespace_labels("none")) == ({"a": "b"}, {}, None)
    assert (use := store.use("n", "d")) is not None
    assert use.replicas == 2
    assert "ModelProfile n/bad cannot be read: spec.config: is required" in caplog.text


def stored_profile(name: str, second: int, size: int = 60_000, **metadata: Any) -> dict[str, Any]:
    created = f"2026-01-01T00:00:{second:02d}Z"
    meta = {"namespace": "n", "name": name, "creationTimestamp": created, "resourceVersion": "1", **metadata}
    return {"metadata": meta, "spec": {"model": f"acme/{name}", "config": "x" * size}}


def followed(
    *items: dict[str, Any], events: tuple[bytes, ...] = (), objects: Mapping[str, Any], reads: int = 0
) -> tuple[CacheStore, list[str]]:
    """The webhook's profiles after a list and one watch; single objects are read from `objects`, where a status is answered once."""
    store, read = CacheStore(), []
    profiles, answers = store.caches[0], dict(objects)

    async def answer(request: httpx.Request) -> httpx.Response:
        name = request.url.path.rpartition("/")[2]
        if name == "modelprofiles":
            return httpx.Response(200, stream=Hang(*events)) if "watch" in request.url.params else page(*items)
        read.append(request.url.path)
        found = answers.get(name, 404)
        if isinstance(found, int):
            answers[name] = objects.get(f"{name} then", found)
            return httpx.Response(found)
        return httpx.Response(200, json=found)

    async def go() -> None:
        async with httpx.AsyncClient(transport=httpx.MockTransport(answer), base_url="https://api") as client:
            task = asyncio.create_task(profiles.run(client))
            while len(read) < reads or not profiles.synced:
                await asyncio.sleep(0.01)
            await asyncio.sleep(0.4)  # for what must not be read
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    asyncio.run(asyncio.wait_for(go(), 20))
    return store, read


def test_profiles_over_their_namespaces_share_are_known_by_name_and_their_texts_are_not_kept() -> None:
    rows = [stored_profile(f"p{n:02d}", n) for n in range(50)]
    store, read = followed(*rows[::-1], objects={})
    kept = [row for row in store.caches[0].of("n").values() if isinstance(row, ModelProfile)]
    assert (len(kept), {row.metadata.name for row in kept}) == (34, {f"p{n:02d}" for n in range(34)})
    late = store.model_profile("n", "p49")
    assert isinstance(late, Unreadable)
    assert "over the namespace's share" in late.problem
    assert read == []


def test_a_profile_that_counts_again_is_read_again() -> None:
    rows = {f"p{n:02d}": stored_profile(f"p{n:02d}", n) for n in range(36)}
    gone = event("DELETED", rows["p03"]), event("DELETED", rows["p35"])
    store, read = followed(*rows.values(), events=gone, objects=rows, reads=1)
    assert read == ["/apis/inference.plimsoll.dev/v1alpha1/namespaces/n/modelprofiles/p34"]
    assert isinstance(store.model_profile("n", "p34"), ModelProfile)
    assert (store.model_profile("n", "p03"), store.model_profile("n", "p35")) == (None, None)


def test_a_profile_that_counts_again_and_cannot_be_read_yet_is_asked_for_until_it_is() -> None:
    rows = {f"p{n:02d}": stored_profile(f"p{n:02d}", n) for n in range(36)}
    answers = {"p34": 503, "p34 then": rows["p34"]}
    store, read = followed(*rows.values(), events=(event("DELETED", rows["p03"]),), objects=answers, reads=2)
    assert len(read) == 2
    assert isinstance(store.model_profile("n", "p34"), ModelProfile)


def test_a_profile_that_counts_again_and_is_gone_is_asked_for_once() -> None:
    rows = {f"p{n:02d}": stored_profile(f"p{n:02d}", n) for n in range(36)}
    store, read = followed(*rows.values(), events=(event("DELETED", rows["p03"]),), objects={}, reads=1)
    assert len(read) == 1
    assert isinstance(store.model_profile("n", "p34"), Unreadable)


def test_what_was_read_again_gives_way_to_newer_news() -> None:
    cache = Namespaced("Thing", lambda obj: (str(obj["value"]),), settle=lambda rows: (dict(rows), [name for name in rows if name == "a"]))
    cache.put(thing("a", 1, "short"))
    awaited = cache.awaited()
    cache.drop(("n", "a"))
    cache.read_again(("n", "a"), awaited[("n", "a")], thing("a", 1, "whole"))
    assert cache.objects == {}, "it was deleted while it was read"
    cache.put(thing("a", 2, "short"))
    cache.read_again(("n", "a"), awaited[("n", "a")], thing("a", 1, "whole"))
    assert cache.objects == {("n", "a"): ("short",)}
    cache.read_again(("n", "a"), cache.awaited()[("n", "a")], thing("a", 2, "whole"))
    assert cache.objects == {("n", "a"): ("whole",)}


def test_a_profile_keeps_no_more_of_its_metadata_than_is_read() -> None:
    noise = {f"k{n}": "x" * 60 for n in range(2000)}
    labels = {"app.kubernetes.io/managed-by": "plimsoll"} | noise
    notes = {"inference.plimsoll.dev/notes": "of the reading"} | noise
    store, _ = followed(stored_profile("p", 0, 2, labels=labels, annotations=notes), objects={})
    row = store.model_profile("n", "p")
    assert isinstance(row, ModelProfile)
    assert row.metadata.labels == {"app.kubernetes.io/managed-by": "plimsoll"}
    assert row.metadata.annotations == {"inference.plimsoll.dev/notes": "of the reading"}
