"""Counts what a transition costs where nobody observes, beside code without a trace of observers.

Three builds, each in a process of its own: `bare`, of which each question whether somebody observes
is cut out of the source as it is imported; `off`, the code as it is; `observed`, the same with an
observer that does nothing. Bytecode instructions and calls are counted exactly, whatever else the
machine does; CPU time is measured too, in interleaved rounds.
"""

import argparse
import ast
import json
import random
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from statistics import median
from types import CodeType, FrameType, ModuleType
from typing import Any

BUILDS = ("bare", "off", "observed")
WRITES = 4  # of a run: its trigger, and three steps


class Bare(ast.NodeTransformer):
    """Cuts out what is done, or asked, about observers, as if there never were any."""

    def __init__(self) -> None:
        self.cut = 0

    def visit_If(self, node: ast.If) -> ast.AST | list[ast.stmt]:
        self.generic_visit(node)
        answer = _answer(node.test)
        if answer is None:
            return node
        self.cut += 1
        return (node.body if answer else node.orelse) or ast.Pass()

    def visit_IfExp(self, node: ast.IfExp) -> ast.AST:
        self.generic_visit(node)
        answer = _answer(node.test)
        if answer is None:
            return node
        self.cut += 1
        return node.body if answer else node.orelse


def _answer(test: ast.expr) -> bool | None:
    """What is always so where nobody observes; None: it is no question about observers."""
    if isinstance(test, ast.BoolOp):
        answers = [_answer(value) for value in test.values]
        decides = isinstance(test.op, ast.Or)
        return decides if decides in answers else None
    match test:
        case ast.Compare(left=left, ops=[ast.Is() | ast.IsNot() as how], comparators=[nothing]):
            is_none = isinstance(nothing, ast.Constant) and nothing.value is None
            if is_none and ast.unparse(left).endswith("observers"):
                return isinstance(how, ast.Is)
    return None


class _Cutter(SourceFileLoader):
    cut = 0

    def get_code(self, fullname: str) -> CodeType:
        bare = Bare()
        tree = ast.fix_missing_locations(bare.visit(ast.parse(self.get_data(self.path))))
        _Cutter.cut += bare.cut
        return compile(tree, self.path, "exec")


class _Finder(MetaPathFinder):
    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if not fullname.startswith("workflow_core.engine"):
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and isinstance(spec.loader, SourceFileLoader):
            spec.loader = _Cutter(spec.loader.name, spec.loader.path)
        return spec


class Counter:
    """Of bytecode instructions and of calls, on this thread."""

    def __init__(self) -> None:
        self.instructions = 0
        self.calls = 0

    def count(self, work: Callable[[], object]) -> None:
        sys.settrace(self._enter)
        sys.setprofile(self._call)
        try:
            work()
        finally:
            sys.setprofile(None)
            sys.settrace(None)

    def _enter(self, frame: FrameType, what: str, argument: Any) -> Any:
        frame.f_trace_lines = False
        frame.f_trace_opcodes = True
        return self._step

    def _step(self, frame: FrameType, what: str, argument: Any) -> Any:
        self.instructions += what == "opcode"
        return self._step

    def _call(self, frame: FrameType, what: str, argument: Any) -> None:
        self.calls += what in {"call", "c_call"}


def measure(build: str, runs: int, rounds: int) -> None:
    """Tells counts and seconds of CPU, of a write, as a line of JSON for each round."""
    if build == "bare":
        sys.meta_path.insert(0, _Finder())
    from three_steps.flow import Order, orders
    from workflow_core import Engine
    from workflow_core.definition import Trigger
    from workflow_core.ports import Observer
    from workflow_core.testing import Driver, FakeClock

    observers = [Observer()] if build == "observed" else []
    clock = FakeClock()
    engine = Engine.in_memory(clock=clock, observers=observers, entropy=random.Random(1))
    with Driver(engine, clock=clock) as driver:
        driver.serve(orders)
        done = 0

        def burst(count: int) -> None:
            nonlocal done
            triggers = [Trigger(f"r-{done + number}", Order(1)) for number in range(count)]
            done += count
            engine.trigger_many(orders, triggers)
            driver.advance(timedelta(seconds=1))

        burst(runs)
        counter = Counter()
        counter.count(lambda: burst(runs))
        writes = runs * WRITES
        counts = {"instructions": counter.instructions / writes, "calls": counter.calls / writes}
        print(json.dumps({**counts, "cut": _Cutter.cut}), flush=True)
        for _ in range(rounds):
            sys.stdin.readline()
            began = time.process_time()
            burst(runs)
            print(json.dumps((time.process_time() - began) / writes), flush=True)


def compare(runs: int, rounds: int) -> None:
    """The builds' rounds one after the other, so that what else goes on strikes all alike."""
    options = ["--runs", str(runs), "--rounds", str(rounds)]
    processes = {
        build: subprocess.Popen(
            [sys.executable, "-m", "observer_cost", "--build", build, *options],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for build in BUILDS
    }
    counts = {build: json.loads(_line(process)) for build, process in processes.items()}
    seconds: dict[str, list[float]] = {build: [] for build in BUILDS}
    for _ in range(rounds):
        for build, process in processes.items():
            assert process.stdin is not None
            process.stdin.write("\n")
            process.stdin.flush()
            seconds[build].append(json.loads(_line(process)))
    for process in processes.values():
        process.communicate()
    print(f"{counts['bare']['cut']} questions are cut out of `bare`; all figures are of one write")
    for build in BUILDS:
        told, micro = counts[build], [1e6 * each for each in seconds[build]]
        print(
            f"{build:9} {told['instructions']:9.1f} instructions {told['calls']:7.1f} calls"
            f"   CPU, µs: median {median(micro):6.1f}, of {', '.join(f'{m:.1f}' for m in micro)}"
        )


def _line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline()


def main() -> None:
    parser = argparse.ArgumentParser(prog="scripts/benchmark observer-cost", description=__doc__)
    parser.add_argument("--runs", type=int, default=200, help="in one burst")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--build", choices=BUILDS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.build:
        measure(options.build, options.runs, options.rounds)
    else:
        compare(options.runs, options.rounds)


if __name__ == "__main__":
    main()
