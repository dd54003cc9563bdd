"""The same wish under other releases of vLLM: judged as if its manifest said so, and what differs from the release that it has."""

import json
from dataclasses import replace
from typing import Any

import pytest
from tests.plimsoll_operator.decision_world import LLAMA_70B, Files, admitted, deployment, manifest, planned, refused
from tests.plimsoll_operator.nodes import H100, L4, T4

from plimsoll_estimator import EngineVersion, InvalidInput, flags_between, known_releases
from plimsoll_operator.api import image_of_release, parse_inference_deployment
from plimsoll_operator.decision import decide
from plimsoll_operator.decision.refusal.changes import apply_patch
from plimsoll_operator.facts import Facts
from plimsoll_operator.gather import Store, facts_for
from plimsoll_operator.ports import Manifest
from plimsoll_operator.upgrade import Outcome, compare, judge, release_named
from plimsoll_operator.verdict import Admit, Reason, Reject, Resize, Undecided

OLD, NEW, NEWEST = (EngineVersion.parse(text) for text in ("0.19.0", "0.26.0", "0.33.0"))
ONE_L4 = {"gpuProducts": ["NVIDIA-L4"]}


def facts(*args: Any, store: Store | None = None, **kwargs: Any) -> Facts:
    return facts_for(deployment(*args, **kwargs), store or Files(H100, L4, T4), applied_plan=None)


IMAGES = [
    ("a tag", "vllm/vllm-openai:v0.19.0", "vllm/vllm-openai:v0.26.0"),
    (
        "a tag without a v, in a mirror with a port",
        "mirror:5000/hub/vllm/vllm-openai:0.19.0",
        "mirror:5000/hub/vllm/vllm-openai:0.26.0",
    ),
    ("a tag of another's image", "acme/vllm:v0.19.0", None),
    (
        "a build for another CUDA is another build of the new release too",
        "vllm/vllm-openai:v0.19.0-cu128",
        "vllm/vllm-openai:v0.26.0-cu128",
    ),
    ("a post release is the old one's", "vllm/vllm-openai:v0.8.5.post1", "vllm/vllm-openai:v0.26.0"),
    ("and so is a digest", f"vllm/vllm-openai:v0.19.0@sha256:{'a' * 64}", "vllm/vllm-openai:v0.26.0"),
    ("a tag that tells no release", "acme/vllm:prod", None),
    ("no tag", "acme/vllm", None),
]


@pytest.mark.parametrize(("why", "image", "changed"), IMAGES, ids=[row[0] for row in IMAGES])
def test_an_image_of_another_release_has_it_in_its_tag(why: str, image: str, changed: str | None) -> None:
    assert image_of_release(image, "0.26.0") == changed


DIGEST = f"@sha256:{'a' * 64}"
MANIFESTS = [
    ("the tag tells", {"image": "m:5000/vllm/vllm-openai:v0.19.0"}, {"image": "m:5000/vllm/vllm-openai:v0.26.0"}, ""),
    ("version tells", {"image": "acme/vllm:prod", "version": "0.19.0"}, {"version": "0.26.0"}, "must name an image of vLLM 0.26.0"),
    (
        "both tell",
        {"image": "vllm/vllm-openai:v0.19.0", "version": "0.19.0"},
        {"image": "vllm/vllm-openai:v0.26.0", "version": "0.26.0"},
        "",
    ),
    (
        "a tag of another's image may look like a release",
        {"image": "acme/vllm:v0.19.0", "version": "0.19.0"},
        {"version": "0.26.0"},
        "must name an image of vLLM 0.26.0",
    ),
    (
        "the tag tells, and a digest pins",
        {"image": f"m/vllm/vllm-openai:v0.19.0{DIGEST}"},
        {"image": "m/vllm/vllm-openai:v0.26.0"},
        "pin the digest",
    ),
]


@pytest.mark.parametrize(("why", "engine", "changed", "note"), MANIFESTS, ids=[row[0] for row in MANIFESTS])
def test_what_the_manifest_must_change_is_said_and_makes_it_that_wish(
    why: str, engine: dict[str, str], changed: dict[str, str], note: str
) -> None:
    wish = manifest(engine={"maxModelLen": 16384} | engine)
    judged = judge(facts_for(parse_inference_deployment(wish), Files(H100, L4, T4), applied_plan=None), NEW)
    assert json.loads(judged.patch_json) == {"spec": {"engine": changed}}
    assert note in judged.note if note else judged.note == ""
    patched = parse_inference_deployment(apply_patch(wish, json.loads(judged.patch_json)))
    assert patched.spec.engine.engine_version == NEW == judged.version
    assert decide(facts_for(patched, Files(H100, L4, T4), applied_plan=None)) == judged.verdict


def test_the_release_that_a_wish_has_needs_no_edit() -> None:
    judged = judge(facts(), OLD)
    assert (judged.edits, judged.note, judged.patch_json, judged.version) == ((), "", "{}", OLD)
    assert judged == judge(facts())


REFUSED = [
    ("no number", "latest", "is not a vLLM release number"),
    ("nothing", "", "is not a vLLM release number"),
    ("digits of another script, which no tag has", "\uff10.\uff12\uff16.\uff10", "is not a vLLM release number"),
    ("too old", "0.7.3", "is older than 0.8.0, the oldest release with known rules"),
    ("too new for any policy", "0.50.0", "is newer than 0.33.0"),
    ("another major", "1.0.0", "is newer than 0.33.0"),
    ("never published", "0.19.7", "is no release of vLLM: of 0.19 there are 0.19.0, 0.19.1"),
]


@pytest.mark.parametrize(("why", "text", "limit"), REFUSED, ids=[row[0] for row in REFUSED])
def test_a_release_that_cannot_be_judged_is_refused_by_field_value_and_limit(why: str, text: str, limit: str) -> None:
    with pytest.raises(InvalidInput) as raised:
        release_named(text, "--engine-version")
    assert (raised.value.field, raised.value.value) == ("--engine-version", text)
    assert limit in raised.value.limit


@pytest.mark.parametrize(
    "text", [*(str(release) for release in known_releases()), "v0.26.0", "0.26", "0.8.5.post1", "0.33.9", "0.34.0", "0.49.0"]
)
def test_every_published_release_is_taken_and_what_may_come_after_the_newest(text: str) -> None:
    assert release_named(text, "--engine-version") == EngineVersion.parse(text)


def test_how_far_a_release_may_be_extrapolated_stays_the_policys_word() -> None:
    assert isinstance(judge(facts(), EngineVersion.parse("0.34.0")).verdict, Admit)
    beyond = judge(facts(), EngineVersion.parse("0.35.0")).verdict
    assert isinstance(beyond, Undecided)
    assert beyond.reason == Reason.UNKNOWN_ENGINE


def test_figures_that_differ_are_those_of_the_two_plans() -> None:
    roomy = compare(facts(**on_one_l4(16384)), [NEW])
    [other] = roomy.others
    before, after = roomy.present.plan, other.judged.plan
    assert before is not None
    assert after is not None
    moved = {change.name: (change.old, change.new) for change in other.figures}
    assert moved["predicted.kv_cache_bytes"] == (before.predicted.kv_cache_bytes, after.predicted.kv_cache_bytes)
    assert moved["kv_cache_tokens"] == (before.kv_cache_tokens, after.kv_cache_tokens)
    assert "engine_version" not in moved
    same = {name for name in ("max_model_len", "tensor_parallel_size", "product") if getattr(before, name) == getattr(after, name)}
    assert not same & set(moved)


def on_one_l4(context: int) -> Manifest:
    return {"engine": {"tensorParallelSize": 1, "maxModelLen": context}, "placement": ONE_L4}


GONE = {"extraArgs": ["--max-num-partial-prefills=1"]}  # a flag up to 0.32
OUTCOMES = [
    ("room enough on both", {"engine": {"maxModelLen": 8192}}, NEW, Outcome.STILL_FITS),
    ("an L4 that 0.26 leaves less of", on_one_l4(37008), NEW, Outcome.NO_LONGER_FITS),
    ("too long for both", on_one_l4(100000), NEW, Outcome.DOES_NOT_FIT),
    ("a flag that the new release has not", {"engine": GONE}, NEWEST, Outcome.NO_LONGER_FITS),
    ("a flag that only the other, older release has", {"engine": GONE, "version": "0.33.0"}, OLD, Outcome.FITS_NOW),
    ("a release that nobody may extrapolate to", {}, EngineVersion.parse("0.40.0"), Outcome.NOT_KNOWN),
]


@pytest.mark.parametrize(("why", "wish", "version", "outcome"), OUTCOMES, ids=[row[0] for row in OUTCOMES])
def test_what_becomes_of_the_wish_is_one_word(why: str, wish: Manifest, version: EngineVersion, outcome: Outcome) -> None:
    [other] = compare(facts(**wish), [version]).others
    assert other.outcome == outcome


def test_a_flag_that_is_gone_is_refused_by_name_and_figures_are_not_compared() -> None:
    [other] = compare(facts(engine={"extraArgs": ["--max-num-partial-prefills=1"]}), [NEWEST]).others
    assert isinstance(other.judged.verdict, Reject)
    assert other.judged.verdict.field == "spec.engine.extraArgs"
    assert "--max-num-partial-prefills" in other.judged.verdict.message
    assert (other.figures, other.arguments) == ((), ())
    assert "--max-num-partial-prefills" in other.flags_gone


def test_arguments_of_the_pods_are_paired_by_flag_and_the_users_own_cancel_out() -> None:
    wish = facts(engine={"maxModelLen": 16384, "tensorParallelSize": 1, "extraArgs": ["--seed", "7"]}, placement=ONE_L4)
    found = compare(wish, [NEW])
    [other] = found.others
    changes = {change.name: (change.old, change.new) for change in other.arguments}
    assert found.present.plan is not None
    assert other.judged.plan is not None
    assert changes["--gpu-memory-utilization"] == (found.present.plan.gpu_memory_utilization, other.judged.plan.gpu_memory_utilization)
    assert not {"--seed", "7", "--max-model-len"} & set(changes)


def test_defaults_are_those_that_nobody_pinned() -> None:
    """vllm/config/cache.py: gpu_memory_utilization is 0.9 up to 0.19.1 and 0.92 from 0.20.0 on."""
    [other] = compare(facts(engine={"maxModelLen": 8192, "tensorParallelSize": 1}, placement=ONE_L4), [NEW]).others
    changes = {change.name: (change.old, change.new) for change in other.defaults}
    assert changes["gpu_memory_utilization"] == (0.9, 0.92)
    assert other.defaults_on == "NVIDIA-L4 at tensor parallel size 1"
    [pinned] = compare(facts(engine={"maxModelLen": 8192, "gpuMemoryUtilization": 0.9}, placement=ONE_L4), [NEW]).others
    assert "gpu_memory_utilization" not in {change.name for change in pinned.defaults}


def test_defaults_are_compared_where_only_one_of_both_has_a_plan() -> None:
    [other] = compare(facts(**on_one_l4(37008)), [NEW]).others
    assert other.outcome == Outcome.NO_LONGER_FITS
    assert "gpu_memory_utilization" in {change.name for change in other.defaults}


def test_flags_are_those_of_the_releases_own_parsers() -> None:
    [other] = compare(facts(), [NEWEST]).others
    assert (other.flags_new, other.flags_gone) == flags_between(OLD, NEWEST)
    assert flags_between(NEWEST, OLD) == (other.flags_gone, other.flags_new)
    assert "--calculate-kv-scales" in other.flags_gone


def test_a_comparison_with_itself_has_no_other() -> None:
    assert compare(facts(), [OLD, OLD]).others == ()
    assert [other.judged.version for other in compare(facts(), [NEW, OLD, NEW, NEWEST]).others] == [NEW, NEWEST]


def test_the_present_release_may_be_another_than_the_manifests() -> None:
    found = compare(facts(), [OLD, NEWEST], NEW)
    assert (found.present.version, [other.judged.version for other in found.others]) == (NEW, [OLD, NEWEST])
    assert found.present == judge(facts(), NEW)
    assert found.others[0].judged == judge(facts(), OLD)


def test_the_applied_plan_holds_under_the_other_release_as_it_would_on_the_cluster() -> None:
    wish = facts(LLAMA_70B, engine={"maxModelLen": 8192}, placement={"gpuProducts": ["NVIDIA-H100-80GB-HBM3"]})
    plan = planned(decide(wish))
    four = planned(decide(replace(wish, deployment=deployment(LLAMA_70B, engine={"maxModelLen": 8192, "tensorParallelSize": 4}))))
    assert (plan.tensor_parallel_size, four.tensor_parallel_size) == (2, 4)
    kept = judge(replace(wish, applied_plan=four), NEW).plan
    assert kept is not None
    assert kept.tensor_parallel_size == 4


def test_a_policy_that_allows_only_the_old_image_is_heard() -> None:
    policy = facts().policy.model_copy(update={"allowed_images": ("vllm/vllm-openai:v0.19.0",)})
    judged = judge(replace(facts(), policy=policy), NEW)
    assert isinstance(judge(replace(facts(), policy=policy)).verdict, Admit | Resize)
    assert isinstance(judged.verdict, Reject)
    assert "v0.26.0" in judged.verdict.message


def test_a_rejection_that_is_only_a_warning_says_so_under_every_release() -> None:
    policy = facts().policy.model_copy(update={"mode": "Warn"})
    wish = replace(facts(**on_one_l4(100000)), policy=policy)
    found = compare(wish, [NEW])
    assert all(judged.stored_as_a_warning.startswith("stored all the same, as a warning.") for judged in found.judged)


def test_each_release_has_an_edge_of_its_own() -> None:
    """0.19.0's pool on an L4 is in doubt at 37,000 tokens; 0.26.0, which leaves less, refuses them and is in doubt too."""
    found = compare(facts(**on_one_l4(37000)), [NEW])
    [other] = found.others
    assert admitted(found.present.verdict).on_the_edge
    assert refused(other.judged.verdict).on_the_edge
