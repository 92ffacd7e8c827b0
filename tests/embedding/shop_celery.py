"""A Celery application whose engine is made before the pool's processes are forked.

`SHOP_DATABASE` names the SQLite file, `SHOP_QUEUE` a folder for tasks and their results. Each
process of the pool serves, with an engine of its own that Celery's signals make and close, and
triggers and waits with the one of the parent.
"""

from __future__ import annotations

import json
import os
from datetime import timedelta
from pathlib import Path
from typing import Any

import shop  # type: ignore[import-not-found]  # from beside this file
from celery import Celery
from celery.signals import worker_process_init, worker_process_shutdown
from workflow_core import Engine
from workflow_core.errors import ServingError

queue = Path(os.environ["SHOP_QUEUE"])
for folder in ("tasks", "taken", "results"):
    (queue / folder).mkdir(parents=True, exist_ok=True)

app = Celery(
    "shop_celery",
    broker="filesystem://",
    backend=f"file://{queue / 'results'}",
    broker_transport_options={
        "data_folder_in": str(queue / "tasks"),
        "data_folder_out": str(queue / "tasks"),
        "control_folder": str(queue / "taken"),
        "polling_interval": 0.02,
    },
    worker_prefetch_multiplier=1,
)

own: list[Engine] = []
"""What a process of the pool has made for itself."""


def begin(**_: Any) -> None:
    try:
        shop.engine.serving(shop.orders)
    except ServingError as error:
        print(f"the parent's engine: {error}", flush=True)
    own.append(Engine.embedded(os.environ["SHOP_DATABASE"]))
    own[0].serving(shop.orders).start()


def end(**_: Any) -> None:
    own.pop().close()
    print("its engine is closed", flush=True)


def order(name: str) -> list[int]:
    """Orders what is named, waits until it is packed, and says by whom and for whom."""
    run_id = shop.engine.trigger(shop.orders, name, shop.Order())
    packed = shop.engine.wait_until_ended(shop.orders, run_id, timedelta(seconds=30))
    return [packed.data.packed_by, os.getpid()]


worker_process_init.connect(begin)
worker_process_shutdown.connect(end)
task = app.task(order)


def main() -> None:
    """Orders until each of two processes has answered, and says all answers."""
    answers: list[list[int]] = []
    while len({asked for _, asked in answers}) < 2 and len(answers) < 200:
        rounds = [task.delay(f"order {len(answers)}-{number}") for number in range(8)]
        answers += [each.get(timeout=60, interval=0.02) for each in rounds]
    print(json.dumps(answers))


if __name__ == "__main__":
    main()
