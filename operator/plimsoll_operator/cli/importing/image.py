"""Which release of vLLM an image holds, as far as a name can tell: vLLM's own tag, a known builder's, the user's word, or an assumption.

Called by `server`. Pure; asks no registry.
"""

from __future__ import annotations

from typing import Final

from plimsoll_estimator import NEWEST_KNOWN, OLDEST_KNOWN, EngineVersion, InvalidInput
from plimsoll_operator.api.inference_deployment import image_tag_version
from plimsoll_operator.cli.importing.draft import Draft
from plimsoll_operator.cli.importing.resources import refuse_other_builds

NO_IMAGE: Final = "no image is in the file"
_BUILDERS: Final = {
    ("ghcr.io/llm-d/llm-d-cuda", "v0.8.0"): "0.23.0",
}
"""Images of others whose tag counts their own releases, with the vLLM that is in them."""


def lay_image(draft: Draft, image: str | None, source: str, missing: str = NO_IMAGE) -> EngineVersion:
    """Put image and release; what the file does not tell is assumed, and said. Returns the release that arguments are read by.

    `missing`: why there is no image where there is none.
    Raises InvalidInput of an image that is built for no GPU of NVIDIA's.
    """
    chosen = draft.choices.image or image
    if chosen is None:
        chosen = f"vllm/vllm-openai:v{draft.choices.version or NEWEST_KNOWN}"
        draft.assume(source, f"{missing}, {chosen} is put in: name yours with --image, and its release with --engine-version")
    refuse_other_builds(chosen, source)
    draft.put("spec.engine.image", chosen, source)
    told = image_tag_version(chosen)
    if told is not None:
        return _readable(told, source)
    name = chosen.partition("@")[0]
    repository, _, tag = name.rpartition(":") if ":" in name.rpartition("/")[2] else (name, "", "")
    version = draft.choices.version or _BUILDERS.get((repository, tag))
    if version is None:
        version = str(NEWEST_KNOWN)
        tells = f"the tag {tag} of {repository}" if tag else f"{repository} without a tag"
        draft.assume(source, f"{tells} tells no release of vLLM, {version} is put in: say the one in the image with --engine-version")
    draft.put("spec.engine.version", version, source)
    return _readable(version, source)


def _readable(text: str, source: str) -> EngineVersion:
    """The release whose flags are read: of one before the oldest known, that one's."""
    try:
        return max(EngineVersion.parse(text), OLDEST_KNOWN)
    except InvalidInput as error:
        raise InvalidInput(source, error.value, error.limit) from error
