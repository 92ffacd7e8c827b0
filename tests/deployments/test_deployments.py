"""Each deployment of examples/deployments is run: the readme's commands, restarts under load."""

from __future__ import annotations

import configparser
import re
import shlex
import tomllib
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner
from workflow_core.discovery import Config
from workflow_ctl.app import cli
from workflow_ctl.exits import Exit

from tests.deployments.conftest import FOLDER, judge

if TYPE_CHECKING:
    from tests.deployments.conftest import Deployment, Environ, Servers

Deploy = Callable[[str, "Environ"], "Deployment"]

README = (FOLDER / "README.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)
# How long a killed process is missed. The files say ten seconds, and those are the tests'.
QUICK = {
    "WORKFLOW_SQL__ROLE_LEASE": "5s",
    "WORKFLOW_KAFKA__SESSION_TIMEOUT": "6s",
    "WORKFLOW_ETCD__LEASE": "5s",
}
EMBEDDED = {name: it for name, it in QUICK.items() if "SQL" in name}
SERVERS = {name: it for name, it in QUICK.items() if "SQL" not in name}


def block(file: str) -> str:
    """The readme's commands for this file."""
    (found,) = [it for it in BLOCK.findall(README) if f"WORKFLOW_CONFIG={file}" in it]
    return str(found)


@pytest.mark.parametrize("file", ["development.toml", "embedded.toml"])
def test_commands_of_the_readme_work_without_a_server(file: str, deploy: Deploy) -> None:
    """Seen to fail with a file that names no streamer."""
    assert "20 orders shipped" in deploy(file, {}).run(block(file))


def test_commands_of_the_readme_work_with_four_servers(deploy: Deploy, servers: Servers) -> None:
    """Seen to fail without `workflow db upgrade`."""
    told = deploy("production.toml", servers("postgres", kafka="kafka_cluster")).run(
        block("production.toml")
    )
    assert told.count("20 orders shipped") == 2
    assert "rolling restart" in told


def roll(deployment: Deployment) -> None:
    """Two workers, restarted one after the other while orders come in; then one is killed."""
    deployment.upgrade()
    workers = [deployment.start(), deployment.start()]
    for worker in workers:
        worker.wait_serving()
    with deployment.customer() as customer:
        with customer.ordering():
            customer.see_progress()
            for place, worker in enumerate(workers):
                worker.stop()
                customer.see_progress()
                workers[place] = deployment.start()
                workers[place].wait_serving()
                customer.see_progress()
        judge(customer.see_all_end(), killed=False)
        with customer.ordering():
            customer.see_progress()
            workers[0].kill()
            customer.see_progress()
            workers[0] = deployment.start()
            workers[0].wait_serving()
        judge(customer.see_all_end(), killed=True)
    for worker in workers:
        worker.stop()


def test_embedded_goes_through_restarts_under_load(deploy: Deploy) -> None:
    """Seen to fail when a stop abandons what is in hand at once (`stop_grace = "0s"`), and when a
    process took its own work for a vanished one's as it began to read other parts.
    """
    roll(deploy("embedded.toml", {}))


@pytest.mark.parametrize(
    ("file", "database", "kafka"),
    [("staging.toml", "postgres", "kafka"), ("production.toml", "mysql", "kafka_cluster")],
)
def test_four_servers_go_through_restarts_under_load(
    file: str, database: str, kafka: str, deploy: Deploy, servers: Servers
) -> None:
    """Production's file with three brokers, as its copies are three."""
    roll(deploy(file, {**SERVERS, **servers(database, kafka=kafka)}))


# -- what stands beside the files -----------------------------------------------------------------


def variables() -> dict[str, str]:
    lines = (FOLDER / "environment.example").read_text(encoding="utf-8").splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


@pytest.mark.parametrize("file", ["staging.toml", "production.toml"])
def test_example_of_an_environment_is_all_that_the_file_needs(file: str) -> None:
    """Seen to fail when a variable of the file was missing there."""
    config = Config.load(FOLDER / file, environ=variables())
    shown = {value.key: str(value.value) for value in config.values()}
    assert "password" not in "".join(shown.values())
    assert shown["adapters.kafka.bootstrap_servers"].count("kafka-") == 3


def test_staging_has_the_adapters_of_production() -> None:
    """Seen to fail with another timeout store in one of them."""
    ports = ("record_store", "event_streamer", "role_scheduler", "timeout_store")
    chosen = []
    for file in ("staging.toml", "production.toml"):
        config = Config.load(FOLDER / file, environ=variables())
        chosen.append({it.key: it.value for it in config.values() if it.key in ports})
    assert chosen[0] == chosen[1]
    assert len(chosen[0]) == len(ports)


def test_unit_for_systemd_runs_what_there_is_and_waits_long_enough() -> None:
    """Seen to fail with an option that the command has not, and with a shorter wait."""
    unit = configparser.ConfigParser(interpolation=None)
    unit.optionxform = str  # type: ignore[assignment,method-assign]  # its keys have capitals
    unit.read(FOLDER / "workflow.service", encoding="utf-8")
    service = unit["Service"]
    program, *words = shlex.split(service["ExecStart"])
    assert program.endswith("/workflow")
    done = CliRunner().invoke(cli, [*words, "--help"])
    assert done.exit_code == 0, done.output
    assert CliRunner().invoke(cli, [*words[:1], "--no-such"]).exit_code == Exit.USAGE
    grace = {
        tomllib.loads((FOLDER / file).read_text(encoding="utf-8"))["workflow"]["engine"][
            "stop_grace"
        ]
        for file in ("staging.toml", "production.toml")
    }
    assert grace
    assert all(float(it.removesuffix("s")) + 10 < int(service["TimeoutStopSec"]) for it in grace)
    assert service["KillMode"] == "mixed"  # else children are told twice, which ends them at once
    assert service["ExecReload"].split()[1:] == ["-HUP", "$MAINPID"]
    fatal = {int(code) for code in service["RestartPreventExitStatus"].split()}
    assert fatal == {int(Exit.NO), int(Exit.USAGE)}
