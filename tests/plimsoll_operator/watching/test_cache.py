"""The list-and-watch cache against an API server played by httpx's mock transport, and the credentials it is given."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Any

import httpx
import pytest
from tests.plimsoll_operator.watching.watched_server import Hang, Server, event, page, run, thing, watch

from plimsoll_operator.api import ModelProfile, Unreadable
from plimsoll_operator.watch import Served, Watched
from plimsoll_operator.webhook.store import CacheStore


def test_a_list_of_several_pages_is_followed_by_a_watch_from_its_version() -> None:
    cache, server = run(page(thing("a", 1, "x"), token="more"), page(thing("b", 2, "y"), version=5))
    assert cache.objects == {("n", "a"): "x", ("n", "b"): "y"}
    assert (cache.synced, cache.age_seconds()) == (True, 0.0)
    assert server.asked[1].url.params["continue"] == "more"
    assert server.asked[2].url.params["resourceVersion"] == "5"
    assert server.asked[2].url.params["allowWatchBookmarks"] == "true"


def test_events_add_change_and_remove_and_bookmarks_move_the_version() -> None:
    lines = (
        event("ADDED", thing("b", 2, "y"))
        + event("MODIFIED", thing("a", 3, "z"))
        + event("DELETED", thing("b", 4))
        + event("BOOKMARK", {"metadata": {"resourceVersion": "9"}})
    )
    cache, server = run(page(thing("a", 1, "x")), watch(lines[:37], lines[37:100], lines[100:]))
    assert cache.objects == {("n", "a"): "z"}
    assert server.asked[-1].url.params["resourceVersion"] == "9"


def test_characters_that_some_readers_take_for_line_breaks_stay_inside_their_line() -> None:
    text = "a\u0085b\u2028c"
    cache, _ = run(page(), watch(event("ADDED", thing("a", 2, text))))
    assert cache.objects == {("n", "a"): text}


def test_what_cannot_be_parsed_leaves_the_cache() -> None:
    cache, _ = run(
        page(thing("a", 1, "x"), thing("b", 1, "bad")),
        watch(event("MODIFIED", thing("a", 2, "bad"))),
        parse=lambda obj: None if obj["value"] == "bad" else "ok",
    )
    assert cache.objects == {}
    assert cache.synced


FAILURES = [
    ("a version that is too old, as an event", [watch(event("ERROR", {"code": 410, "message": "too old"}))]),
    ("a version that is too old, as a status", [httpx.Response(410)]),
    ("another error as an event", [watch(event("ERROR", {"code": 500, "message": "etcd"}))]),
    ("a refusal", [httpx.Response(403)]),
    ("an overloaded server", [httpx.Response(503)]),
    ("a broken connection", [httpx.ReadError("reset")]),
    ("a silent watch", [httpx.ReadTimeout("silence")]),
    ("a line that is no JSON", [watch(b"<html>\n")]),
    ("a line that is no object", [watch(b"[]\n")]),
    ("an event without an object", [watch(b'{"type":"ADDED"}\n')]),
    ("a line without end", [watch(b"x" * ((8 << 20) + 1))]),
]


@pytest.mark.parametrize(("why", "answers"), FAILURES, ids=[why for why, _ in FAILURES])
def test_after_a_failure_it_lists_again_and_the_old_objects_stay_until_then(why: str, answers: list[httpx.Response | Exception]) -> None:
    cache, server = run(page(thing("a", 1, "x")), *answers, page(thing("a", 8, "new"), version=8))
    assert cache.objects == {("n", "a"): "new"}, why
    assert [request.url.params.get("watch") for request in server.asked] == [None, "1", None, "1"]


def test_it_is_not_synced_until_a_list_succeeds(caplog: pytest.LogCaptureFixture) -> None:
    seen: list[bool] = []

    async def go() -> None:
        async def at_once(_: float) -> None:
            await asyncio.sleep(0)

        cache: Watched[str] = Watched(kind="Thing", path="/things", parse=lambda obj: "x", sleep=at_once)
        answers = iter([httpx.Response(401), httpx.ConnectError("refused"), page(token="x"), httpx.Response(410), page()])
        done = asyncio.Event()

        async def server(request: httpx.Request) -> httpx.Response:
            seen.append(cache.synced)
            answer = next(answers, None)
            if answer is None:
                done.set()
                return httpx.Response(200, stream=Hang())
            if isinstance(answer, Exception):
                raise answer
            return answer

        async with httpx.AsyncClient(transport=httpx.MockTransport(server), base_url="https://api") as client:
            assert cache.age_seconds() == float("inf")
            task = asyncio.create_task(cache.run(client))
            await asyncio.wait_for(done.wait(), 10)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    with caplog.at_level(logging.WARNING):
        asyncio.run(go())
    assert seen == [False] * 5 + [True]
    assert "watch of Thing" in caplog.text


def test_an_object_that_the_parser_stumbles_over_is_left_out_by_name_and_the_others_are_served(caplog: pytest.LogCaptureFixture) -> None:
    bugs: list[str] = []

    def parse(obj: Mapping[str, Any]) -> str:
        return str(1 // (obj["value"] != "poison")) + str(obj["value"])

    poison = [thing("bad", 3, "poison"), thing("bad", 4, "poison"), thing("a", 5, "poison")]
    events = [event("MODIFIED", row) for row in poison] + [event("ADDED", thing("c", 6, "z"))]
    items = (thing("a", 1, "x"), thing("bad", 1, "poison"), thing("b", 1, "y"))
    cache, server = run(page(*items), watch(*events), parse=parse, bug=lambda: bugs.append("bug"))
    assert cache.objects == {("n", "b"): "1y", ("n", "c"): "1z"}
    assert (len(bugs), caplog.text.count("Thing n/bad is left out: a bug"), caplog.text.count("Traceback")) == (4, 1, 2)
    assert [request.url.params.get("watch") for request in server.asked] == [None, "1", "1"]


def test_watches_that_end_at_once_are_asked_for_ever_more_rarely() -> None:
    pauses: list[float] = []
    run(page(), *[watch() for _ in range(8)], pauses=pauses)
    assert len(pauses) == 8
    assert [0.8 * 2 ** min(n, 4) <= pause or pause >= 10 for n, pause in enumerate(pauses)] == [True] * 8
    assert sum(pauses) > 45


def test_a_version_that_is_always_too_old_is_listed_ever_more_rarely() -> None:
    pauses: list[float] = []
    run(*[answer for _ in range(6) for answer in (page(), httpx.Response(410))], page(), pauses=pauses)
    assert len(pauses) == 6
    assert pauses[-1] >= 10 > 2 * pauses[0]


@pytest.mark.parametrize(
    ("why", "answers"),
    [
        ("a list that is throttled", [httpx.Response(429, headers={"Retry-After": "25"})]),
        ("a watch that is refused for a while", [page(), httpx.Response(503, headers={"Retry-After": "25"})]),
        ("a status inside the stream", [page(), watch(event("ERROR", {"code": 429, "details": {"retryAfterSeconds": 25}}))]),
    ],
)
def test_what_the_server_asks_to_wait_is_waited(why: str, answers: list[httpx.Response]) -> None:
    pauses: list[float] = []
    run(*answers, page(), pauses=pauses)
    assert pauses == [25.0], why


def test_a_page_that_is_too_large_is_asked_for_again_with_fewer_objects() -> None:
    large = page(thing("a", 1, "x" * (5 << 20)), thing("b", 1, "y"))
    cache, server = run(large, page(thing("a", 1, "x"), token="next"), page(thing("b", 1, "y")))
    assert [request.url.params.get("limit") for request in server.asked[:3]] == ["100", "25", "25"]
    assert [request.url.params.get("continue") for request in server.asked[:3]] == [None, None, "next"]
    assert set(cache.objects) == {("n", "a"), ("n", "b")}


def test_one_object_may_be_as_large_as_the_api_server_takes_it() -> None:
    huge = [page(thing("a", 1, "x" * (5 << 20))) for _ in range(5)]
    cache, server = run(*huge)
    assert [request.url.params.get("limit") for request in server.asked[:5]] == ["100", "25", "6", "1", None]
    assert set(cache.objects) == {("n", "a")}


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
    held: list[Mapping[str, str]] = []
    caches: list[Watched[str]] = []

    def parse(obj: Mapping[str, Any]) -> str:
        held.extend(cache.of("n") for cache in caches)
        return str(obj["value"])

    async def go() -> None:
        lines = [event("ADDED", thing("c", 2, "z")), event("DELETED", thing("a", 3)), event("ADDED", thing("d", 4, "z"))]
        server = Server(page(thing("a", 1, "x"), thing("b", 1, "y")), watch(*lines))
        caches.append(Watched(kind="Thing", path="/things", parse=parse))
        async with httpx.AsyncClient(transport=httpx.MockTransport(server), base_url="https://api") as client:
            task = asyncio.create_task(caches[0].run(client))
            await asyncio.wait_for(server.done.wait(), 10)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    asyncio.run(go())
    assert [sorted(rows) for rows in held] == [[], [], ["a", "b"], ["b", "c"]]
    assert sorted(caches[0].of("n")) == ["b", "c", "d"]


def test_old_news_fails_readiness_and_says_of_which_kind() -> None:
    store = CacheStore()
    now = 1000.0
    for cache in store.caches:
        cache.synced, cache.heard_at, cache.clock = True, now, lambda: now
    store.leader_worker_sets.synced, store.leader_worker_sets.heard_at, store.leader_worker_sets._clock = True, now, lambda: now
    assert (store.ready(), store.problem()) == (True, "")
    store.caches[2].heard_at = now - 299
    assert store.problem() == ""
    store.caches[2].heard_at = now - 86_400
    assert store.problem() == "nothing was heard for too long of GPUPool (86400 s)"
    store.leader_worker_sets.heard_at = now - 400
    assert "discovery (400 s)" in store.problem()


def test_the_store_is_ready_when_every_kind_is_listed_and_says_what_is_missing() -> None:
    store = CacheStore()
    assert len(store.waiting()) == 8
    for cache in store.caches[:-1]:
        cache.synced = True
    assert (store.ready(), store.waiting()) == (False, ["Namespace", "discovery"])
    store.caches[-1].synced = True
    assert (store.ready(), store.waiting()) == (False, ["discovery"])
    store.leader_worker_sets.synced = True
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
    assert store.uses("n")["d"].replicas == 2
    assert "ModelProfile n/bad cannot be read: spec.config: is required" in caplog.text


def stored_profile(name: str, second: int, size: int = 60_000, **metadata: Any) -> dict[str, Any]:
    created = f"2026-01-01T00:00:{second:02d}Z"
    meta = {"namespace": "n", "name": name, "creationTimestamp": created, "resourceVersion": "1", **metadata}
    return {"metadata": meta, "spec": {"model": f"acme/{name}", "config": "x" * size}}


def followed(*answers: httpx.Response, objects: Mapping[str, dict[str, Any]]) -> tuple[CacheStore, list[str]]:
    """The webhook's profiles after a list and one watch; single objects are read from `objects`."""
    store, read = CacheStore(), []
    profiles = store.caches[0]

    async def at_once(_: float) -> None:
        await asyncio.sleep(0)

    profiles.sleep = at_once
    server = Server(*answers)

    async def answer(request: httpx.Request) -> httpx.Response:
        name = request.url.path.rpartition("/")[2]
        if name != "modelprofiles":
            read.append(request.url.path)
            return httpx.Response(200, json=objects[name]) if name in objects else httpx.Response(404)
        return await server(request)

    async def go() -> None:
        async with httpx.AsyncClient(transport=httpx.MockTransport(answer), base_url="https://api") as client:
            task = asyncio.create_task(profiles.run(client))
            await asyncio.wait_for(server.done.wait(), 20)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    asyncio.run(go())
    return store, read


def test_profiles_over_their_namespaces_share_are_known_by_name_and_their_texts_are_not_kept() -> None:
    rows = [stored_profile(f"p{n:02d}", n) for n in range(50)]
    store, read = followed(page(*rows[::-1]), objects={})
    kept = [row for row in store.caches[0].of("n").values() if isinstance(row, ModelProfile)]
    assert (len(kept), {row.metadata.name for row in kept}) == (34, {f"p{n:02d}" for n in range(34)})
    late = store.model_profile("n", "p49")
    assert isinstance(late, Unreadable)
    assert "over the namespace's share" in late.problem
    assert read == []


def test_a_profile_that_counts_again_is_read_again() -> None:
    rows = {f"p{n:02d}": stored_profile(f"p{n:02d}", n) for n in range(36)}
    gone = [event("DELETED", rows["p03"]), event("DELETED", rows["p35"])]
    store, read = followed(page(*rows.values()), watch(*gone), objects=rows)
    assert read == ["/apis/inference.plimsoll.dev/v1alpha1/namespaces/n/modelprofiles/p34"]
    assert isinstance(store.model_profile("n", "p34"), ModelProfile)
    assert (store.model_profile("n", "p03"), store.model_profile("n", "p35")) == (None, None)


def test_a_profile_keeps_no_more_of_its_metadata_than_is_read() -> None:
    noise = {f"k{n}": "x" * 60 for n in range(2000)}
    labels = {"app.kubernetes.io/managed-by": "plimsoll"} | noise
    notes = {"inference.plimsoll.dev/notes": "of the reading"} | noise
    store, _ = followed(page(stored_profile("p", 0, 2, labels=labels, annotations=notes)), objects={})
    row = store.model_profile("n", "p")
    assert isinstance(row, ModelProfile)
    assert row.metadata.labels == {"app.kubernetes.io/managed-by": "plimsoll"}
    assert row.metadata.annotations == {"inference.plimsoll.dev/notes": "of the reading"}
