"""An engine made before Celery forks its pool."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent


def test_engine_works_behind_celerys_prefork(tmp_path: Path) -> None:
    """Two processes of a real pool; each triggers with the parent's engine, serves with its own.

    Both have answered, what one triggered the other may have packed, and all end in order. Seen to
    fail where a child begins nothing anew of what it inherits, and where `serving` is not refused
    there.
    """
    log = tmp_path / "log"
    environment = {
        **os.environ,
        "SHOP_DATABASE": str(tmp_path / "shop.db"),
        "SHOP_QUEUE": str(tmp_path / "queue"),
        "PYTHONUNBUFFERED": "1",
    }
    options = ["worker", "--pool", "prefork", "--concurrency", "2", "--loglevel", "info"]
    quiet = ["--without-gossip", "--without-mingle", "--without-heartbeat"]
    command = [sys.executable, "-m", "celery", "--app", "shop_celery", *options, *quiet]
    with log.open("w") as told:
        worker = subprocess.Popen(command, cwd=HERE, env=environment, stdout=told, stderr=told)
    try:
        client = subprocess.run(
            [sys.executable, "shop_celery.py"],
            cwd=HERE,
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
    finally:
        worker.terminate()
        code = worker.wait(60)
    said = log.read_text()
    assert client.returncode == 0, client.stderr + said
    answers = json.loads(client.stdout)
    assert len({asked for _, asked in answers}) == 2, answers
    assert {packed for packed, _ in answers} <= {asked for _, asked in answers}
    assert worker.pid not in {process for answer in answers for process in answer}
    assert code == 0, said
    assert said.count("the parent's engine: this engine was made in process") == 2
    assert said.count("its engine is closed") == 2, said
    assert "Traceback" not in said, said
