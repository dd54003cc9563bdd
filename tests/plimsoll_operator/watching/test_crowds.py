"""Thousands of objects of one namespace cost the webhook's event loop no look at all of them for each event."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Mapping
from typing import Any

import httpx
import pytest

from plimsoll_operator.namespaced import Namespaced
from plimsoll_operator.watch import Watched

CROWD = 3000


def thing(name: str) -> dict[str, Any]:
    return {"metadata": {"name": name, "namespace": "crowded", "resourceVersion": "1"}}


def name_of(obj: Mapping[str, Any]) -> str:
    return str(obj["metadata"]["name"])


def cache(looks: list[int]) -> Namespaced[str]:
    def settle(rows: Mapping[str, str]) -> tuple[dict[str, str], Iterable[str]]:
        looks.append(len(rows))
        return dict(rows), ()

    return Namespaced("Thing", name_of, settle=settle)


def test_a_crowded_namespace_is_settled_when_it_is_its_turn_and_not_at_each_event() -> None:
    looks: list[int] = []
    found = cache(looks)
    for number in range(CROWD):
        found.put(thing(f"t{number}"))
    assert sum(looks) < 200_000, "a look at all for each event is four and a half million"
    assert list(found.crowds()) == ["crowded"]
    assert len(found.of("crowded")) == CROWD
    for number in range(CROWD):
        found.drop(("crowded", f"t{number}"))
    assert list(found.crowds()) == ["crowded"]
    assert found.of("crowded") == {}
    assert list(found.crowds()) == []


def test_another_namespace_is_served_at_once_beside_it() -> None:
    found = cache([])
    for number in range(CROWD):
        found.put(thing(f"t{number}"))
    found.put({"metadata": {"name": "a", "namespace": "small", "resourceVersion": "2"}})
    assert found.of("small") == {"a": "a"}


@pytest.mark.parametrize("status", [200, 403, 404, 500])
def test_what_counts_again_is_read_and_where_that_is_refused_the_others_are_followed_on(status: int) -> None:
    asked: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/things"):
            return httpx.Response(500)
        asked.append(request.url.path)
        return httpx.Response(status, content=json.dumps(thing("t7")))

    async def go(found: Watched[str]) -> None:
        async with httpx.AsyncClient(transport=httpx.MockTransport(answer), base_url="http://there") as client:
            task = asyncio.create_task(found.run(client))
            while not asked or len(found.of("crowded")) < CROWD:
                await asyncio.sleep(0.01)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    found = Watched(kind="Thing", path="/apis/g/v1/things", parse=name_of, settle=lambda rows: (dict(rows), ["t7"]))
    for number in range(CROWD):
        found.cache.put(thing(f"t{number}"))
    asyncio.run(asyncio.wait_for(go(found), 20))
    assert asked[0] == "/apis/g/v1/namespaces/crowded/things/t7"
    assert len(found.of("crowded")) == CROWD
