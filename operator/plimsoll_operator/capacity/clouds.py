"""What clouds say of a node's GPUs: labels of GKE, Karpenter (AWS, Azure), EKS Auto Mode, AKS, Alibaba, CoreWeave; a table of instances.

Called by `sources` for nodes, and the only source where GPU feature discovery does not run. Names and nominal sizes are the
cloud's own, so they are trusted less than what a driver reports. Tables: data/clouds.json and ec2.json, with evidence and dates.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from importlib import resources
from typing import Any, Final

from plimsoll_operator.capacity.groups import MAX_REPLICAS, Labels, Sharing, Source, Statement
from plimsoll_operator.capacity.labels import MIG_PROFILE, PRODUCT, whole_number
from plimsoll_operator.capacity.problems import Finding, Problem
from plimsoll_operator.names import GKE_LABEL, GKE_PARTITION_LABEL, GKE_SHARING_LABEL, PRODUCT_LABEL

INSTANCE_TYPE_LABEL: Final = "node.kubernetes.io/instance-type"
_GKE: Final = "cloud.google.com/"
_AKS_ACCELERATOR: Final = ("kubernetes.azure.com/accelerator", "accelerator")
_VENDORS: Final = ("nvidia", "amd", "habana", "intel")
_AZURE_GPU: Final = "karpenter.azure.com/sku-gpu-"
_ALIBABA_GPU: Final = "aliyun.accelerator/nvidia_"
_COREWEAVE_GPU: Final = "gpu.nvidia.com/"
_COREWEAVE_OWN: Final = ("gpu.coreweave.cloud/", "node.coreweave.cloud/cpu", "node.coreweave.cloud/type")
_COREWEAVE_TYPE: Final = re.compile(r"(?:gd-[0-9]{1,2}x[a-z]{0,3}[0-9]|(?:g?b[0-9]{3}|h[0-9]{3}|l40s?|a100|rtxp6000)-[0-9]{1,2}x).{0,64}")
"""Instance types of CoreWeave's: gd-8xh100ib-i128, gb200-4x."""


def statements(labels: Mapping[str, str]) -> tuple[Statement, ...]:
    """Every cloud's statement about this node, in the order of trust."""
    found = (
        _gke(labels),
        _ec2(labels, "karpenter.k8s.aws/instance-gpu-", Source.KARPENTER),
        _ec2(labels, "eks.amazonaws.com/instance-gpu-", Source.EKS_AUTO_MODE),
        _azure(labels),
        _aks(labels),
        _instance_type(labels),
        _alibaba(labels),
        _coreweave(labels),
    )
    return tuple(statement for statement in found if statement is not None)


def steering(labels: Mapping[str, str]) -> Labels:
    """The labels, of those that declared nodes will have, by which a pod finds them and an autoscaler knows which node to bring.

    Feature discovery's product where it is listed: Karpenter makes no node for a pod that asks for a label it does not know of.
    """
    if labels.get(PRODUCT_LABEL):
        return ((PRODUCT_LABEL, labels[PRODUCT_LABEL]),)
    stated = next((statement.selects for statement in statements(labels) if statement.selects), ())
    return stated or _selects(labels, (f"{_COREWEAVE_GPU}model",))


def _gke(labels: Mapping[str, str]) -> Statement | None:
    """Source: GKE documentation, labels of GPU node pools: accelerator, count, partition size, sharing strategy and clients."""
    accelerator = labels.get(GKE_LABEL)
    if accelerator is None:
        return None
    findings: list[Finding] = []
    products = tuple(_table()["gke_accelerators"]["products"].get(accelerator, ()))
    count = whole_number(labels, f"{_GKE}gke-accelerator-count", findings)
    partition = labels.get(GKE_PARTITION_LABEL, "")
    if partition and not MIG_PROFILE.fullmatch(partition):
        findings.append(Finding(problem=Problem.BAD_LABEL, detail=f"{GKE_PARTITION_LABEL} is no MIG profile"))
        partition = ""
    sharing, replicas = _gke_sharing(labels, findings)
    if partition and sharing != "none":
        findings.append(Finding(problem=Problem.SHARED_WITHOUT_STRATEGY, detail="MIG slices that are shared once more"))
    keys = (GKE_LABEL, GKE_PARTITION_LABEL, GKE_SHARING_LABEL)
    return Statement(
        source=Source.GKE,
        vendor="nvidia",
        products=products,
        unknown=_shown(accelerator) if not products else "",
        count=count if count is not None else _whole_instance(labels),
        sharing=sharing,
        replicas=replicas,
        partition=partition,
        selects=_selects(labels, keys),
        findings=tuple(findings),
    )


def _gke_sharing(labels: Mapping[str, str], findings: list[Finding]) -> tuple[Sharing, int]:
    strategy = labels.get(GKE_SHARING_LABEL, "")
    clients = whole_number(labels, f"{_GKE}gke-max-shared-clients-per-gpu", findings) or 1
    if clients > MAX_REPLICAS:
        findings.append(Finding(problem=Problem.COUNT_ABSURD))
        clients = MAX_REPLICAS
    if strategy == "time-sharing":
        return "time-slicing", clients
    if strategy == "mps":
        return "mps", clients
    if strategy or clients > 1:
        findings.append(Finding(problem=Problem.SHARED_WITHOUT_STRATEGY))
    return "none", 1


def _ec2(labels: Mapping[str, str], prefix: str, source: Source) -> Statement | None:
    """Source: Karpenter's and EKS Auto Mode's well-known labels, which Karpenter writes from EC2's own description of the type."""
    name = labels.get(f"{prefix}name")
    if name is None:
        return None
    findings: list[Finding] = []
    count = whole_number(labels, f"{prefix}count", findings)
    nominal = whole_number(labels, f"{prefix}memory", findings)
    maker = labels.get(f"{prefix}manufacturer", "nvidia")
    part = count == 0  # of a card: EC2 counts no whole one
    products = _ec2_products(name, nominal) if maker == "nvidia" and not part else ()
    return Statement(
        source=source,
        vendor=maker if maker in _VENDORS else "unknown",
        products=products,
        unknown="" if products else f"a part of {_shown(name)}" if part else _shown(name),
        count=count or None,
        nominal_mib=nominal,
        selects=_selects(labels, (f"{prefix}name", f"{prefix}memory")),
        findings=tuple(findings),
    )


def _ec2_products(name: str, nominal_mib: int | None) -> tuple[str, ...]:
    """What EC2's name may be; where cards of two sizes have it, those of the nearer size."""
    rows = [row for row in _table()["ec2_gpus"]["rows"] if row["name"] == name]
    if nominal_mib is not None and len(rows) > 1:
        rows = [min(rows, key=lambda row: (abs(row["nominal_mib"] - nominal_mib), row["nominal_mib"]))]
    return tuple(product for row in rows for product in row["products"])


def _azure(labels: Mapping[str, str]) -> Statement | None:
    """Source: karpenter-provider-azure's labels. Whole cards and parts have one name: the size tells them apart."""
    name = labels.get(f"{_AZURE_GPU}name")
    if name is None:
        return None
    findings: list[Finding] = []
    kind = labels.get(INSTANCE_TYPE_LABEL, "")
    known = _instance_type_named(kind)
    maker = labels.get(f"{_AZURE_GPU}manufacturer", "nvidia").lower()
    products = (
        (known.products if known is not None else tuple(_table()["azure_gpus"]["products"].get(name, ()))) if maker == "nvidia" else ()
    )
    return Statement(
        source=Source.AZURE_KARPENTER,
        vendor=maker if maker in _VENDORS else "unknown",
        products=products,
        unknown="" if products else _shown(name),
        count=whole_number(labels, f"{_AZURE_GPU}count", findings),
        selects=_selects(labels, (f"{_AZURE_GPU}name", INSTANCE_TYPE_LABEL) if known is not None else (f"{_AZURE_GPU}name",)),
        findings=tuple(findings),
    )


def _aks(labels: Mapping[str, str]) -> Statement | None:
    """AKS says only whose GPU it is; which one, the instance type tells."""
    key = next((key for key in _AKS_ACCELERATOR if labels.get(key) in _VENDORS), None)
    return None if key is None else Statement(source=Source.AKS, vendor=labels[key])


def _alibaba(labels: Mapping[str, str]) -> Statement | None:
    """Source: Alibaba Cloud's ACK, labels of nodes with GPUs, which name a card as the driver does and its memory as 16276MiB."""
    name = labels.get(f"{_ALIBABA_GPU}name")
    if name is None:
        return None
    findings: list[Finding] = []
    known = PRODUCT.fullmatch(name) is not None
    memory = {"memory": labels.get(f"{_ALIBABA_GPU}mem", "").removesuffix("MiB")}
    return Statement(
        source=Source.ALIBABA,
        vendor="nvidia",
        products=(name,) if known else (),
        unknown="" if known else _shown(name),
        count=whole_number(labels, f"{_ALIBABA_GPU}count", findings),
        nominal_mib=whole_number(memory, "memory", []),
        selects=_selects(labels, (f"{_ALIBABA_GPU}name",)),
        findings=tuple(findings),
    )


def _coreweave(labels: Mapping[str, str]) -> Statement | None:
    """Source: CoreWeave's label selectors; `model` names the card and `class` once did.

    The domain is NVIDIA's, and people write such labels by hand elsewhere, in words of their own: read on CoreWeave's nodes alone.
    """
    key = next((key for key in (f"{_COREWEAVE_GPU}model", f"{_COREWEAVE_GPU}class") if key in labels), None)
    own = any(name.startswith(_COREWEAVE_OWN) for name in labels) or _COREWEAVE_TYPE.fullmatch(labels.get(INSTANCE_TYPE_LABEL, ""))
    if key is None or not own:
        return None
    findings: list[Finding] = []
    products = tuple(_table()["coreweave_gpus"]["products"].get(labels[key], ()))
    return Statement(
        source=Source.COREWEAVE,
        vendor="nvidia",
        products=products,
        unknown="" if products else _shown(labels[key]),
        count=whole_number(labels, f"{_COREWEAVE_GPU}count", findings),
        selects=_selects(labels, (key,)),
        findings=tuple(findings),
    )


def unknown_instance_type(labels: Mapping[str, str]) -> str:
    """The node's instance type where no table has it; empty where there is none, or it is known."""
    kind = labels.get(INSTANCE_TYPE_LABEL, "")
    return _shown(kind) if kind and _instance_type_named(kind) is None else ""


def _instance_type(labels: Mapping[str, str]) -> Statement | None:
    kind = labels.get(INSTANCE_TYPE_LABEL, "")
    found = _instance_type_named(kind)
    return None if found is None else replace(found, selects=((INSTANCE_TYPE_LABEL, kind),))


def _instance_type_named(kind: str) -> Statement | None:
    """Azure writes sizes in either case."""
    return _instance_types().get(kind.lower() if kind.lower().startswith("standard_") else kind)


def _whole_instance(labels: Mapping[str, str]) -> int | None:
    """GPUs of the instance type, for labels that name a GPU without their number."""
    found = _instance_type_named(labels.get(INSTANCE_TYPE_LABEL, ""))
    return None if found is None else found.count


def _selects(labels: Mapping[str, str], keys: tuple[str, ...]) -> Labels:
    """The labels that tell such nodes from others; none where a value could not be asked for in a nodeSelector."""
    given = tuple((key, labels[key]) for key in keys if key in labels)
    return given if all(PRODUCT.fullmatch(value) for _, value in given) else ()


def _shown(name: str) -> str:
    return name if PRODUCT.fullmatch(name) else "an unreadable name"


@cache
def _read(name: str) -> dict[str, Any]:
    text = resources.files("plimsoll_operator.capacity").joinpath("data", name).read_text(encoding="utf-8")
    table: dict[str, Any] = json.loads(text)
    return table


def _table() -> dict[str, Any]:
    return _read("clouds.json")


@cache
def _instance_types() -> dict[str, Statement]:
    """What the instance type alone says, by its name, Azure's in lower case."""
    found = {kind: _ec2_type(*row) for kind, row in _read("ec2.json")["types"].items()}
    for row in _table()["instance_types"]["rows"]:
        for kind, gpus in row["gpus"].items():
            name = kind.lower() if kind.startswith("Standard_") else kind
            found[name] = Statement(source=Source.INSTANCE_TYPE, vendor=row["vendor"], products=tuple(row["products"]), count=gpus)
    return found


def _ec2_type(maker: str, name: str, nominal_mib: int, count: int, _arch: str) -> Statement:
    """A type of a part of a card has no whole one."""
    products = _ec2_products(name, nominal_mib) if maker == "nvidia" and count else ()
    unknown = "" if products else name if count else f"a part of {name}"
    nominal = nominal_mib if products else None
    return Statement(
        source=Source.INSTANCE_TYPE, vendor=maker, products=products, unknown=unknown, count=count or None, nominal_mib=nominal
    )
