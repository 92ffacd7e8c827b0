"""A process that serves one workflow over the SQL adapters until its input is closed.

Its arguments are the database's URL and how it is called. It says ``serving`` once it does.
"""

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
    with engine(sys.argv[1], sys.argv[2]) as serving, serving.serving(flow):
        print("serving", flush=True)
        sys.stdin.read()
