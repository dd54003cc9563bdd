"""Lists and watches as both transports follow them, over a socket: what is asked next, and what is kept, whatever the server does."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from typing import Any

import pytest
from tests.plimsoll_operator.watching.watched_server import TRANSPORTS, Answer, Transport, event, follow, listed, refused, thing, watched

pytestmark = pytest.mark.parametrize("transport", TRANSPORTS)
MIB = 1 << 20


def padded(kind: str, name: str, megabytes: int) -> list[bytes]:
    """One event whose line is so long, in pieces as a server sends it."""
    head, tail = event(kind, thing(name, 6, "@")).split(b"@")
    return [head, *[b"a" * MIB] * megabytes, tail]


def test_a_list_of_several_pages_is_followed_by_a_watch_from_its_version(transport: Transport) -> None:
    found = follow(transport, listed(thing("a", 1, "x"), token="more"), listed(thing("b", 2, "y"), version=5))
    assert found.objects == {("n", "a"): "x", ("n", "b"): "y"}
    assert (found.synced, found.asked, found.from_versions) == (True, "LLW", ["5"])
    assert found.queries[1]["continue"] == "more"
    assert found.queries[2]["allowWatchBookmarks"] == "true"
    assert 240 <= int(found.queries[2]["timeoutSeconds"]) <= 300


def test_events_add_change_and_remove_and_bookmarks_move_the_version(transport: Transport) -> None:
    lines = (
        event("ADDED", thing("b", 2, "y"))
        + event("MODIFIED", thing("a", 3, "z"))
        + event("DELETED", thing("b", 4))
        + event("BOOKMARK", {"metadata": {"resourceVersion": "9"}})
    )
    found = follow(transport, listed(thing("a", 1, "x")), watched(lines[:37], lines[37:100], lines[100:]))
    assert found.objects == {("n", "a"): "z"}
    assert (found.asked, found.from_versions) == ("LWW", ["1", "9"])


def test_characters_that_some_readers_take_for_line_breaks_stay_inside_their_line(transport: Transport) -> None:
    text = "a\u0085b\u2028c"
    assert follow(transport, listed(), watched(event("ADDED", thing("a", 2, text)))).objects == {("n", "a"): text}


def test_a_new_list_takes_away_what_went_meanwhile(transport: Transport) -> None:
    rows = thing("a", 1, "x"), thing("b", 1, "y")
    found = follow(transport, listed(*rows), refused(410), listed(thing("b", 8, "y"), version=8))
    assert (found.objects, found.from_versions) == ({("n", "b"): "y"}, ["1", "8"])


MOVED = event("BOOKMARK", {"metadata": {"resourceVersion": "6"}})
ERROR_410 = event("ERROR", {"code": 410, "message": "too old"})
ERROR_500 = event("ERROR", {"code": 500, "message": "etcd"})
FAILURES = [
    pytest.param(watched(ERROR_410), "L", id="a version that is too old, as an event"),
    pytest.param(refused(410), "L", id="a version that is too old, as a status"),
    pytest.param(watched(ERROR_500), "L", id="another error as an event"),
    pytest.param(refused(403), "L", id="a refusal"),
    pytest.param(refused(500), "L", id="a server that fails"),
    pytest.param(refused(504), "L", id="a version that is ahead of the server's, which says so with 504"),
    pytest.param(refused(302, location="http://127.0.0.1:9/"), "L", id="a redirect, which is not followed with a token"),
    pytest.param(refused(503), "1", id="a server that restarts: what was told holds"),
    pytest.param(refused(429), "1", id="a server that has too much: a list would be more"),
    pytest.param(watched(MOVED, event("ERROR", {"code": 503})), "6", id="a server that goes in the middle of a watch"),
    pytest.param(Answer(end="no word"), "L", id="a connection that is closed without a word"),
    pytest.param(watched(MOVED, end="cut"), "6", id="a connection that is cut in the middle"),
    pytest.param(watched(MOVED, end="silence"), "6", id="a watch that is silent after a while"),
    pytest.param(watched(end="silence"), "1", id="a watch that is silent from the start"),
    pytest.param(watched(b"<html>\n"), "L", id="a line that is no JSON"),
    pytest.param(watched(b"[" * 5000 + b"]" * 5000 + b"\n"), "L", id="a line nested too deeply to be read"),
    pytest.param(watched(b"[]\n"), "L", id="a line that is no object"),
    pytest.param(watched(b'{"type":"ADDED"}\n'), "L", id="an event without an object"),
    pytest.param(watched(event("ADDED", {"metadata": {"name": "b"}})), "L", id="an event without a version"),
    pytest.param(watched(event("ADDED", {"metadata": {"resourceVersion": "2"}})), "L", id="an object without a name"),
    pytest.param(watched(event("SPAM", thing("b", 2))), "L", id="an event of a type that nobody knows"),
    pytest.param(watched(*[b"x" * MIB] * 17), "L", id="a line without end"),
    pytest.param(watched(*padded("DELETED", "a", 17)), "L", id="a line too long to be read that is a deletion"),
]


@pytest.mark.parametrize(("answer", "then"), FAILURES)
def test_after_a_failure_it_lists_again_or_goes_on_from_what_it_was_told(transport: Transport, answer: Answer, then: str) -> None:
    after = [listed(thing("a", 8, "new"), version=8)] if then == "L" else [watched(event("MODIFIED", thing("a", 8, "new")))]
    found = follow(transport, listed(thing("a", 1, "x")), answer, *after, silence_seconds=0.3)
    assert found.objects == {("n", "a"): "new"}
    assert (found.asked, found.from_versions) == (("LWLW", ["1", "8"]) if then == "L" else ("LWWW", ["1", then, "8"]))
    assert found.pauses[0] >= (0.8 if answer.chunks != (MOVED,) else 1.0), "never in a tight loop"


LISTS = [
    pytest.param(refused(401), id="a refusal"),
    pytest.param(refused(410), id="a token that has expired"),
    pytest.param(Answer(end="no word"), id="a connection that is closed without a word"),
    pytest.param(Answer(chunks=(b'{"metadata"',), end="cut"), id="an answer that ends in the middle"),
    pytest.param(Answer(chunks=(b"<html>",)), id="no JSON"),
    pytest.param(Answer(chunks=(b'{"metadata": {}, "items": []}',)), id="a list that cannot be watched from"),
    pytest.param(Answer(chunks=(b'{"metadata": {"resourceVersion": "1"}, "items": 5}',)), id="items that are a number"),
    pytest.param(Answer(chunks=(b'{"metadata": {"resourceVersion": "1"}, "items": [{}]}',)), id="an object without a name"),
]


@pytest.mark.parametrize("answer", LISTS)
def test_a_list_that_does_not_come_to_its_end_makes_nothing_synced_and_is_begun_anew(
    transport: Transport, answer: Answer, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        half = follow(transport, answer, listed(thing("a", 1, "x"), token="more"), answer)
    assert (half.synced, half.asked, [query.get("continue") for query in half.queries]) == (False, "LLLL", [None, None, "more", None])
    assert "list of" in caplog.text
    assert follow(transport, answer, listed(thing("b", 1, "y"))).objects == {("n", "b"): "y"}


def test_what_was_kept_stays_until_a_new_list_has_come_to_its_end(transport: Transport) -> None:
    rows = thing("a", 1, "x"), thing("b", 1, "y")
    found = follow(transport, listed(*rows), refused(410), listed(thing("b", 8, "y"), token="more"), refused(500))
    assert (set(found.objects), found.synced) == ({("n", "a"), ("n", "b")}, True)


def test_what_the_reader_stumbles_over_stays_as_it_was_and_the_others_are_read_on(transport: Transport) -> None:
    def read(obj: Mapping[str, Any]) -> str:
        return str(1 // (obj["value"] != "poison")) + str(obj["value"])

    poison = [thing("bad", 3, "poison"), thing("bad", 4, "poison"), thing("a", 5, "poison")]
    events = [event("MODIFIED", row) for row in poison] + [event("ADDED", thing("c", 6, "z"))]
    items = (thing("a", 1, "x"), thing("bad", 1, "poison"), thing("b", 1, "y"))
    again = (thing("a", 7, "poison"), thing("b", 7, "v"), thing("bad", 7, "poison"))
    found = follow(transport, listed(*items), watched(*events), read=read)
    assert (found.objects, found.bugs) == ({("n", "a"): "1x", ("n", "b"): "1y", ("n", "c"): "1z"}, 4)
    assert found.asked == "LWW", "nothing is listed anew because of it"
    found = follow(transport, listed(*items), watched(*events), refused(410), listed(*again), read=read)
    assert (found.objects, found.bugs) == ({("n", "a"): "1x", ("n", "b"): "1v"}, 6)
    found = follow(transport, listed(*items), watched(*events, event("DELETED", thing("a", 8))), read=read)
    assert found.objects == {("n", "b"): "1y", ("n", "c"): "1z"}


def test_watches_that_end_at_once_are_asked_for_ever_more_rarely(transport: Transport) -> None:
    pauses = follow(transport, listed(), *[watched() for _ in range(8)]).pauses
    assert len(pauses) == 8
    assert [0.8 * 2 ** min(n, 4) <= pause or pause >= 10 for n, pause in enumerate(pauses)] == [True] * 8
    assert sum(pauses) > 45


def test_a_version_that_is_always_too_old_is_listed_ever_more_rarely(transport: Transport) -> None:
    found = follow(transport, *[answer for _ in range(6) for answer in (listed(), refused(410))], listed())
    assert (len(found.pauses), found.asked) == (6, "LW" * 7)
    assert found.pauses[-1] >= 10 > 2 * found.pauses[0]


@pytest.mark.parametrize(
    ("answers", "asked"),
    [
        pytest.param([refused(429, retry_after="25")], "LLW", id="a list that is throttled"),
        pytest.param([listed(), refused(503, retry_after="25")], "LWW", id="a watch that is refused for a while"),
        pytest.param(
            [listed(), watched(event("ERROR", {"code": 429, "details": {"retryAfterSeconds": 25}}))], "LWW", id="a status inside the stream"
        ),
    ],
)
def test_what_the_server_asks_to_wait_is_waited(transport: Transport, answers: list[Answer], asked: str) -> None:
    found = follow(transport, *answers, *([listed()] if asked == "LLW" else []))
    assert (found.pauses, found.asked) == ([25.0], asked)


def test_no_answer_keeps_it_from_asking_for_longer_than_a_minute(transport: Transport) -> None:
    assert follow(transport, refused(503, retry_after="86400"), listed()).pauses == [60.0]


def test_a_page_that_is_too_large_is_asked_for_again_with_fewer_objects(transport: Transport) -> None:
    large = listed(thing("a", 1, "x" * (5 * MIB)), thing("b", 1, "y"))
    found = follow(transport, large, large, listed(thing("a", 1, "x"), token="next"), listed(thing("b", 1, "y")))
    most, fewer, fewest, after = [int(query["limit"]) for query in found.queries[:4]]
    assert (fewer, fewest, after) == (most // 4, most // 16, 2 * (most // 16)), "the large ones may have been these alone"
    assert [query.get("continue") for query in found.queries[:4]] == [None, None, None, "next"]
    assert (set(found.objects), found.pauses) == ({("n", "a"), ("n", "b")}, [])


def test_one_object_may_be_as_large_as_the_api_server_takes_it(transport: Transport) -> None:
    asked = ["100", "25", "6", "1"] if transport == "webhook" else ["500", "125", "31", "7", "1"]
    found = follow(transport, *[listed(thing("a", 1, "x" * (9 * MIB))) for _ in asked])
    assert [query.get("limit") for query in found.queries] == [*asked, None]
    assert len(found.objects[("n", "a")]) == 9 * MIB


def test_an_event_may_be_as_large_too_and_one_that_is_larger_is_left_out(transport: Transport) -> None:
    lines = [
        event("ADDED", thing("b", 5, "y")),
        *padded("ADDED", "large", 10),
        *padded("MODIFIED", "a", 17),
        event("ADDED", thing("c", 7, "z")),
    ]
    found = follow(transport, listed(thing("a", 1, "x")), watched(*lines))
    assert {key[1]: len(value) for key, value in found.objects.items()} == {"a": 1, "b": 1, "c": 1, "large": 10 * MIB}
    assert (found.asked, found.from_versions) == ("LWW", ["1", "7"])


def test_an_object_keeps_its_place_however_its_words_are_spelled(transport: Transport) -> None:
    escaped = json.dumps({"type": "ADDED", "object": thing("a", 2, "<é>")}).replace("<", "\\u003c").encode() + b"\n"
    assert follow(transport, listed(), watched(*[bytes([byte]) for byte in escaped])).objects == {("n", "a"): "<é>"}
