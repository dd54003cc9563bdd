"""The webhook's certificate: made once, trusted before it is served and after, and put right whatever somebody does to it."""

import base64
import contextlib
import ssl
from datetime import UTC, datetime, timedelta

import pytest
from tests.plimsoll_operator.fake_kube import FakeKube

from plimsoll_operator.certificate import Material, bundle, holds, issue
from plimsoll_operator.controller.certificates.keeper import TRUSTED_AFTER, TRUSTED_FIRST, Keeper
from plimsoll_operator.errors import ApiFailure
from plimsoll_operator.ports import SECRETS, VALIDATING_WEBHOOK_CONFIGURATIONS, Manifest, Resource

NAMES = ("plimsoll-webhook.plimsoll-system.svc", "plimsoll-webhook.plimsoll-system.svc.cluster.local")
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
DAYS = 300


class World:
    """A Secret and a registration as the chart makes them, and a clock."""

    def __init__(self, kube: FakeKube | None = None) -> None:
        self.kube = kube or FakeKube()
        self.now = NOW
        self.kube.create(SECRETS, {"metadata": {"namespace": "ns", "name": "tls"}, "type": "Opaque"})
        hooks = [{"name": name, "clientConfig": {"service": {"name": "x"}}, "failurePolicy": "Fail"} for name in ("one", "two")]
        self.kube.create(VALIDATING_WEBHOOK_CONFIGURATIONS, {"metadata": {"name": "plimsoll"}, "webhooks": hooks})
        self.keeper = Keeper(
            kube=self.kube, namespace="ns", secret="tls", registration="plimsoll", names=NAMES, days=DAYS, now=lambda: self.now
        )

    def look(self, *, after: timedelta = timedelta(0), times: int = 1) -> None:
        self.now += after
        for _ in range(times):
            self.keeper.look()

    def secret(self) -> Manifest:
        found = self.kube.get(SECRETS, "ns", "tls")
        assert found is not None
        return found

    def data(self, key: str) -> bytes:
        return base64.b64decode((self.secret().get("data") or {}).get(key, ""))

    def bundles(self) -> list[bytes]:
        found = self.kube.get(VALIDATING_WEBHOOK_CONFIGURATIONS, "", "plimsoll")
        assert found is not None
        return [base64.b64decode(hook["clientConfig"].get("caBundle", "")) for hook in found["webhooks"]]

    def serves_what_is_trusted(self) -> bool:
        material = Material(authority=self.data("ca.crt"), certificate=self.data("tls.crt"), key=self.data("tls.key"))
        return material.problem(NAMES, self.now) == "" and all(holds(text, material.authority) for text in self.bundles())


def test_openssl_takes_it_for_the_service_s_name_and_no_other() -> None:
    made = issue(NAMES, now=datetime.now(UTC), days=3)
    assert made.problem(NAMES, datetime.now(UTC)) == ""
    trust = ssl.create_default_context(cadata=made.authority.decode())
    assert len(trust.get_ca_certs()) == 1
    assert made.problem(("other.svc",), datetime.now(UTC)) == "it is for other names"
    other = issue(NAMES, now=datetime.now(UTC), days=3)
    mixed = Material(authority=other.authority, certificate=made.certificate, key=made.key)
    assert "cannot be used" in mixed.problem(NAMES, datetime.now(UTC))
    assert Material(authority=made.authority, certificate=made.certificate, key=other.key).problem(NAMES, datetime.now(UTC))
    assert made.problem(NAMES, datetime.now(UTC) + timedelta(days=4)) == "it is not valid now"


def test_what_the_chart_made_empty_is_filled_once_and_nothing_else_of_it_changes() -> None:
    world = World()
    world.look()
    assert world.serves_what_is_trusted()
    before = world.secret(), world.bundles(), len(world.kube.writes)
    world.look(after=timedelta(days=3), times=5)
    assert world.bundles() == before[1]
    assert (world.secret(), len(world.kube.writes)) == (before[0], before[2]), "nothing is due"
    registration = world.kube.get(VALIDATING_WEBHOOK_CONFIGURATIONS, "", "plimsoll")
    assert registration is not None
    assert [(hook["name"], hook["failurePolicy"], hook["clientConfig"]["service"]) for hook in registration["webhooks"]] == [
        ("one", "Fail", {"name": "x"}),
        ("two", "Fail", {"name": "x"}),
    ]


def test_in_a_renewal_the_next_authority_is_trusted_first_and_the_last_one_for_a_day_more() -> None:
    world = World()
    world.look()
    first = world.data("ca.crt")
    world.look(after=timedelta(days=DAYS * 2 / 3) - timedelta(hours=2))
    assert not world.data("next-ca.crt")
    world.look(after=timedelta(hours=4), times=2)
    following = world.data("next-ca.crt")
    assert following
    assert world.data("ca.crt") == first, "it is not served yet"
    assert all(holds(text, first) and holds(text, following) for text in world.bundles())
    world.look(after=TRUSTED_FIRST - timedelta(seconds=1))
    assert world.data("ca.crt") == first
    world.look(after=timedelta(seconds=1))
    assert (world.data("ca.crt"), world.data("next-ca.crt")) == (following, b"")
    world.look(after=TRUSTED_AFTER - timedelta(minutes=1), times=2)
    assert all(holds(text, first) for text in world.bundles()), "a pod may still serve by it"
    world.look(after=timedelta(minutes=2), times=2)
    assert world.bundles() == [following] * 2
    assert world.serves_what_is_trusted()


class MortalKube(FakeKube):
    """Refuses the one write of this number, as for a process that dies there; `next` writes go through."""

    dies_at = 0

    def merge_patch(self, resource: Resource, namespace: str, name: str, patch: Manifest) -> Manifest:
        self.dies_at -= 1
        if self.dies_at == 0:
            raise ApiFailure(0, "Gone", "the process died here")
        return super().merge_patch(resource, namespace, name, patch)


@pytest.mark.parametrize("number", range(1, 5))
def test_whichever_write_of_a_renewal_is_the_last_of_a_process_the_next_one_goes_on_and_what_serves_is_trusted(number: int) -> None:
    kube = MortalKube()
    world = World(kube)
    world.look()
    kube.dies_at = number
    while world.now < NOW + timedelta(days=DAYS * 2 / 3 + 5):
        world.now += timedelta(minutes=3) if world.data("next-ca.crt") else timedelta(days=1)
        with contextlib.suppress(ApiFailure):
            world.keeper.look()
        assert world.serves_what_is_trusted()
    assert kube.dies_at < 0, "the write came"
    assert world.data("next-ca.crt") == b""
    assert len(world.bundles()[0].split(b"BEGIN CERTIFICATE")) == 2, "one authority is left"


SPOILT = [
    ("the Secret is emptied", {"data": {"ca.crt": None, "tls.crt": None, "tls.key": None}}),
    ("the key is another's", {"data": {"tls.key": base64.b64encode(b"x").decode()}}),
    ("no base64", {"data": {"tls.crt": "%"}}),
]


@pytest.mark.parametrize(("what", "secret"), SPOILT, ids=[row[0] for row in SPOILT])
def test_what_somebody_spoils_is_made_anew_and_what_serves_meanwhile_stays_trusted(what: str, secret: Manifest) -> None:
    world = World()
    world.look()
    first = world.data("ca.crt")
    world.kube.merge_patch(SECRETS, "ns", "tls", secret)
    world.look(times=2)
    assert world.serves_what_is_trusted(), what
    assert world.data("ca.crt") != first
    assert all(holds(text, first) for text in world.bundles())


@pytest.mark.parametrize("text", ["", base64.b64encode(b"-----BEGIN CERTIFICATE-----\nno\n-----END CERTIFICATE-----").decode()])
def test_a_bundle_that_somebody_writes_over_is_put_back_and_no_new_certificate_is_made(text: str) -> None:
    world = World()
    world.look()
    first = world.data("ca.crt")
    hooks = [{"name": "one", "clientConfig": {"caBundle": text}}, {"name": "two", "clientConfig": {}}]
    world.kube.merge_patch(VALIDATING_WEBHOOK_CONFIGURATIONS, "", "plimsoll", {"webhooks": hooks})
    world.look()
    assert world.bundles() == [first] * 2
    assert world.data("ca.crt") == first


def test_an_authority_that_the_registration_trusted_before_stays_for_a_day() -> None:
    """As after an upgrade from a release whose chart made the certificate: its pods serve on until they are replaced."""
    world, old = World(), issue(NAMES, now=NOW - timedelta(days=9), days=3650).authority
    hooks = [{"name": "one", "clientConfig": {"caBundle": base64.b64encode(old).decode()}}]
    world.kube.merge_patch(VALIDATING_WEBHOOK_CONFIGURATIONS, "", "plimsoll", {"webhooks": hooks})
    world.look(times=2)
    assert holds(world.bundles()[0], old)
    world.look(after=TRUSTED_AFTER, times=2)
    assert not holds(world.bundles()[0], old)
    assert world.serves_what_is_trusted()


def test_what_the_chart_has_not_made_is_said_and_nothing_is_written() -> None:
    for gone in (SECRETS, VALIDATING_WEBHOOK_CONFIGURATIONS):
        world = World()
        world.kube.delete(gone, "ns" if gone is SECRETS else "", "tls" if gone is SECRETS else "plimsoll")
        before = len(world.kube.writes)
        assert "the chart makes it" in world.keeper.look().problem
        assert len(world.kube.writes) == before


def test_a_bundle_has_each_certificate_once_none_that_has_ended_and_no_more_than_it_may() -> None:
    made = [issue(NAMES, now=NOW, days=days).authority for days in (1, 2, 3)]
    assert bundle(made[0], made[1] + made[0], b"junk", now=NOW, most=9) == made[0] + made[1]
    assert bundle(*made, now=NOW + timedelta(days=1), most=9) == made[1] + made[2]
    assert bundle(*made, now=NOW, most=2) == made[0] + made[1]
    assert not holds(made[0], made[1])
    assert not holds(made[0], b"")
