"""Counts the words of some texts, a run each, on one SQLite file."""

import argparse
from datetime import timedelta
from pathlib import Path

from workflow_core import Engine

from fan_out.flow import Batch, BatchStatus, batches, texts


def main() -> None:
    parser = argparse.ArgumentParser(prog="fan_out", description=__doc__)
    parser.add_argument("database", type=Path, help="where the runs are kept")
    parser.add_argument("texts", nargs="*", help="the texts")
    options = parser.parse_args()
    with Engine.embedded(options.database) as engine, engine.serving(batches, texts):
        run_id = engine.trigger(batches, "words", Batch(options.texts))
        done = engine.wait_for(batches, run_id, BatchStatus.COUNTED, timedelta(minutes=1))
    print(f"{len(done.data.words)} texts, {sum(done.data.words.values())} words")


if __name__ == "__main__":
    main()
