"""What all pages of one app share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote, urlencode

from anyio import CapacityLimiter, to_thread
from workflow_core import Engine, RecordQuery, RunState, Workflow
from workflow_core.ports import RecordStore

from workflow_webui.audit import Audit
from workflow_webui.errors import ForbiddenError, NotThereError
from workflow_webui.remembering import Remembered
from workflow_webui.security.tokens import Signer
from workflow_webui.settings import UiSettings
from workflow_webui.users import Auth, Authenticate, Right, User

if TYPE_CHECKING:
    from workflow_webui.acting.bulk import Jobs
    from workflow_webui.reading.flow import LagPoints

__all__ = ["Ask", "Ui"]

T = TypeVar("T")


@dataclass(frozen=True)
class Ui:
    """The engine, the definitions that are at hand, and what is shared among requests.

    Attributes:
        engine: reads and steers; closed by whoever made it.
        workflows: definitions by name. Runs of others are shown too, with numbers for statuses.
        settings: how the app behaves.
        auth: who a request is from.
        audit: where actions are noted.
        signer: of cookies and forms.
        jobs: actions on many runs.
        lag_points: the last values of each workflow's lag.
        remembered: what several users ask for at once.
    """

    engine: Engine
    workflows: Mapping[str, Workflow[Any, Any]]
    settings: UiSettings
    auth: Auth | Authenticate
    audit: Audit
    signer: Signer
    jobs: Jobs
    lag_points: LagPoints
    remembered: Remembered = field(default_factory=Remembered)

    @cached_property
    def limiter(self) -> CapacityLimiter:
        """At most so many calls of the store at once; made in the loop that asks."""
        return CapacityLimiter(self.settings.threads)

    @cached_property
    def probe_limiter(self) -> CapacityLimiter:
        """For probes and metrics: where all of the store's threads hang, these are to tell."""
        return CapacityLimiter(1)

    @cached_property
    def auth_limiter(self) -> CapacityLimiter:
        """For auth hooks: strangers who try passwords keep no page of anybody else's waiting."""
        return CapacityLimiter(self.settings.threads)

    async def in_thread(self, work: Callable[[], T]) -> T:
        """Do what waits for the store, without the loop's waiting for it."""
        return await to_thread.run_sync(work, limiter=self.limiter)

    @property
    def store(self) -> RecordStore:
        """The record store."""
        return self.engine.adapters.record_store

    def workflow(self, name: str) -> Workflow[Any, Any]:
        """The definition.

        Raises:
            NotThereError: it is not at hand.
        """
        if name not in self.workflows:
            raise NotThereError(
                f"the definition of {name!r} is not at hand here",
                hint="Give it to create_app(): without it runs can be read, paused and cancelled",
            )
        return self.workflows[name]

    def status_names(self, workflow: str) -> Mapping[int, str]:
        """Names by number; empty where the definition is not at hand."""
        known = self.workflows.get(workflow)
        return {} if known is None else {int(s): s.name for s in known.statuses}

    def counts(self, query: RecordQuery) -> Mapping[tuple[str, int, RunState], int]:
        """As the store counts, the engine's own records too, at most ``refresh`` ago."""
        return self.remembered.get(
            ("counts", repr(query)),
            self.settings.refresh.total_seconds(),
            lambda: self.engine.counts(query, reserved=True),
        )

    def now(self) -> datetime:
        """The store's present."""
        return self.store.now()


@dataclass(frozen=True, kw_only=True)
class Ask:
    """One request, as a page sees it: read in full, and known whom it is from.

    Attributes:
        ui: the app.
        user: who asks.
        path: the parts of the path that have names.
        query: the URL's pairs.
        form: the form's pairs; empty where there is none.
        body: the body's bytes, where it is no form.
        root: what the path of every link begins with: where the app is mounted.
        here: the path of this request, with its query.
        csrf: what forms have to carry.
    """

    ui: Ui
    user: User
    path: Mapping[str, str] = field(default_factory=dict)
    query: Sequence[tuple[str, str]] = ()
    form: Sequence[tuple[str, str]] = ()
    body: bytes = b""
    root: str = ""
    here: str = "/"
    csrf: str = ""

    def need(self, right: Right) -> None:
        """Refuse who may not.

        Raises:
            ForbiddenError: they have no such right.
        """
        if not self.user.may(right):
            raise ForbiddenError(f"{self.user.name} may not {_TOLD[right]}")

    @property
    def sees_data(self) -> bool:
        """Whether the user may see what runs carry."""
        return self.user.may(Right.SEE_DATA)

    def one(self, name: str, default: str = "") -> str:
        """The last value of this name in the URL."""
        return _last(self.query, name, default)

    def field(self, name: str, default: str = "") -> str:
        """The last value of this name in the form."""
        return _last(self.form, name, default)

    @property
    def done(self) -> str:
        """What was done just before, as `link_telling` has it; no link of a stranger's can say."""
        told = self.one("done")
        return told if self.ui.signer.is_form_token(self.one("sign"), "done", told) else ""

    def link_telling(self, told: str, *parts: str) -> str:
        """A path of this app's whose page begins with this notice."""
        return self.link(*parts, done=told, sign=self.ui.signer.form_token("done", told))

    def link(self, *parts: str, **query: str) -> str:
        """A path of this app's, wherever it is mounted; parts are quoted, slashes in them too."""
        path = self.root + "/" + "/".join(quote(part, safe="") for part in parts)
        return f"{path}?{urlencode(query)}" if query else path


def _last(pairs: Iterable[tuple[str, str]], name: str, default: str) -> str:
    found = [value for key, value in pairs if key == name]
    return found[-1].strip() if found else default


_TOLD = {
    Right.READ: "look here",
    Right.ACT: "change anything here",
    Right.SEE_DATA: "see what runs carry",
}
