"""Every GPU that the clouds' own tables have: the pool that a node with its labels gives, or the doubt by name. And what is unknown."""

import json

import pytest
from tests.folders import DATA
from tools import extract_ec2

from plimsoll_estimator.hardware import known_gpus
from plimsoll_operator.capacity import DerivedPool
from plimsoll_operator.capacity.clouds import _instance_types, _read, _table
from plimsoll_operator.capacity.index import CapacityIndex

KARPENTER, AZURE, GKE = "karpenter.k8s.aws/instance-gpu-", "karpenter.azure.com/sku-gpu-", "cloud.google.com/gke-"
TYPE = "node.kubernetes.io/instance-type"
EC2 = _read("ec2.json")
# What has no row in the table of memory: nobody has measured it. Their nodes are doubted by name.
UNMEASURED = {"NVIDIA-GB300": "MemoryUnknown", "Tesla-P100-PCIE-16GB": "MemoryUnknown", "Tesla-P4": "MemoryUnknown"}


def pool_of(labels: dict[str, str], units: int, resource: str = "nvidia.com/gpu") -> DerivedPool:
    index = CapacityIndex()
    amounts = {"cpu": "96", "memory": "768Gi", "ephemeral-storage": "1Ti", "pods": "110", resource: str(units)}
    conditions = [{"type": "Ready", "status": "True"}]
    index.node_event("ADDED", {"metadata": {"name": "n", "labels": labels}, "status": {"allocatable": amounts, "conditions": conditions}})
    (pool,) = index.pools()
    return pool


def check(pool: DerivedPool, units: int) -> None:
    """A pool of so many GPUs with at most what the card has, or the one doubt that is expected of the product."""
    doubt = UNMEASURED.get(pool.key.product)
    assert set(pool.key.excluded_for) == ({doubt} if doubt else set()), pool.problems
    if not doubt:
        assert pool.free_gpus == units
        known = known_gpus().get(pool.key.product)
        assert known is None or pool.key.usable_memory_bytes <= known.total_memory_bytes


@pytest.mark.parametrize("kind", sorted(EC2["types"]))
def test_every_ec2_type_gives_a_pool_or_a_named_doubt(kind: str) -> None:
    maker, name, memory, count, _ = EC2["types"][kind]
    labels = {
        f"{KARPENTER}{key}": str(value) for key, value in (("name", name), ("manufacturer", maker), ("memory", memory), ("count", count))
    }
    both = [pool_of(found, count or 1, f"{maker}.com/gpu") for found in (labels | {TYPE: kind}, {TYPE: kind})]
    if maker == "amd":
        assert all("VendorUnsupported" in pool.key.excluded_for for pool in both)
    elif count == 0:  # a part of a card
        assert all(pool.key.excluded_for == ("UnknownProduct",) for pool in both)
        assert all(f"a part of {name}" in row.detail for pool in both for row in pool.problems)
    else:
        for pool in both:
            check(pool, count)
        assert both[0].key.product == both[1].key.product


@pytest.mark.parametrize("name", sorted(_table()["gke_accelerators"]["products"]))
def test_every_gke_accelerator_gives_a_pool_or_a_named_doubt(name: str) -> None:
    check(pool_of({f"{GKE}accelerator": name, f"{GKE}accelerator-count": "4"}, 4), 4)


AKS = json.loads((DATA / "aks_gpu_sizes.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("size", sorted(AKS["sizes"]))
def test_every_size_that_aks_has_a_driver_for_gives_a_pool_or_is_named_as_unknown(size: str) -> None:
    known = _instance_types().get(size)
    vendor = AKS["sizes"][size]
    labels = {"kubernetes.azure.com/accelerator": vendor, TYPE: size.replace("standard_", "Standard_")}
    count = known.count if known else 1
    assert count is not None
    pool = pool_of(labels, count, f"{vendor}.com/gpu")
    if vendor == "amd":
        assert "VendorUnsupported" in pool.key.excluded_for
    elif known is None:
        assert pool.key.excluded_for == ("NoProduct",)
        assert any(f"instance type {labels[TYPE]} is not in the shipped tables" in row.detail for row in pool.problems)
    else:
        check(pool, count)


@pytest.mark.parametrize("kind", sorted(kind for row in _table()["instance_types"]["rows"] for kind in row["gpus"]))
def test_every_other_instance_type_gives_a_pool_or_a_named_doubt(kind: str) -> None:
    known = _instance_types()[kind.lower() if kind.startswith("Standard_") else kind]
    assert known.count
    pool = pool_of({TYPE: kind}, known.count, f"{known.vendor}.com/gpu")
    if known.vendor == "amd":
        assert pool.key.excluded_for == ("VendorUnsupported",)
    else:
        check(pool, known.count)


@pytest.mark.parametrize("name", sorted(_table()["coreweave_gpus"]["products"]))
@pytest.mark.parametrize("key", ["model", "class"])
def test_every_gpu_that_coreweave_labels_gives_a_pool(name: str, key: str) -> None:
    check(pool_of({f"gpu.nvidia.com/{key}": name, "gpu.nvidia.com/count": "8", TYPE: "gd-8xh100ib-i128"}, 8), 8)


PRO = "NVIDIA-RTX-PRO-6000-Blackwell-Server-Edition"
FOUND = {"nvidia.com/gpu.product": PRO, "nvidia.com/gpu.count": "8", "nvidia.com/gpu.memory": "97887"}
MODEL, COUNT = "gpu.nvidia.com/model", "gpu.nvidia.com/count"
NOT_COREWEAVES = [  # why, labels, product, doubts
    ("a name that the table lacks is silence beside feature discovery", FOUND | {MODEL: "RTX_PRO_6000", TYPE: "rtxp6000-8x"}, PRO, ()),
    ("another card's name is not", FOUND | {MODEL: "B200", TYPE: "b200-8x"}, PRO, ("SourcesDisagree",)),
    ("on others' nodes nothing is made of it", FOUND | {MODEL: "H100", TYPE: "vast-8xh100"}, PRO, ()),
    ("nor where nobody else says what it is", {MODEL: "H100_NVLINK_80GB"}, "", ("NoProduct",)),
    ("on its own nodes the name is shown", {MODEL: "RTX_A4000", COUNT: "8", TYPE: "gd-8xa4000"}, "", ("UnknownProduct",)),
    ("its labels say whose it is", {MODEL: "L40S", COUNT: "8", "gpu.coreweave.cloud/vendor": "NVIDIA"}, "NVIDIA-L40S", ()),
    ("that of the type too", {MODEL: "GB200", COUNT: "8", "node.coreweave.cloud/type": "gb200-4x-l"}, "NVIDIA-GB200", ()),
    ("that of the CPU too", {MODEL: "L40", COUNT: "8", "node.coreweave.cloud/cpu": "intel-xeon-v4"}, "NVIDIA-L40", ()),
]  # fmt: skip


@pytest.mark.parametrize(("why", "labels", "product", "doubts"), NOT_COREWEAVES, ids=[row[0] for row in NOT_COREWEAVES])
def test_labels_of_nvidias_domain_are_coreweaves_on_its_nodes_alone(
    why: str, labels: dict[str, str], product: str, doubts: tuple[str, ...]
) -> None:
    pool = pool_of(labels, 8)
    assert (pool.key.product, tuple(row.problem.value for row in pool.problems)) == (product, doubts)
    assert doubts or not pool.problems


@pytest.mark.parametrize(("ours", "theirs"), [("NVIDIA-A100-SXM4-80GB", "A100-SXM4-80GB"), ("A100-SXM4-80GB", "NVIDIA-A100-SXM4-80GB")])
def test_two_names_that_drivers_gave_one_card_are_no_disagreement(ours: str, theirs: str) -> None:
    labels = {"nvidia.com/gpu.product": ours, "nvidia.com/gpu.count": "8", "nvidia.com/gpu.memory": "81920"}
    pool = pool_of(labels | {f"{ALIBABA}name": theirs, f"{ALIBABA}count": "8"}, 8)
    assert not pool.problems


ALIBABA = "aliyun.accelerator/nvidia_"
ALIBABA_LABELS = [  # why, labels, units, product, doubts
    ("a card of the table", {"name": "Tesla-V100-SXM2-16GB", "count": "8", "mem": "16276MiB"}, 8, "Tesla-V100-SXM2-16GB", ()),
    ("a card that no table has, by its memory", {"name": "Tesla-P100-PCIE-16GB", "count": "2", "mem": "16276MiB"}, 2,
     "Tesla-P100-PCIE-16GB", ()),
    ("without it", {"name": "Tesla-P100-PCIE-16GB", "count": "2"}, 2, "Tesla-P100-PCIE-16GB", ("MemoryUnknown",)),
    ("a memory that is another card's", {"name": "NVIDIA-A10", "count": "1", "mem": "81251MiB"}, 1, "NVIDIA-A10",
     ("MemoryContradictsProduct",)),
    ("shared, which no label says", {"name": "NVIDIA-A10", "count": "1"}, 4, "NVIDIA-A10", ("MixedProducts",)),
    ("a name that is none", {"name": "a/b", "count": "1"}, 1, "", ("UnknownProduct",)),
]  # fmt: skip


@pytest.mark.parametrize(("why", "own", "units", "product", "doubts"), ALIBABA_LABELS, ids=[row[0] for row in ALIBABA_LABELS])
def test_alibaba_labels_cards_as_the_driver_names_them(
    why: str, own: dict[str, str], units: int, product: str, doubts: tuple[str, ...]
) -> None:
    pool = pool_of({f"{ALIBABA}{key}": value for key, value in own.items()}, units)
    assert (pool.key.product, pool.key.excluded_for) == (product, doubts)


AZURE_LABELS = [  # why, labels, units, product or None, doubts
    ("a name that is one card's", {"name": "T4", "manufacturer": "nvidia", "count": "1"}, {}, 1, "Tesla-T4", ()),
    ("of two cards the smaller holds", {"name": "H100", "manufacturer": "nvidia", "count": "8"}, {}, 8, "NVIDIA-H100-80GB-HBM3", ()),
    ("the size tells them apart", {"name": "H100", "manufacturer": "nvidia", "count": "2"}, {TYPE: "Standard_NC80adis_H100_v5"}, 2,
     "NVIDIA-H100-NVL", ()),
    ("in either case", {"name": "A10", "count": "1"}, {TYPE: "standard_nv36ads_a10_v5"}, 1, "NVIDIA-A10", ()),
    ("a part of a card has its card's name", {"name": "A10", "count": "1"}, {TYPE: "Standard_NV6ads_A10_v5"}, 1, "", ("UnknownProduct",)),
    ("without their number", {"name": "T4"}, {}, 4, "Tesla-T4", ("CountUnknown",)),
    ("AMD's", {"name": "MI300X", "manufacturer": "amd", "count": "8"}, {}, 8, "", ("NoProduct",)),
]  # fmt: skip


@pytest.mark.parametrize(("why", "own", "more", "units", "product", "doubts"), AZURE_LABELS, ids=[row[0] for row in AZURE_LABELS])
def test_karpenter_on_azure_has_labels_of_its_own(
    why: str, own: dict[str, str], more: dict[str, str], units: int, product: str, doubts: tuple[str, ...]
) -> None:
    pool = pool_of({f"{AZURE}{key}": value for key, value in own.items()} | more, units)
    assert (pool.key.product, pool.key.excluded_for) == (product, doubts)


def test_the_tables_say_when_they_were_read() -> None:
    parts = [_read("ec2.json"), AKS, *(_table()[part] for part in ("gke_accelerators", "ec2_gpus", "azure_gpus", "instance_types"))]
    assert all(part["date"] >= "2026-08" for part in parts)
    assert all(part.get("source") or part["evidence"] for part in parts)


def test_the_table_of_ec2_is_what_the_tool_reads_off_the_page() -> None:
    page = """
### `g9.xlarge`
#### Labels
 | Label | Value |
 |--|--|
 |karpenter.k8s.aws/instance-gpu-count|2|
 |karpenter.k8s.aws/instance-gpu-manufacturer|nvidia|
 |karpenter.k8s.aws/instance-gpu-memory|65536|
 |karpenter.k8s.aws/instance-gpu-name|z9|
 |kubernetes.io/arch|arm64|
#### Resources
 | Resource | Quantity |
 |nvidia.com/gpu|2|
### `m9.large`
 |kubernetes.io/arch|amd64|
"""
    types = extract_ec2.types_of(page)
    assert types == {"g9.xlarge": ("nvidia", "z9", 65536, 2, "arm64")}
    assert json.loads(extract_ec2.document(types, "s", "2026-01-01"))["types"] == {"g9.xlarge": ["nvidia", "z9", 65536, 2, "arm64"]}
    shipped = {kind: tuple(row) for kind, row in EC2["types"].items()}
    text = extract_ec2.document(shipped, EC2["source"], EC2["date"])
    assert text == extract_ec2.TABLE.read_text(encoding="utf-8")
