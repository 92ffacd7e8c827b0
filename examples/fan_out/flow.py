"""Two workflows that follow each other: a batch of texts, and the counting of one text."""

from dataclasses import dataclass, field
from enum import IntEnum
from typing import Literal

from workflow_core import Call, Run, RunState, RunView, Trigger, Workflow

__all__ = ["Batch", "BatchStatus", "batches", "texts"]


class BatchStatus(IntEnum):
    COUNTING = 1
    COUNTED = 2


@dataclass
class Batch:
    texts: list[str]
    """At least one: else no count comes in, and it waits for ever."""
    words: dict[int, int] = field(default_factory=dict)
    """How many words each text has, by its place; filled as the counts come in."""


class TextStatus(IntEnum):
    WAITING = 1
    COUNTED = 2


@dataclass
class Text:
    batch: str
    """The run of the batch that it belongs to."""
    place: int
    text: str
    words: int = 0


BatchRun = Run[Batch, BatchStatus]
TextRun = Run[Text, TextStatus]

batches = Workflow("batches", Batch, BatchStatus, ends=(BatchStatus.COUNTED,))
texts = Workflow("texts", Text, TextStatus, ends=(TextStatus.COUNTED,))


@texts.follow(batches, states=[RunState.INITIATED])
def split(batch: RunView[Batch, BatchStatus]) -> list[Trigger[Text]]:
    """One run per text. However often the batch is seen, each is begun once."""
    return [
        Trigger(f"{batch.run_id}/{place}", Text(batch.run_id, place, text))
        for place, text in enumerate(batch.data.texts)
    ]


@texts.step(TextStatus.WAITING)
def count(run: TextRun) -> Literal[TextStatus.COUNTED]:
    run.data.words = len(run.data.text.split())
    return TextStatus.COUNTED


@batches.follow(texts, at=[TextStatus.COUNTED], states=[RunState.COMPLETED])
def collect(text: RunView[Text, TextStatus]) -> Call:
    return Call(counted, (text.data.place, text.data.words), run_id=text.data.batch)


@batches.callback(BatchStatus.COUNTING)
def counted(
    run: BatchRun, part: tuple[int, int]
) -> Literal[BatchStatus.COUNTING, BatchStatus.COUNTED]:
    """Told at least once of each text: the same count again changes nothing."""
    place, words = part
    run.data.words[place] = words
    all_there = len(run.data.words) == len(run.data.texts)
    return BatchStatus.COUNTED if all_there else BatchStatus.COUNTING
