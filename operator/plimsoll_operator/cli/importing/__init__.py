"""Manifests that were written for something else, as InferenceDeployments: what `plimsoll import` prints and `plimsoll plan` answers about.

A pure translator for each format (`registry`), all of which fill a `draft` by way of `server`; what could not be carried over is a value
beside the manifest. Opens no file, asks no cluster, decides nothing.
"""

from plimsoll_operator.cli.importing.draft import Choices, Imported, Note
from plimsoll_operator.cli.importing.read import Others
from plimsoll_operator.cli.importing.registry import FORMATS, Outcome, import_object, import_objects, known_formats

__all__ = ["FORMATS", "Choices", "Imported", "Note", "Others", "Outcome", "import_object", "import_objects", "known_formats"]
