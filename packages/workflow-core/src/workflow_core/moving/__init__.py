"""Moving all that a record store and a timeout store hold to others, through the ports alone.

`copy` works while the old stores still serve; `switch`, with nobody serving, brings over what has
changed since, and compares the two sides. What is there already and is the same is left alone, so
both may be interrupted at any moment and called again. `switch_timers` does it with the timers
alone. `plan` and `served` look before anything is written.
"""

from workflow_core.moving.digest import Digest, digest_of
from workflow_core.moving.moves import copy, switch, switch_timers
from workflow_core.moving.planning import Plan, plan, served
from workflow_core.moving.progress import Progress
from workflow_core.moving.stores import Stores

__all__ = [
    "Digest",
    "Plan",
    "Progress",
    "Stores",
    "copy",
    "digest_of",
    "plan",
    "served",
    "switch",
    "switch_timers",
]
