"""The command on a real PostgreSQL: tables, two processes, a callback, a probe."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from workflow_adaptertest.servers import Space
from workflow_ctl.exits import Exit

if TYPE_CHECKING:
    from tests.conftest import Shop

CONFIG = """
[workflow]
record_store = "sql"
event_streamer = "sql"
role_scheduler = "sql"
timeout_store = "sql"

[workflow.adapters.sql]
url = "{url}"
"""


def test_processes_share_the_work_on_a_server(shop: Shop, postgres_space: Space) -> None:
    Path("workflow.toml").write_text(CONFIG.format(url=postgres_space.url))
    here = ["--config", "workflow.toml"]
    app = ["--app", "ctl_shop:orders"]
    shop.run("db", "current", *here, code=Exit.NO)
    shop.run("db", "upgrade", *here)
    assert "PostgreSQL" in shop.run("check", *here).out
    process = shop.start("run", "ctl_shop", "-n", "2", *here, told=Path("err"))
    run_ids = [
        shop.run(
            "trigger", "orders", f"order-{n}", "--data", '{"total": 5}', *here, *app
        ).out.strip()
        for n in range(4)
    ]
    for run_id in run_ids:
        shop.run("callback", run_id, "paid", "--payload", '"r"', "--wait", "120s", *here, *app)

    def ended() -> bool:
        runs = shop.run("runs", "list", "--state", "completed", "--json", *here).json["runs"]
        return {run["run_id"] for run in runs} == set(run_ids)

    shop.until(ended, "that all have ended")
    process.terminate()
    assert process.wait(timeout=60) == Exit.OK
