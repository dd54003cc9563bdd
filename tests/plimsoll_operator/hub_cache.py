"""A model as the hub's own client keeps it on a disk: blobs, links of one commit, and names of branches."""

from pathlib import Path
from typing import Final

from tests.plimsoll_operator.checkpoints import write_checkpoint

COMMIT: Final = "0123456789abcdef0123456789abcdef01234567"


def cache_of(folder: Path, model: str = "acme/in-house", *, refs: tuple[str, ...] = ("main", "v2", "refs/pr/1")) -> Path:
    """The model's folder in the cache at `folder`, whose snapshot links to blobs as huggingface_hub makes it."""
    home = folder / f"models--{model.replace('/', '--')}"
    write_checkpoint(home / "blobs")
    snapshot = home / "snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    for blob in (home / "blobs").iterdir():
        (snapshot / blob.name).symlink_to(Path("..", "..", "blobs", blob.name))
    for ref in refs:
        path = home / "refs" / ref
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(COMMIT)
    return home
