"""An engine whose roles are in etcd, configured as a user would."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from enum import IntEnum
from pathlib import Path
from typing import Literal

import pytest
from workflow_adaptertest.servers import Space
from workflow_core import Run, Workflow
from workflow_core.engine import Engine

LONG = timedelta(seconds=60)


class Status(IntEnum):
    CREATED = 1
    DONE = 2


@dataclass
class Order:
    total: int


orders = Workflow("orders", Order, Status, ends=(Status.DONE,))


@orders.step(Status.CREATED)
def finish(run: Run[Order, Status]) -> Literal[Status.DONE]:
    return Status.DONE


@pytest.mark.parametrize("kind", ["etcd", "rink"])
def test_engine_runs_workflows_with_its_roles_in_etcd_and_gives_them_up_at_its_stop(
    kind: str, etcd_space: Space, tmp_path: Path
) -> None:
    own = f'cluster = "{etcd_space.name}"' if kind == "rink" else f'prefix = "{etcd_space.name}"'
    file = tmp_path / "workflow.toml"
    file.write_text(
        '[workflow]\nrecord_store = "memory"\nevent_streamer = "memory"\n'
        f'role_scheduler = "{kind}"\n'
        f'[workflow.adapters.{kind}]\nendpoints = ["{etcd_space.url.bootstrap}"]\n{own}\n',
        encoding="utf-8",
    )
    for _ in range(2):  # the second one finds all roles free
        with Engine.from_config(file) as engine, engine.serving(orders):
            run_id = engine.trigger(orders, "order-1", Order(total=1))
            assert engine.wait_for(orders, run_id, Status.DONE, timeout=LONG).data.total == 1
