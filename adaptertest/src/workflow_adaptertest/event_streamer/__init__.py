"""The contract of an event streamer."""

from workflow_adaptertest.event_streamer.beside import BesideCases
from workflow_adaptertest.event_streamer.cursors import CursorCases
from workflow_adaptertest.event_streamer.members import MemberCases
from workflow_adaptertest.event_streamer.travel import TravelCases
from workflow_adaptertest.idle import IdleStreamCases

__all__ = ["EventStreamerContract"]


class EventStreamerContract(TravelCases, CursorCases, MemberCases, BesideCases, IdleStreamCases):
    """What every `EventStreamer` does.

    Write ``adapter``, and ``joined_store`` where it joins a store; see `Contract`.
    """
