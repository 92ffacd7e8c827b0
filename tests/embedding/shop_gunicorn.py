"""gunicorn's configuration for the shop."""

from __future__ import annotations

import os
from typing import Any

from workflow_core import Engine
from workflow_core.errors import ServingError

preload_app = True
workers = 2


def post_fork(arbiter: Any, worker: Any) -> None:
    """In the worker, right after the fork."""
    import shop  # type: ignore[import-not-found]  # loaded by then, from beside this file

    try:
        shop.engine.serving(shop.orders)
    except ServingError as error:
        worker.log.info("the parent's engine: %s", error)
    worker.engine = Engine.embedded(os.environ["SHOP_DATABASE"])
    worker.serving = worker.engine.serving(shop.orders).start()


def worker_exit(arbiter: Any, worker: Any) -> None:
    """In the worker, before it ends."""
    worker.engine.close()
