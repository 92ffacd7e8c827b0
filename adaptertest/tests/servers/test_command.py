"""The command `scripts/services`, as a person or a script uses it."""

import signal
import sys
from pathlib import Path

import pytest
from workflow_adaptertest.servers import Fleet
from workflow_adaptertest.servers.__main__ import main
from workflow_adaptertest.servers.processes import find, wait_until_gone

SHOW = "import os, sys; print(os.environ['WORKFLOW_TEST_REDIS_URL']); sys.exit(7)"


def services(fleet: Fleet, *words: str) -> int:
    return main(["--folder", str(fleet.folder), *words])


def test_started_server_is_told_and_stays_until_it_is_stopped(
    fleet: Fleet, capsys: pytest.CaptureFixture[str]
) -> None:
    assert services(fleet, "start", "redis") == 0
    assert services(fleet, "start", "redis") == 0
    capsys.readouterr()
    assert services(fleet, "status", "redis") == 0
    assert capsys.readouterr().out.startswith("redis: up, 7.")
    assert services(fleet, "urls") == 0
    assert capsys.readouterr().out.splitlines() == [
        f"export WORKFLOW_TEST_SERVERS={fleet.folder}",
        f"export WORKFLOW_TEST_REDIS_URL={fleet.url('redis')}",
    ]
    assert services(fleet, "stop", "etcd") == 0
    assert fleet.is_up("redis")
    assert services(fleet, "stop") == 0
    assert services(fleet, "stop") == 0
    assert services(fleet, "status", "redis") == 0
    assert "redis: installed, not started" in capsys.readouterr().out


def test_status_tells_a_dead_server(fleet: Fleet, capsys: pytest.CaptureFixture[str]) -> None:
    services(fleet, "start", "redis")
    process = find(fleet.nodes("redis")[0].note)
    assert process is not None
    process.send(signal.SIGKILL)
    assert wait_until_gone([process], seconds=30)
    services(fleet, "status", "redis")
    assert "redis: DOWN" in capsys.readouterr().out


def test_run_lends_servers_to_a_command_and_answers_its_code(
    fleet: Fleet, capfd: pytest.CaptureFixture[str]
) -> None:
    assert services(fleet, "run", "redis", "--", sys.executable, "-c", SHOW) == 7
    assert capfd.readouterr().out.startswith("redis://127.0.0.1:")
    assert fleet.entries() == {}


def test_run_leaves_out_what_is_not_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("WORKFLOW_TEST_REDIS_URL", raising=False)
    look = "import os, sys; sys.exit('WORKFLOW_TEST_REDIS_URL' in os.environ)"
    fleet = Fleet(tmp_path / "fleet")
    assert services(fleet, "run", "redis", "--", sys.executable, "-c", look) == 0


@pytest.mark.parametrize(
    ("words", "said"), [(["start", "rediss"], "no server 'rediss'"), (["run"], "needs a command")]
)
def test_mistake_is_told_in_a_sentence(
    words: list[str], said: str, fleet: Fleet, capsys: pytest.CaptureFixture[str]
) -> None:
    assert services(fleet, *words) == 1
    assert said in capsys.readouterr().err
