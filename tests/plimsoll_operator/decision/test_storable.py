"""A spec whose objects the API server would refuse is refused itself, by field, value and limit; an edited plan is none."""

import json
from typing import Any

import pytest
from tests.plimsoll_operator.decision_world import manifest, verdict
from tests.plimsoll_operator.plans import PLAN

from plimsoll_operator.api import ApiError, parse_inference_deployment
from plimsoll_operator.decision.checks.storable import MAX_POD_BYTES
from plimsoll_operator.ports import Manifest
from plimsoll_operator.verdict import Admit, Plan, Reason, Reject

COST = "controller.kubernetes.io/pod-deletion-cost"
ANNOTATIONS, WHOLE = "spec.template.annotations", "spec.template"
EURO, LESS = {f"k{n}": "\u20ac" * 4096 for n in range(32)}, [{"name": f"V{n}", "value": "<" * 4096} for n in range(12)]
LONG = [{"name": f"V{n}", "value": "x" * 4096} for n in range(32)]
REFUSED = [
    ("a pod of the kubelet's own", {"annotations": {"kubernetes.io/config.mirror": "x"}}, ANNOTATIONS, "config.mirror says that a kubelet"),
    (
        "tolerations as they were once written",
        {"annotations": {"scheduler.alpha.kubernetes.io/tolerations": "[]"}},
        ANNOTATIONS,
        "use spec.placement.tolerations",
    ),
    ("a cost in words", {"annotations": {COST: "low"}}, ANNOTATIONS, 'to 2147483647, not "low"'),
    ("a cost of 2^31", {"annotations": {COST: "2147483648"}}, ANNOTATIONS, "from -2147483648 to 2147483647"),
    ("a cost with a sign that nobody needs", {"annotations": {COST: "+1"}}, ANNOTATIONS, 'not "+1"'),
    ("a cost with a zero in front", {"annotations": {COST: "01"}}, ANNOTATIONS, 'not "01"'),
    ("annotations that are more than an object may have", {"annotations": EURO}, WHOLE, f"at most {MAX_POD_BYTES} are stored"),
    ("what Go writes as six characters each", {"env": LESS}, WHOLE, f"at most {MAX_POD_BYTES}"),
    (
        "sidecars' environments in sum",
        {"sidecars": [{"name": f"s{n}", "image": "i", "env": LONG} for n in range(4)]},
        WHOLE,
        "bytes as JSON",
    ),
]
LIFE, DEVICES, AFFINITY = "spec.template.lifecycle.preStop.sleep.seconds", "spec.template.resources.devices", "spec.template.affinity"
ZONES, SLEEP, FAR = {"topologyKey": "zone"}, {"lifecycle": {"preStop": {"sleep": {"seconds": 61}}}}, f"{'a' * 254}/b"


def beside(**term: Any) -> Manifest:
    return {
        "affinity": {
            "podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [{"topologyKey": "host", "labelSelector": {}} | term]}
        }
    }


REFUSED += [
    ("a NUL character in a variable", {"env": [{"name": "A", "value": "a\0b"}]}, "spec.template.env[0].value", "a NUL character"),
    ("one in a path", {"volumes": [{"name": "a", "mountPath": "/a\0", "emptyDir": {}}]}, "spec.template.volumes[0].mountPath", "a NUL"),
    ("one in a command", {"sidecars": [{"name": "a", "image": "i", "args": ["\0"]}]}, "spec.template.sidecars[0].args[0]", "a NUL"),
    ("a wait beyond the end", SLEEP | {"terminationGracePeriodSeconds": 60}, LIFE, "more than the 60"),
    ("the same spread twice", {"topologySpreadConstraints": [ZONES, ZONES | {"maxSkew": 2}]}, "spec.template.topologySpreadConstraints[1]",
     "leave one of them out"),
    ("half a page", {"resources": {"devices": {"hugepages-2Mi": "3Mi"}}}, DEVICES, "no multiple of a page of 2 MiB"),
    ("a page counted as bytes", {"resources": {"devices": {"hugepages-2Mi": "3"}}}, DEVICES, "no multiple"),
    ("a device's name that ends in a dash", {"resources": {"devices": {"rdma/a-": "1"}}}, DEVICES, "no name of a resource"),
    ("a label that is none", beside(labelSelector={"matchLabels": {"not a key!": "x"}}), AFFINITY, "not a key!"),
    ("one of an expression", beside(labelSelector={"matchExpressions": [{"key": FAR, "operator": "Exists"}]}), AFFINITY, "no label's"),
    ("a place that is none", beside(topologyKey=FAR), AFFINITY, "no label's"),
]  # fmt: skip
TAKEN = [
    {"topologySpreadConstraints": [ZONES, ZONES | {"whenUnsatisfiable": "DoNotSchedule"}]},
    {"resources": {"devices": {"hugepages-2Mi": "4Mi", "hugepages-1Gi": "1Gi", "rdma/a": "1"}}},
    {"lifecycle": {"preStop": {"sleep": {"seconds": 60}}}, "terminationGracePeriodSeconds": 60},
    beside(labelSelector={"matchLabels": {"app.example.org/name": "x"}}),
    {"annotations": {COST: "-2147483648"}},
    {"annotations": {COST: "0", "kubernetes.io/config.source": "x"}},
    {"env": [{"name": f"V{n:02d}", "value": "x" * 4060} for n in range(64)]},
]


@pytest.mark.parametrize(("why", "template", "field", "says"), REFUSED, ids=[row[0] for row in REFUSED])
def test_what_the_api_server_would_refuse_of_the_pods_is_refused_by_name(why: str, template: Manifest, field: str, says: str) -> None:
    found = verdict(template=template)
    assert isinstance(found, Reject), why
    assert (found.reason, found.field) == (Reason.INVALID_SPEC, field)
    assert says in found.message


@pytest.mark.parametrize("template", TAKEN)
def test_what_it_takes_is_admitted(template: Manifest) -> None:
    assert isinstance(verdict(template=template), Admit)


UNTIL = [{"key": "a", "operator": "Exists", "tolerationSeconds": 1}]


@pytest.mark.parametrize(
    ("template", "placement", "says"),
    [
        ({"labels": {"bad key": "x"}}, {}, "spec.template.labels: must have keys of labels"),
        ({"labels": {"bad key": "x"}}, {}, "end with a letter or digit, which this is not: bad key"),
        ({"annotations": {"a..b/c": "x"}}, {}, "of at most 253 characters"),
        ({}, {"nodeSelector": {"k" * 64: "x"}}, "then at most 63 of A-Z"),
        ({}, {"tolerations": UNTIL}, "effect must be NoExecute when tolerationSeconds is set"),
    ],
)
def test_the_sentence_names_field_value_and_limit(template: Manifest, placement: Manifest, says: str) -> None:
    with pytest.raises(ApiError, match="spec") as caught:
        parse_inference_deployment(manifest(template=template, placement=placement))
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("why", "edit"),
    [
        ("a product that is no label value", {"product": "a b"}),
        ("products that are none", {"gpu_products": ["x" * 64]}),
        ("a key that no node carries", {"node_selectors": [[["bad key", "x"]]]}),
        ("a value that none has", {"node_selectors": [[["a", "b c"]]]}),
        ("a resource that no node has", {"gpu_resource": "nvidia.com/mig-1g."}),
    ],
)
def test_a_plan_edited_into_what_no_pod_may_say_is_no_plan(why: str, edit: Manifest) -> None:
    text = json.dumps(json.loads(PLAN.canonical_json()) | edit)
    with pytest.raises(ValueError, match="this is no plan"):
        Plan.from_json(text)
