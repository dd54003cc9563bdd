"""Thousands of objects of one namespace cost the webhook's event loop no look at all of them for each event."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Mapping
from typing import Any

import httpx
import pytest

from plimsoll_operator.watch import Watched

CROWD = 3000


def thing(name: str) -> dict[str, Any]:
    return {"metadata": {"name": name, "namespace": "crowded", "resourceVersion": "1"}}


def cache(looks: list[int], again: Iterable[str] = ()) -> Watched[str]:
    def settle(rows: Mapping[str, str]) -> tuple[dict[str, str], Iterable[str]]:
        looks.append(len(rows))
        return dict(rows), again

    return Watched(kind="Thing", path="/apis/g/v1/things", parse=lambda obj: str(obj["metadata"]["name"]), settle=settle)


async def settled(found: Watched[str], answers: httpx.MockTransport) -> None:
    """Until crowds have been settled once."""
    async with httpx.AsyncClient(transport=answers, base_url="http://there") as client:
        task = asyncio.create_task(found._settle_crowds(client))
        while found._crowded:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.05)
        task.cancel()


def test_a_crowded_namespace_is_settled_a_few_times_a_second_and_not_at_each_event() -> None:
    looks: list[int] = []
    found = cache(looks)
    for number in range(CROWD):
        found._event({"type": "ADDED", "object": thing(f"t{number}")})
    assert sum(looks) < 200_000, "a look at all for each event is four and a half million"
    asyncio.run(settled(found, httpx.MockTransport(lambda _: httpx.Response(404))))
    assert len(found.of("crowded")) == CROWD
    for number in range(CROWD):
        found._event({"type": "DELETED", "object": thing(f"t{number}")})
    asyncio.run(settled(found, httpx.MockTransport(lambda _: httpx.Response(404))))
    assert found.of("crowded") == {}


def test_another_namespace_is_served_at_once_beside_it() -> None:
    found = cache([])
    for number in range(CROWD):
        found._event({"type": "ADDED", "object": thing(f"t{number}")})
    found._event({"type": "ADDED", "object": {"metadata": {"name": "a", "namespace": "small", "resourceVersion": "2"}}})
    assert found.get("small", "a") == "a"


@pytest.mark.parametrize("status", [200, 403, 404, 500])
def test_what_counts_again_is_read_and_where_that_is_refused_the_others_are_followed_on(status: int) -> None:
    asked: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.path)
        return httpx.Response(status, content=json.dumps(thing("t7")))

    found = cache([], again=["t7"])
    for number in range(CROWD):
        found._event({"type": "ADDED", "object": thing(f"t{number}")})
    asyncio.run(settled(found, httpx.MockTransport(answer)))
    assert "/apis/g/v1/namespaces/crowded/things/t7" in asked
    assert len(found.of("crowded")) == CROWD
