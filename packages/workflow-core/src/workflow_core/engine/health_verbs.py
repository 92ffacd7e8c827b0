"""The verb that asks how an engine is."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING

from workflow_core.engine.checkup import Checkup
from workflow_core.engine.health import Health
from workflow_core.engine.runtime import Runtime

if TYPE_CHECKING:
    from workflow_core.engine.client import Client
    from workflow_core.engine.serving import Serving

__all__ = ["AsyncHealthVerb", "HealthVerb"]

_SOON = timedelta(seconds=2)


class HealthVerb:
    """Part of `Engine`. Any thread."""

    _checkup: Checkup
    _serving: Serving | None
    _closed: bool

    def health(self, timeout: timedelta = _SOON) -> Health:
        """How this engine is: whether it works, and whether what it works with answers.

        All adapters are asked at once, each by a thread of its own; it takes at most `timeout`,
        and a second more where a background process seems to hang. Ask as often as you like: an
        adapter that has not answered yet is not asked again. A closed engine answers too.

        Args:
            timeout: how long each adapter may take.

        Raises:
            InputError: the time is not greater than zero.
        """
        if self._closed:
            return self._checkup.closed()
        serving = self._serving
        if serving is not None and serving.wait(timedelta(0)):
            serving = None  # it has ended, or is the parent's: what is left is a client
        return self._checkup.health(serving, timeout)


class AsyncHealthVerb:
    """Part of `AsyncEngine`."""

    _engine: Client
    _runtime: Runtime

    async def health(
        self,
        timeout: timedelta = _SOON,  # noqa: ASYNC109 - each adapter's, not the coroutine's
    ) -> Health:
        """As `Engine.health`; never behind other verbs that wait for an adapter."""
        engine = self._engine
        return await asyncio.wrap_future(self._runtime.aside(lambda: engine.health(timeout)))
