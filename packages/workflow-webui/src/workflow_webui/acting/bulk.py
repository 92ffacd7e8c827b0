"""Actions on many runs: counted and confirmed before, watched while they go on, reported after.

A job runs in a thread of its own, goes through `Engine.bulk` in bounded batches, and is kept in
this process's memory. If the process ends, what is left is left: the same action again goes on
where it was, since what is done already counts as unchanged or refused.

A job's id names its process, so that another one of the same app, asked for the job by whatever
spreads requests, can say where it is instead of that there is none.
"""

from __future__ import annotations

import os
import re
import secrets
import socket
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from workflow_core import Bulk, BulkProgress, RecordQuery
from workflow_core.errors import InputError, WorkflowError

from workflow_webui.acting.verbs import told_reason
from workflow_webui.errors import NotThereError, UiError
from workflow_webui.filters import RunFilter, number
from workflow_webui.reading.listing import query_of
from workflow_webui.ui import Ask
from workflow_webui.users import Right

__all__ = ["BULK_VERBS", "ElsewhereError", "Job", "Jobs", "this_process"]

_KEPT = 50
_AT_ONCE = 2

BULK_VERBS = ("pause", "resume", "retry", "cancel", "move", "delete")


_ID = re.compile(r"([\w.-]{1,100}:[0-9]{1,10}):[\w-]{16}", re.ASCII)


def this_process() -> str:
    """Host and process id: other characters than those of names of hosts are left out."""
    host = re.sub(r"[^\w.-]", "", socket.gethostname(), flags=re.ASCII)[:100] or "host"
    return f"{host}:{os.getpid()}"


class ElsewhereError(NotThereError):
    """The job was begun in another process of the app.

    Attributes:
        process: which.
    """

    def __init__(self, process: str) -> None:
        super().__init__(
            f"this action was begun in another process, {process}, and {this_process()} answered",
            hint="Ask again, until that one answers. If it has ended, so has the action: what was "
            "left is as it was, and the same action again goes on",
        )
        self.process = process


class _StopAskedError(Exception):
    """Ends the verb between two batches."""


@dataclass
class Job:
    """One action on many runs. Its thread writes, pages read."""

    id: str
    verb: str
    told: str
    """Which runs, in words."""
    reason: str
    who: str
    expected: int
    """How many matched when it was confirmed."""
    begun: datetime
    ended: datetime | None = None
    progress: BulkProgress = field(default_factory=BulkProgress)
    problem: str = ""
    """Why it ended early; "" where it did not."""
    stopping: threading.Event = field(default_factory=threading.Event)

    @property
    def share(self) -> float:
        """How far it has come, from 0 to 1."""
        if self.ended is not None and not self.problem:
            return 1.0
        return min(1.0, self.progress.seen / self.expected) if self.expected else 0.0


class Jobs:
    """All jobs of one app. Any thread."""

    def __init__(self) -> None:
        self._jobs: OrderedDict[str, Job] = OrderedDict()
        self._lock = threading.Lock()

    def begin(
        self, ask: Ask, verb: str, wanted: RunFilter, fields: Mapping[str, str], expected: int
    ) -> Job:
        """Begin; answers at once.

        Raises:
            ForbiddenError: the user may not.
            InputError: no reason, no such verb, or the filter cannot be.
            UiError: as many as may are going on already.
        """
        ask.need(Right.ACT)
        if verb not in BULK_VERBS:
            raise InputError(f"{verb!r} is no action on many runs")
        reason = told_reason(fields.get("reason", ""))
        job = Job(
            id=f"{this_process()}:{secrets.token_urlsafe(12)}",
            verb=verb,
            told=wanted.told(ask.ui.status_names(wanted.workflow)),
            reason=reason,
            who=ask.user.name,
            expected=expected,
            begun=datetime.now(UTC),
        )
        work = self._work(ask, job, wanted, fields)
        with self._lock:
            if sum(other.ended is None for other in self._jobs.values()) >= _AT_ONCE:
                raise _BusyError(f"{_AT_ONCE} actions on many runs are going on already: wait")
            self._jobs[job.id] = job
            while len(self._jobs) > _KEPT:
                self._jobs.popitem(last=False)
        threading.Thread(target=work, name=f"bulk {verb} {job.id}", daemon=True).start()
        return job

    def get(self, job_id: str) -> Job:
        """The job.

        Raises:
            ElsewhereError: it was begun in another process.
            NotThereError: there is none, or none any more.
        """
        with self._lock:
            job = self._jobs.get(job_id)
        if job is not None:
            return job
        begun_in = _ID.fullmatch(job_id)
        if begun_in is not None and begun_in[1] != this_process():
            raise ElsewhereError(begun_in[1])
        raise NotThereError(
            "there is no such action on many runs",
            hint=f"The last {_KEPT} of a process are kept, and the audit log has all of them",
        )

    def all(self) -> Sequence[Job]:
        """Those that are kept, newest first."""
        with self._lock:
            return list(reversed(self._jobs.values()))

    def _work(
        self, ask: Ask, job: Job, wanted: RunFilter, fields: Mapping[str, str]
    ) -> Callable[[], None]:
        ui = ask.ui
        query = query_of(ask, wanted, ui.now())

        def progressed(progress: BulkProgress) -> None:
            job.progress = progress
            if job.stopping.is_set():
                raise _StopAskedError

        bulk = ui.engine.bulk(query, everything=True, on_progress=progressed)
        do = _verb(ask, bulk, job, query, fields)

        def work() -> None:
            try:
                job.progress = do()
            except _StopAskedError:
                job.problem = "stopped by a user"
            except WorkflowError as error:
                job.problem = str(error)
            except Exception as error:  # a thread's end must not pass in silence
                job.problem = f"{type(error).__name__}"
            job.ended = datetime.now(UTC)
            done = job.progress
            ui.remembered.forget()
            ui.audit.note(
                job.who,
                f"bulk {job.verb}",
                job.told,
                workflow=wanted.workflow,
                reason=job.reason,
                outcome="stopped early" if job.problem else "done",
                detail=f"{done.changed} changed, {done.unchanged} unchanged, {done.refused} refused"
                + (f"; {job.problem}" if job.problem else ""),
            )

        return work


def _verb(
    ask: Ask, bulk: Bulk, job: Job, query: RecordQuery, fields: Mapping[str, str]
) -> Callable[[], BulkProgress]:
    who, why = ask.user.name, job.reason
    if job.verb == "move":
        workflow = ask.ui.workflow(query.workflow or "")
        given = fields.get("status", "")
        if not given:
            raise InputError("choose the status that these runs are to be moved to")
        status: Any = workflow.status(number(given, "status"))
        return lambda: bulk.move(workflow, status, who=who, why=why)
    if job.verb == "delete":
        emptied = ask.ui.workflow(query.workflow or "")
        return lambda: bulk.delete_data(emptied, who=who, why=why)
    verbs: Mapping[str, Callable[[], BulkProgress]] = {
        "pause": lambda: bulk.pause(reason=why, who=who),
        "resume": lambda: bulk.resume(who=who, why=why),
        "retry": lambda: bulk.retry_now(who=who, why=why),
        "cancel": lambda: bulk.cancel(reason=why, who=who),
    }
    return verbs[job.verb]


class _BusyError(UiError):
    status = 409
