"""Shapes kept in ConfigMaps: read when a deployment names them, read again when they change, each in its own namespace."""

import json
import re
import threading
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from tests.plimsoll_operator.checkpoints import TINY
from tests.plimsoll_operator.fake_kube import FakeKube

from plimsoll_operator.api import ModelProfile, parse_object
from plimsoll_operator.api.model_profile import ProfileOrigin
from plimsoll_operator.api.model_source import ConfigMapKeyRef
from plimsoll_operator.controller.resolving.config_map import ConfigMaps
from plimsoll_operator.controller.resolving.fetcher import Fetched, FetchFailure
from plimsoll_operator.controller.resolving.store import ProfileKeeper
from plimsoll_operator.controller.resolving.upkeep import ROUND_SECONDS, Upkeep
from plimsoll_operator.errors import ApiFailure
from plimsoll_operator.ports import CONFIG_MAPS, MODEL_PROFILES, Manifest
from plimsoll_operator.read_request import ConfigMapKey, OperatorHub, ReadRequest

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)
WANTED = ReadRequest(namespace="team", model="acme/in-house", revision=None, source=ConfigMapKey(name="shape", key="config.json"))


def put(kube: FakeKube, text: str | None = None, *, namespace: str = "team", data: dict[str, str] | None = None) -> None:
    manifest = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"namespace": namespace, "name": "shape"}}
    manifest["data"] = data if data is not None else {"config.json": text if text is not None else json.dumps(TINY)}
    (kube.replace if kube.get(CONFIG_MAPS, namespace, "shape") else kube.create)(CONFIG_MAPS, manifest)


def fetch(kube: FakeKube, wanted: ReadRequest = WANTED) -> Fetched | FetchFailure:
    return ConfigMaps(kube=kube, now=lambda: NOW).fetch(wanted, threading.Event())


@pytest.fixture
def kube() -> FakeKube:
    found = FakeKube()
    put(found)
    return found


def test_a_config_becomes_a_profile_of_this_key_in_this_namespace(kube: FakeKube) -> None:
    found = fetch(kube)
    assert isinstance(found, Fetched)
    spec = found.spec
    assert (spec.model, spec.revision, spec.weights, spec.obtained_at) == ("acme/in-house", None, None, "2026-11-25T12:00:00Z")
    assert (spec.origin, found.cluster) == (ProfileOrigin(config_map_ref=ConfigMapKeyRef(name="shape", key="config.json")), False)
    assert json.loads(spec.config) == {key: value for key, value in TINY.items() if key != "bos_token_id"}
    assert "not known: bytes by dtype" in found.notes[0]


BAD = [
    ("none of this name", replace(WANTED, namespace="other"), {}, "NotFound", "no ConfigMap other/shape"),
    ("no such key", WANTED, {"data": {"other": "{}"}}, "NotFound", "no text under the key config.json"),
    ("no JSON", WANTED, {"text": "{nope"}, "Invalid", "key config.json of ConfigMap team/shape: config.json: .* is not JSON"),
    ("nested beyond the parser", WANTED, {"text": "[" * 100_000}, "Invalid", "nests more than 64 deep"),
    ("no object", WANTED, {"text": "[1]"}, "Invalid", "must be a JSON object"),
    ("no architecture", WANTED, {"text": "{}"}, "Invalid", "architectures"),
    ("more than a profile holds", WANTED, {"text": json.dumps(TINY | {"x": ["y" * 70_000]})}, "Invalid", "more than the 65536"),
]  # fmt: skip


@pytest.mark.parametrize(("why", "wanted", "content", "reason", "words"), BAD, ids=[row[0] for row in BAD])
def test_what_is_no_config_is_named(why: str, wanted: ReadRequest, content: Manifest, reason: str, words: str, kube: FakeKube) -> None:
    put(kube, **content)
    found = fetch(kube, wanted)
    assert isinstance(found, FetchFailure)
    assert found.reason == reason
    assert re.search(words, found.message), found.message
    assert len(found.message) < 1000


def test_an_api_server_that_does_not_answer_is_asked_again(kube: FakeKube) -> None:
    kube.fail_next("get", ApiFailure(403, "Forbidden", "no"))
    found = fetch(kube)
    assert isinstance(found, FetchFailure)
    assert found.reason == "Unreachable"


def test_what_it_answers() -> None:
    maps = ConfigMaps(kube=FakeKube(), now=lambda: NOW)
    assert maps.answers(WANTED)
    assert not maps.answers(ReadRequest(namespace="", model="m", revision="main", source=OperatorHub()))


class Kept:
    """What the controller would hold after the first reading, and its upkeep."""

    def __init__(self, kube: FakeKube) -> None:
        self.kube = kube
        self.keeper = ProfileKeeper(kube)
        self.upkeep = Upkeep(
            kube=kube, config_maps=ConfigMaps(kube=kube, now=lambda: NOW), keeper=self.keeper, profiles=self.profiles, now=lambda: NOW
        )
        found = fetch(kube)
        assert isinstance(found, Fetched)
        assert self.keeper.keep(WANTED, found) is None

    def profiles(self) -> list[ModelProfile]:
        return [parse_object(ModelProfile, row) for row in self.kube.list_page(MODEL_PROFILES).items]

    def reread(self) -> list[str]:
        before = len(self.kube.writes)
        self.upkeep.reread(threading.Event())
        return [call.verb for call in self.kube.writes[before:]]


def test_an_unchanged_config_map_costs_a_request_and_no_write(kube: FakeKube) -> None:
    assert Kept(kube).reread() == []


def test_a_changed_config_map_is_written_over_its_profile(kube: FakeKube) -> None:
    kept = Kept(kube)
    put(kube, json.dumps(TINY | {"num_hidden_layers": 3}))
    assert kept.reread() == ["apply"]
    (profile,) = kept.profiles()
    assert json.loads(profile.spec.config)["num_hidden_layers"] == 3
    assert kept.reread() == []


@pytest.mark.parametrize("content", [{"text": "{nope"}, {"data": {}}], ids=["no longer a config", "the key is gone"])
def test_a_profile_goes_with_what_it_was_read_from(content: Manifest, kube: FakeKube) -> None:
    kept = Kept(kube)
    put(kube, **content)
    assert kept.reread() == ["delete"]
    assert kept.profiles() == []


def test_a_profile_stays_while_the_api_server_does_not_answer(kube: FakeKube) -> None:
    kept = Kept(kube)
    kube.fail_next("get", ApiFailure(0, "Timeout", "gone"))
    assert kept.reread() == []


def test_profiles_that_users_write_are_theirs(kube: FakeKube) -> None:
    kept = Kept(kube)
    (ours,) = kube.list_page(MODEL_PROFILES).items
    kube.create(MODEL_PROFILES, {**ours, "metadata": {"namespace": "team", "name": "theirs"}})
    kube.create(MODEL_PROFILES, {**ours, "metadata": {**ours["metadata"], "name": "labelled", "resourceVersion": None}})
    put(kube, "{nope")
    assert kept.reread() == ["delete"]
    assert sorted(row.metadata.name for row in kept.profiles()) == ["labelled", "theirs"]


class Rounds(threading.Event):
    """Stops after so many rounds; the pauses take no time."""

    def __init__(self, rounds: int) -> None:
        super().__init__()
        self.left = rounds
        self.waited: list[float | None] = []

    def wait(self, timeout: float | None = None) -> bool:
        self.waited.append(timeout)
        self.left -= 1
        if not self.left:
            self.set()
        return self.is_set()


def test_a_round_that_the_api_server_refuses_is_not_the_last(kube: FakeKube, caplog: pytest.LogCaptureFixture) -> None:
    kept = Kept(kube)
    known = kept.profiles()
    put(kube, "{nope")
    kube.fail_next("delete", ApiFailure(503, "ServiceUnavailable", "later"))
    rounds = Rounds(2)
    replace(kept.upkeep, profiles=lambda: known).run(rounds)
    assert rounds.waited == [ROUND_SECONDS] * 2
    assert "later; again in 60 s" in caplog.text
    assert kept.profiles() == [], "the second round did what the first could not"
