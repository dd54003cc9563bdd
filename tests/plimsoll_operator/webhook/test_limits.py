"""What bounds one review and all of them: bodies, turns and time. Driven by hand, never by a clock."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from tests.plimsoll_operator.webhook.webhook_server import Sender, Server, Slow, admits, body, settle, slow_ones
from tests.plimsoll_operator.webhook_world import PLAN, manifest, review

from plimsoll_operator.facts import Facts
from plimsoll_operator.verdict import Admit, Reason, Undecided, Verdict
from plimsoll_operator.webhook.bodies import MAX_BODY_BYTES, Bodies, BodyRefused, Gone
from plimsoll_operator.webhook.lines import Busy, LineBounds
from plimsoll_operator.webhook.review import head_of
from plimsoll_operator.webhook.workers import Workers

MIB = 1 << 20


async def whole(bodies: Bodies, sender: Sender) -> bytes:
    async with bodies.read(0, sender) as body:
        return body


def test_a_body_that_does_not_come_in_time_is_a_408_and_gives_its_bytes_back() -> None:
    async def go() -> None:
        bodies, sender = Bodies(seconds=0.01), Sender()
        sender.send(b"x" * MIB)
        with pytest.raises(BodyRefused, match="did not come within") as refused:
            await whole(bodies, sender)
        assert (refused.value.status, bodies.held_bytes) == (408, 0)

    asyncio.run(go())


def test_over_the_budget_the_slowest_body_is_given_up_and_the_newest_is_read() -> None:
    async def go() -> None:
        bodies = Bodies(seconds=60, most_held_bytes=10 * MIB)
        slow = [Sender() for _ in range(3)]
        tasks = [asyncio.create_task(whole(bodies, sender)) for sender in slow]
        for sender in slow:
            sender.send(b"x" * 3 * MIB)
            await settle()
        prompt = Sender()
        prompt.send(b"y" * 2 * MIB, more=False)
        assert len(await whole(bodies, prompt)) == 2 * MIB
        with pytest.raises(BodyRefused, match="came slowly") as refused:
            await tasks[0]
        assert refused.value.status == 503
        assert not any(task.done() for task in tasks[1:])
        assert bodies.held_bytes == 6 * MIB
        for sender in slow[1:]:
            sender.send(b"", more=False)
        assert [len(await task) for task in tasks[1:]] == [3 * MIB] * 2
        assert bodies.held_bytes == 0

    asyncio.run(go())


def test_a_hundred_unfinished_bodies_hold_no_more_than_the_budget() -> None:
    async def go() -> None:
        bodies = Bodies(seconds=60, most_held_bytes=10 * MIB)
        tasks = []
        for _ in range(100):
            sender = Sender()
            sender.send(b"x" * (MIB - 1))
            tasks.append(asyncio.create_task(whole(bodies, sender)))
            await settle()
            assert bodies.held_bytes <= 11 * MIB
        assert sum(task.done() for task in tasks) >= 89
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert bodies.held_bytes == 0

    asyncio.run(go())


def test_where_all_that_is_held_is_being_judged_the_next_body_is_refused() -> None:
    async def go() -> None:
        bodies, judged, next_one = Bodies(most_held_bytes=4 * MIB), Sender(), Sender()
        judged.send(b"x" * 3 * MIB, more=False)
        next_one.send(b"x" * 3 * MIB, more=False)
        async with bodies.read(0, judged):
            with pytest.raises(BodyRefused, match="held already") as refused:
                await whole(bodies, next_one)
        assert (refused.value.status, bodies.held_bytes) == (503, 0)

    asyncio.run(go())


@pytest.mark.parametrize("length", [MAX_BODY_BYTES + 1, 0])
def test_a_body_that_is_too_long_is_a_413_whether_it_says_so_or_not(length: int) -> None:
    async def go() -> None:
        bodies, sender = Bodies(), Sender()
        sender.send(b"x" * (MAX_BODY_BYTES + 1))
        with pytest.raises(BodyRefused) as refused:
            async with bodies.read(length, sender):
                pass
        assert (refused.value.status, bodies.held_bytes) == (413, 0)

    asyncio.run(go())


def test_who_hangs_up_before_the_end_is_not_answered() -> None:
    async def go() -> None:
        bodies, sender = Bodies(), Sender()
        sender.send(b"x" * 100)
        sender.hang_up()
        with pytest.raises(Gone):
            await whole(bodies, sender)
        assert bodies.held_bytes == 0

    asyncio.run(go())


def test_a_namespace_has_a_few_threads_and_another_one_is_answered_meanwhile() -> None:
    async def go() -> None:
        workers = Workers(threads=4, of_one_namespace=2)
        async with slow_ones(workers, *["noisy"] * 6) as rows:
            assert await workers.run("quiet", 10, lambda: "at once", 60) == "at once"
            assert [slow.began.is_set() for slow, _ in rows] == [True, True, False, False, False, False]

    asyncio.run(go())


def test_turns_go_round_the_namespaces() -> None:
    order: list[str] = []

    async def go() -> None:
        workers = Workers(threads=1, of_one_namespace=1)
        async with slow_ones(workers, "first") as rows:
            tasks = [
                asyncio.create_task(workers.run(name, 10, lambda name=name: order.append(name), 60))  # type: ignore[misc]
                for name in ("a", "a", "a", "b", "c")
            ]
            await settle()
            rows[0][0].gate.set()
            await asyncio.gather(*tasks)

    asyncio.run(go())
    assert order == ["a", "b", "c", "a", "a"]


def test_large_bodies_are_judged_one_after_the_other() -> None:
    async def go() -> None:
        workers = Workers()
        async with slow_ones(workers, "a", "b", size=3 * MIB) as rows:
            assert [slow.began.is_set() for slow, _ in rows] == [True, False]
            assert await workers.run("c", 1000, lambda: "small", 60) == "small"
            rows[0][0].gate.set()
            await rows[0][1]
            await asyncio.to_thread(rows[1][0].began.wait, 30)
            assert rows[1][0].began.is_set()

    asyncio.run(go())


def test_who_waits_too_long_is_told_and_the_place_is_free_when_the_work_ends() -> None:
    async def go() -> None:
        workers = Workers(threads=1, of_one_namespace=1)
        slow = Slow()
        with pytest.raises(TimeoutError):
            await workers.run("a", 10, slow, 0.01)
        with pytest.raises(TimeoutError):
            await workers.run("b", 10, lambda: "x", 0.01)
        assert workers.longest_seconds() > 0
        slow.gate.set()
        assert await workers.run("b", 10, lambda: "x", 60) == "x"
        assert workers.longest_seconds() == 0

    asyncio.run(go())


def test_more_than_the_most_that_may_wait_are_turned_away_at_once() -> None:
    async def go() -> None:
        workers = Workers(threads=1, of_one_namespace=1, bounds=LineBounds(most=3))
        async with slow_ones(workers, *"abcd"):
            with pytest.raises(Busy):
                await workers.run("e", 10, lambda: "x", 60)

    asyncio.run(go())


def test_what_the_work_raises_is_raised_to_whoever_waits() -> None:
    async def go() -> None:
        workers = Workers()
        with pytest.raises(ZeroDivisionError):
            await workers.run("a", 10, lambda: 1 // 0, 60)
        assert await workers.run("a", 10, lambda: "x", 60) == "x"

    asyncio.run(go())


def test_one_slow_review_delays_no_other_and_no_probe() -> None:
    slow = Slow()

    def decide(facts: Facts, seconds: float) -> Verdict:
        if facts.deployment.metadata.namespace == "noisy":
            slow()
        return Admit(plan=PLAN)

    async def go() -> None:
        server = Server(decide)
        waiting = asyncio.create_task(server.ask(body("noisy"), query="timeout=30s"))
        await asyncio.to_thread(slow.began.wait, 30)
        for _ in range(20):
            status, answer = await server.ask(body())
            assert (status, answer["response"]["allowed"]) == (200, True)
        assert (await server.ask(path="/healthz"))[0] == 200
        assert not waiting.done()
        slow.gate.set()
        assert (await waiting)[1]["response"]["allowed"] is True

    asyncio.run(go())


@pytest.mark.parametrize(
    ("query", "seconds"),
    [
        ("timeout=10s", 7.5),
        ("timeout=2.5s", 1.875),
        ("timeout=30s", 22.5),
        ("timeout=9999s", 22.5),
        ("timeout=0s", 0.375),
        ("", 3.0),
        ("timeout=", 3.0),
        ("timeout=-1s", 3.0),
        ("timeout=1m0s", 3.0),
        ("timeout=nan", 3.0),
        ("timeout=" + "9" * 5000 + "s", 3.0),
    ],
)
def test_the_decision_has_a_part_of_the_time_that_the_api_server_waits(query: str, seconds: float) -> None:
    given: list[float] = []

    def decide(facts: Facts, within: float) -> Verdict:
        given.append(within)
        return Admit(plan=PLAN)

    asyncio.run(Server(decide, seconds=4.0, clock=lambda: 100.0).ask(body(), query=query))
    assert given == [pytest.approx(seconds)]


def test_without_a_verdict_in_time_the_answer_is_a_refusal_that_says_so() -> None:
    slow = Slow()

    def decide(facts: Facts, seconds: float) -> Verdict:
        slow()
        return Admit(plan=PLAN)

    async def go() -> None:
        server = Server(decide)
        status, answer = await server.ask(body(), query="timeout=0.5s")
        slow.gate.set()
        response = answer["response"]
        assert (status, response["uid"], response["allowed"]) == (200, "u-1", False)
        sentence = "no verdict was reached within 0.45 seconds, so nothing is admitted. Ask again."
        assert response["status"] == {"code": 504, "reason": "Timeout", "message": sentence}
        assert 'reason="OutOfTime",verdict="Undecided"} 1.0' in server.recorder.render().decode()

    asyncio.run(go())


def test_a_decision_that_stops_itself_is_the_same_refusal_whatever_the_policy_does_with_the_unknown() -> None:
    def decide(facts: Facts, seconds: float) -> Verdict:
        return Undecided(reason=Reason.OUT_OF_TIME, message="deciding did not end within 3.75 seconds.", next_step="")

    _, answer = asyncio.run(Server(decide).ask(body()))
    assert answer["response"]["allowed"] is False
    assert answer["response"]["status"]["message"] == "deciding did not end within 3.75 seconds, so nothing is admitted. Ask again."


def test_scale_fails_as_its_rule_says_when_there_is_no_time() -> None:
    slow = Slow()

    async def go() -> None:
        workers = Workers(threads=1, of_one_namespace=1)
        server = Server(admits, workers=workers)
        async with slow_ones(workers, "team"):
            status, answer = await server.ask(body(subResource="scale"), query="timeout=0.5s")
            assert (status, answer["error"]) == (503, "its turn to be judged did not come within 0.35 seconds.")

    asyncio.run(go())
    assert not slow.began.is_set()


def test_a_review_that_is_judged_for_a_minute_fails_liveness() -> None:
    async def go() -> None:
        workers = Workers()
        server = Server(admits, workers=workers)
        async with slow_ones(workers, "a"):
            assert (await server.ask(path="/healthz"))[0] == 200
            workers._since = {key: since - 61 for key, since in workers._since.items()}
            status, answer = await server.ask(path="/healthz", probes=True)
            assert (status, answer["error"]) == (503, "a review has been judged for 61 s")
            workers._since = {key: since + 61 for key, since in workers._since.items()}

    asyncio.run(go())


def test_the_port_of_probes_takes_no_reviews() -> None:
    server = Server(admits)
    assert asyncio.run(server.ask(body(), probes=True))[0] == 404
    assert asyncio.run(server.ask(path="/readyz", probes=True))[0] == 200


@pytest.mark.parametrize(
    ("why", "state", "path", "status"),
    [
        ("a review without a certificate is refused", {}, "/validate", 403),
        ("one with a certificate of the authority is judged", {"client_certificate": True}, "/validate", 200),
        ("a certificate that was not verified is none", {"client_certificate": False}, "/validate", 403),
        ("probes need none", {}, "/readyz", 200),
    ],
)
def test_where_an_authority_is_configured_only_its_holders_ask_for_reviews(why: str, state: dict[str, Any], path: str, status: int) -> None:
    assert asyncio.run(Server(admits, needs_certificate=True).ask(body(), path=path, state=state))[0] == status, why


def test_what_an_answer_needs_is_told_from_the_head_of_a_body() -> None:
    head = head_of(json.dumps(review(manifest(), namespace="team-a", name="chat", sub="scale"), separators=(",", ":")).encode())
    assert (head.uid, head.namespace, head.sub_resource, head.operation) == ("u-1", "team-a", "scale", "CREATE")
    assert head_of(b"\xff" * 5000).uid == ""
    assert head_of(b'{"x":"' + b"y" * 5000 + b'","uid":"late"}').uid == ""
