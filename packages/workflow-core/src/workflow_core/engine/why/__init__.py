"""Why a run does not move, and what to do next: `Engine.why`.

The record itself says most (`record_reasons`): it ended, is paused, waits for its next try. What is
due and stands still all the same is looked for in the order of an event's way (`surroundings`): in
hand in this process, a role that nobody holds, the outbox, the stream. What cannot be asked is told
and not guessed, and an adapter that does not answer is itself a reason.
"""

from workflow_core.engine.why.values import Cause, Reason, Why
from workflow_core.engine.why.verb import AsyncWhyVerb, WhyVerb

__all__ = ["AsyncWhyVerb", "Cause", "Reason", "Why", "WhyVerb"]
