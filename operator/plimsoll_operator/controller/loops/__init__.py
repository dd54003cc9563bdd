"""What the controller's loops are made of: a queue of keys, one turn of it, the border that a bug stops at, and restraint under load.

Knows no kind of object.
"""
