"""The worksheet's arithmetic alone: no model, no GPU."""

from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plimsoll_operator.api import RequestClass, WorkloadSpec
from plimsoll_operator.decision.request.worksheet import PRESETS, EngineTraffic, Worksheet, least_replicas, worksheet_of


def request_class(name: str = "chat", prompt: int = 2000, output: int = 500, concurrency: int = 10, **more: Any) -> RequestClass:
    return RequestClass(name=name, prompt_tokens=prompt, output_tokens=output, concurrency=concurrency, **more)


def sheet(*classes: RequestClass, headroom: int = 0) -> Worksheet:
    found = worksheet_of(WorkloadSpec(request_classes=classes, headroom_percent=headroom))
    assert found is not None
    return found


BY_HAND = [  # sentence, classes, headroom, engines -> context, requests in flight on each engine, KV tokens of each engine
    ("ten requests of 2,500 tokens", [request_class()], 0, 1, (2500, 10, 25_000)),
    ("headroom adds to the tokens and to nothing else", [request_class()], 10, 1, (2500, 10, 27_500)),
    ("headroom rounds up: 110 % of 3 tokens are 3.3", [request_class(prompt=2, output=1, concurrency=1)], 10, 1, (3, 1, 4)),
    ("burst multiplies the requests", [request_class(burst=1.5)], 0, 1, (2500, 15, 37_500)),
    ("a burst of 1.1 over 10 is 11, whatever binary fractions say", [request_class(burst=1.1)], 0, 1, (2500, 11, 27_500)),
    ("part of a request is a request", [request_class(concurrency=3, burst=1.5)], 0, 1, (2500, 5, 12_500)),
    ("half of the prompt in common is held once: 10 x 1,500 + 1,000", [request_class(prefix_cache_hit_percent=50)], 0, 1,
     (2500, 10, 16_000)),
    ("two engines share the requests", [request_class()], 0, 2, (2500, 5, 12_500)),
    ("three engines share them unevenly, each is sized for the most", [request_class()], 0, 3, (2500, 4, 10_000)),
    ("more engines than requests still hold one each", [request_class(concurrency=2)], 0, 8, (2500, 1, 2500)),
    ("the longest class sets the context, all add up", [request_class(), request_class("long", 30_000, 1000, 2)], 0, 1,
     (31_000, 12, 87_000)),
]  # fmt: skip


@pytest.mark.parametrize(("why", "classes", "headroom", "engines", "needs"), BY_HAND, ids=[row[0] for row in BY_HAND])
def test_what_an_engine_must_hold(why: str, classes: list[RequestClass], headroom: int, engines: int, needs: tuple[int, int, int]) -> None:
    worksheet = sheet(*classes, headroom=headroom)
    traffic = worksheet.per_engine(engines)
    assert (worksheet.max_model_len, traffic.in_flight, traffic.kv_tokens) == needs


CLASSES = st.lists(
    st.builds(
        request_class,
        prompt=st.integers(1, 1 << 31),
        output=st.integers(1, 1 << 31),
        concurrency=st.integers(1, 1 << 20),
        burst=st.floats(1, 100),
        prefix_cache_hit_percent=st.integers(0, 100),
    ),
    min_size=1,
    max_size=4,
).map(lambda classes: [entry.model_copy(update={"name": f"class-{number}"}) for number, entry in enumerate(classes)])


@given(CLASSES, st.integers(0, 399), st.integers(1, 64), st.integers(0, 3), st.integers(1, 1000), st.integers(1, 1000))
def test_more_traffic_never_needs_less(classes: list[RequestClass], headroom: int, engines: int, at: int, more: int, longer: int) -> None:
    traffic = sheet(*classes, headroom=headroom).per_engine(engines)
    at %= len(classes)

    def changed(**update: Any) -> EngineTraffic:
        return sheet(*classes[:at], classes[at].model_copy(update=update), *classes[at + 1 :], headroom=headroom).per_engine(engines)

    old = classes[at]
    busier = changed(concurrency=old.concurrency + more)
    assert busier.in_flight >= traffic.in_flight
    for other in (busier, changed(output_tokens=old.output_tokens + longer), changed(prompt_tokens=old.prompt_tokens + longer)):
        assert other.kv_tokens >= traffic.kv_tokens
    assert sheet(*classes, headroom=headroom + 1).per_engine(engines).kv_tokens >= traffic.kv_tokens
    assert sheet(*classes, headroom=headroom + 1).per_engine(engines).in_flight == traffic.in_flight
    assert sheet(*classes, headroom=headroom).per_engine(engines + 1).kv_tokens <= traffic.kv_tokens


@given(CLASSES, st.integers(1, 64))
def test_the_shares_together_hold_everything_and_every_figure_is_whole(classes: list[RequestClass], engines: int) -> None:
    worksheet = sheet(*classes, headroom=10)
    traffic = worksheet.per_engine(engines)
    assert engines * traffic.in_flight >= worksheet.in_flight
    assert all(type(figure) is int for figure in (traffic.in_flight, traffic.kv_tokens, worksheet.max_model_len))


def test_a_split_takes_the_longest_class_out() -> None:
    worksheet = sheet(request_class(), request_class("long", 30_000, 1000, 2), request_class("mid", 4000, 500, 4))
    parts = worksheet.split()
    assert parts is not None
    long, rest = parts
    assert [load.name for load in long.loads] == ["long"]
    assert [load.name for load in rest.loads] == ["chat", "mid"]
    assert sheet(request_class()).split() is None


@given(st.integers(0, 50), st.integers(0, 200), st.integers(0, 300), st.integers(-5, 400))
def test_the_least_replicas_are_found_from_any_hint(above: int, most: int, answer: int, hint: int) -> None:
    found = least_replicas(lambda count: count >= answer, above, most, hint)
    expected = max(answer, above + 1)
    assert found == (expected if expected <= most else None)


def test_a_good_hint_is_looked_at_twice() -> None:
    looked: list[int] = []

    def holds(count: int) -> bool:
        looked.append(count)
        return count >= 40

    assert least_replicas(holds, 1, 6000, hint=40) == 40
    assert looked == [40, 39]


@pytest.mark.parametrize("use_case", sorted(PRESETS))
def test_a_use_case_is_its_preset(use_case: Literal["chat", "rag", "agents", "batch"]) -> None:
    preset = worksheet_of(WorkloadSpec(use_case=use_case))
    assert preset == worksheet_of(WorkloadSpec(request_classes=PRESETS[use_case]))
    assert preset is not None
    assert preset.headroom_percent == 10


def test_no_worksheet_asks_for_nothing() -> None:
    assert worksheet_of(None) is None
