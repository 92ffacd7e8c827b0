"""The contract of an event streamer."""

from workflow_adaptertest.event_streamer.beside import BesideCases
from workflow_adaptertest.event_streamer.cursors import CursorCases
from workflow_adaptertest.event_streamer.travel import TravelCases

__all__ = ["EventStreamerContract"]


class EventStreamerContract(TravelCases, CursorCases, BesideCases):
    """What every `EventStreamer` does.

    Write ``adapter``, and ``joined_store`` where it joins a store; see `Contract`.
    """
