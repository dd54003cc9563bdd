"""What is remembered is answered at once, whoever waits; all else takes its turn as before."""

from __future__ import annotations

import asyncio
import itertools
import logging

import pytest
from tests.plimsoll_operator.webhook.webhook_server import Server, admits, body, slow_ones
from tests.plimsoll_operator.webhook_world import PLAN

from plimsoll_operator.facts import Facts
from plimsoll_operator.verdict import Admit, Verdict
from plimsoll_operator.webhook.lately import LARGEST_BYTES, Lately, asked_by
from plimsoll_operator.webhook.workers import Workers


def remembers(facts: Facts) -> Verdict | None:
    return Admit(plan=PLAN)


def forgot(facts: Facts) -> Verdict | None:
    return None


def stumbles(facts: Facts) -> Verdict | None:
    raise KeyError("a bug")


def asked_in_a_full_house(server: Server, workers: Workers, sent: bytes) -> int:
    async def go() -> int:
        async with slow_ones(workers, "team"):
            status, answer = await server.ask(sent, query="timeout=0.5s")
            return int(answer["response"].get("status", {}).get("code", 200)) if status == 200 else status

    return asyncio.run(go())


def test_a_verdict_that_is_known_waits_for_no_turn_when_its_spec_comes_again() -> None:
    workers = Workers(threads=1, of_one_namespace=1)
    server = Server(admits, workers=workers, recall=remembers)
    assert asked_in_a_full_house(server, workers, body()) == 504
    asyncio.run(server.ask(body()))
    assert asked_in_a_full_house(server, workers, body()) == 200
    assert asked_in_a_full_house(server, workers, body(namespace="other")) == 504


def test_one_that_is_not_known_any_more_waits_for_its_turn() -> None:
    workers = Workers(threads=1, of_one_namespace=1)
    server = Server(admits, workers=workers, recall=forgot)
    asyncio.run(server.ask(body()))
    assert asked_in_a_full_house(server, workers, body()) == 504


def test_what_takes_long_on_the_event_loop_has_its_turn_when_it_comes_again() -> None:
    workers = Workers(threads=1, of_one_namespace=1)
    seconds = itertools.count(0.0, 0.01)
    server = Server(admits, workers=workers, recall=remembers, clock=lambda: next(seconds))
    asyncio.run(server.ask(body()))
    assert asked_in_a_full_house(server, workers, body()) == 200
    assert asked_in_a_full_house(server, workers, body()) == 504


def test_so_many_specs_are_known_and_the_oldest_is_forgotten_first() -> None:
    lately = Lately(most=2)
    for key in (b"a", b"b"):
        lately.add(key)
    assert b"a" in lately
    lately.add(b"c")
    assert [key in lately for key in (b"a", b"b", b"c")] == [True, False, True]


@pytest.mark.parametrize("sent", [b"no review", body() + b" " * LARGEST_BYTES], ids=["what cannot be read", "what is large"])
def test_what_is_no_small_review_has_no_key(sent: bytes) -> None:
    assert asked_by(sent) is None


def test_a_large_body_is_not_even_read_on_the_event_loop() -> None:
    workers = Workers(threads=1, of_one_namespace=1)
    server = Server(admits, workers=workers, recall=remembers)
    large = body() + b" " * LARGEST_BYTES
    asyncio.run(server.ask(large))
    assert asked_in_a_full_house(server, workers, large) == 504


def test_a_bug_there_is_that_reviews_and_no_others(caplog: pytest.LogCaptureFixture) -> None:
    server = Server(admits, recall=stumbles)
    asyncio.run(server.ask(body()))
    with caplog.at_level(logging.CRITICAL):
        status, answer = asyncio.run(server.ask(body()))
    assert (status, "error of the webhook itself" in answer["error"]) == (500, True)


def test_who_is_at_hand_is_counted_while_judged_and_while_waiting() -> None:
    workers = Workers(threads=1, of_one_namespace=1)

    async def go() -> list[int]:
        seen = [workers.at_hand()]
        async with slow_ones(workers, "team", "team", "other"):
            seen.append(workers.at_hand())
        seen.append(workers.at_hand())
        return seen

    assert asyncio.run(go()) == [0, 3, 0]
