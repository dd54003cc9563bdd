"""What is decided about one deployment in one look: what was read of it, the verdict, what follows, and a better plan where there is one.

Called by the reconciler in its one serial step. Makes no request and writes nothing.
"""
