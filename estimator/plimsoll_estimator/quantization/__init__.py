"""How a checkpoint stores its weights: methods, forms, and which modules a method leaves out.

`weights` asks `methods.method_for` once a model, `layers.rank` the method for each module. Knows no model line.
"""

from __future__ import annotations
