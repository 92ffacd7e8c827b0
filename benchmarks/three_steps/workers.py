"""Serving processes beside a client: `python -m three_steps.workers SETTINGS` is one of them."""

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager

from workflow_core import Engine
from workflow_core.discovery import Config
from workflow_core.engine.settings import EngineSettings
from workflow_ctl.tuning import tuned

from three_steps import measure
from three_steps.flow import orders

Settings = Mapping[str, object]


def open_engine(settings: Settings) -> Engine:
    """An engine as the settings say, and nothing else: no file, no environment."""
    config = Config.load(environ={}, overrides=settings, sections={"engine": EngineSettings})
    return Engine(config.build(), settings=config.section("engine", EngineSettings))


def tell_burst(settings: Settings, workers: int, runs: int) -> None:
    """A burst that so many processes serve, and this one begins and waits for."""
    with open_engine(settings) as client, serving(settings, workers):
        measure.burst(client, 100, name="warm")
        done = measure.burst(client, runs)
        print(
            f"burst     {done.runs_per_second:,.0f} runs/s,"
            f" {done.transitions_per_second:,.0f} transitions/s:"
            f" {workers} serving processes and a client",
            flush=True,
        )


@contextmanager
def serving(settings: Settings, count: int) -> Iterator[None]:
    """So many processes, from when all have said that they serve to the end of the block."""
    with ExitStack() as stack:
        started = [
            stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-m", "three_steps.workers", json.dumps(dict(settings))],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                )
            )
            for _ in range(count)
        ]
        for process in started:
            assert process.stdout is not None
            process.stdout.readline()
        yield
        for process in started:
            assert process.stdin is not None
            process.stdin.close()


def main() -> None:
    with open_engine(json.loads(sys.argv[1])) as engine, engine.serving(orders), tuned():
        print("serving", flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
