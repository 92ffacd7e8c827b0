"""A process that serves one workflow over the SQL adapters until its input is closed.

Its arguments are the database's URL, how it is called, and its pool. It says ``serving`` once it
does, and for each line that comes in what its health tells of as problems, as JSON.
"""

import json
import sys
from dataclasses import dataclass
from enum import IntEnum
from typing import Literal

from workflow_core import Engine, Run, Workflow


class Status(IntEnum):
    BEGUN = 1
    DONE = 2


@dataclass
class Nothing:
    pass


flow = Workflow("flow", Nothing, Status, ends=(Status.DONE,))


@flow.step(Status.BEGUN)
def end(run: Run[Nothing, Status]) -> Literal[Status.DONE]:
    return Status.DONE


def engine(url: str, called: str) -> Engine:
    """Over the SQL adapters; its leases end soon, and its beats are many."""
    settings: dict[str, object] = {
        "record_store": "sql",
        "event_streamer": "sql",
        "role_scheduler": "sql",
        "adapters.sql.url": url,
        "adapters.sql.role_lease": "1s",
        "engine.beat_every": "300ms",
        "engine.code_version": called,
    }
    return Engine.from_config(environ={}, overrides=settings)


if __name__ == "__main__":
    url, called, pool = sys.argv[1:]
    with engine(url, called) as here, here.serving(flow, pool=pool, statuses=[Status.BEGUN]):
        print("serving", flush=True)
        for _ in sys.stdin:
            print(json.dumps(list(here.health().problems)), flush=True)
