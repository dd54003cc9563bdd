"""What a hostile hub can make the reader do: where redirects may lead by name, and how much is held in memory at once."""

import socket
import threading

import pytest

from plimsoll_operator.profiles.source import one_large_at_a_time
from plimsoll_operator.profiles.transport import _may_lead_to

NAMES = {
    "cdn.example": ["93.184.216.34"],
    "hub.example": ["93.184.216.35"],
    "metadata.example": ["169.254.169.254"],
    "both.example": ["93.184.216.34", "10.0.0.7"],
    "store.internal": ["10.0.0.7"],
    "hub.internal": ["10.0.0.8"],
    "self.example": ["127.0.0.1"],
    "mapped.example": ["::ffff:169.254.169.254"],
}
REDIRECTS = [
    ("public storage of a public hub", "https://hub.example", "cdn.example", True),
    ("a name for the metadata service", "https://hub.example", "metadata.example", False),
    ("the same in IPv6 clothes", "https://hub.example", "mapped.example", False),
    ("a private store of a public hub", "https://hub.example", "store.internal", False),
    ("a name with one private address", "https://hub.example", "both.example", False),
    ("this machine", "https://hub.example", "self.example", False),
    ("a private store of a mirror inside", "http://hub.internal", "store.internal", True),
    ("the metadata service, from inside too", "http://hub.internal", "metadata.example", False),
    ("this machine, from inside too", "http://hub.internal", "self.example", False),
    ("public storage of a mirror inside", "http://hub.internal", "cdn.example", True),
    ("a name that only a proxy knows", "https://hub.example", "unknown.example", True),
]


@pytest.mark.parametrize(("why", "endpoint", "host", "allowed"), REDIRECTS, ids=[row[0] for row in REDIRECTS])
def test_where_a_redirect_may_lead(why: str, endpoint: str, host: str, allowed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    def resolve(name: str, port: int, **_: object) -> list[tuple[int, int, int, str, tuple[str, int]]]:
        if name not in NAMES:
            raise socket.gaierror(-2, "Name or service not known")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in NAMES[name]]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    assert _may_lead_to(host, None, endpoint) is allowed


def test_large_documents_wait_for_their_turn_and_small_ones_do_not() -> None:
    order: list[str] = []
    entered = threading.Event()

    def large() -> None:
        entered.set()
        with one_large_at_a_time(32 << 20):
            order.append("second large")

    with one_large_at_a_time(32 << 20):
        thread = threading.Thread(target=large)
        thread.start()
        entered.wait(10)
        with one_large_at_a_time(1 << 10):
            order.append("small")
        thread.join(0.2)
        order.append("first large")
    thread.join(10)
    assert order == ["small", "first large", "second large"]
