"""What may be configured."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from workflow_core.errors import ConfigurationError
from workflow_core.ports import Secret

__all__ = ["RedisSettings"]

_LONGEST_RETRY = timedelta(minutes=1)
_MOST_BUCKETS = 1024


@dataclass(frozen=True, kw_only=True)
class RedisSettings:
    """The settings of the Redis timeout store.

    Attributes:
        url: where Redis is; ``rediss`` instead of ``redis`` for TLS:
            ``redis://user:password@host:6379/0``, one server;
            ``redis+sentinel://user:password@host:26379,host:26379/service/0``, a primary that
            Sentinels know;
            ``redis+cluster://user:password@host:6379,host:6379``, Redis Cluster;
            ``unix:///run/redis.sock``, a server on this machine.
        buckets: into how many parts, each in one slot of a cluster, timers are divided. The first
            process of a namespace decides and all others follow; None: 1, on a cluster 16.
        remember: how long a fired or cancelled timer is remembered after anybody last tried to arm
            it, should its run never be reported as ended.
        answer_timeout: how long one answer may take before the connection counts as lost.
        retry_for: how long a call goes on when the server does not answer or cannot serve. Once
            one has given up, the calls of this process fail at once, but for one now and then that
            looks whether the server is back: other work of the engine must not wait for timers.
        ca_file: certificates to trust, PEM; None: those of this machine.
        certificate_file: this client's own certificate, PEM, where the server asks for one.
        key_file: the key of that certificate, PEM; None: it is in the certificate's file.
        check_hostname: whether the server's certificate has to name the host of the URL.
        sentinel_user: who to be for the Sentinels, where they ask.
        sentinel_password: the password for the Sentinels, where they ask.
    """

    url: Secret
    buckets: int | None = None
    remember: timedelta = timedelta(days=30)
    answer_timeout: timedelta = timedelta(seconds=2)
    retry_for: timedelta = timedelta(seconds=2)
    ca_file: Path | None = None
    certificate_file: Path | None = None
    key_file: Path | None = None
    check_hostname: bool = True
    sentinel_user: str = ""
    sentinel_password: Secret | None = None

    def __post_init__(self) -> None:
        problems = []
        if self.buckets is not None and not 1 <= self.buckets <= _MOST_BUCKETS:
            problems.append(f"buckets: expected 1 to {_MOST_BUCKETS}")
        if self.remember < timedelta(milliseconds=1):
            problems.append("remember: expected a duration above zero")
        if self.answer_timeout <= timedelta(0):
            problems.append("answer_timeout: expected a duration above zero")
        if not timedelta(0) <= self.retry_for <= _LONGEST_RETRY:
            problems.append("retry_for: expected at most one minute")
        if self.key_file is not None and self.certificate_file is None:
            problems.append("key_file: expected certificate_file beside it")
        if problems:
            raise ConfigurationError("the settings of redis are wrong", problems=tuple(problems))
