"""What may be configured."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from workflow_core.errors import ConfigurationError
from workflow_core.ports import Secret

from workflow_etcd_roles.endpoints import Endpoint

__all__ = ["ClusterSettings", "EtcdSettings", "RinkSettings"]

_LEAST_LEASE = timedelta(seconds=2)  # etcd itself grants no less


@dataclass(frozen=True, kw_only=True)
class ClusterSettings:
    """Where etcd is, and how long a member's lease lasts: for both schedulers.

    Attributes:
        endpoints: ``host:port`` or ``http://host:port`` of the cluster's members, ``https://`` for
            TLS. Any one that answers will do.
        user: the user that etcd knows; empty without authentication.
        password: of that user.
        ca_file: certificates of the authorities that sign etcd's; the system's where it is left
            out.
        cert_file: this client's certificate, where etcd asks for one.
        key_file: its key.
        lease: how long after its last sign of life a process still counts as holder of its roles:
            whole seconds. A crash frees them within that time.
        request_timeout: how long a call looks for a member that answers.
    """

    endpoints: tuple[str, ...]
    user: str = ""
    password: Secret | None = None
    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None
    lease: timedelta = timedelta(seconds=10)
    request_timeout: timedelta = timedelta(seconds=5)

    def __post_init__(self) -> None:
        problems = list(self._problems())
        if problems:
            raise ConfigurationError("the settings of etcd are wrong", problems=tuple(problems))

    def _problems(self) -> list[str]:
        problems = []
        if not self.endpoints:
            problems.append("endpoints: expected one or more, such as 'etcd-1:2379'")
        for text in self.endpoints:
            try:
                Endpoint.parse(text)
            except ValueError as error:
                problems.append(f"endpoints: {error}")
        if bool(self.user) != bool(self.password):
            problems.append("password: a user and a password are given together or not at all")
        if bool(self.cert_file) != bool(self.key_file):
            problems.append("key_file: a certificate and its key are given together or not at all")
        if self.lease < _LEAST_LEASE or self.lease.microseconds:
            problems.append("lease: expected whole seconds, 2 or more")
        if self.request_timeout <= timedelta(0):
            problems.append("request_timeout: expected a duration above zero")
        return problems


@dataclass(frozen=True, kw_only=True)
class EtcdSettings(ClusterSettings):
    """The settings of ``etcd``.

    Attributes:
        prefix: all keys begin with it, and with the namespace.
    """

    prefix: str = "workflow"

    def _problems(self) -> list[str]:
        problems = super()._problems()
        if not self.prefix.strip("/"):
            problems.append("prefix: expected a word")
        return problems


@dataclass(frozen=True, kw_only=True)
class RinkSettings(ClusterSettings):
    """The settings of ``rink``.

    Attributes:
        cluster: the name that all members share, Go and Python; the namespace, where there is one,
            stands before it with a slash between.
        new_member_wait: how long a newcomer waits for somebody to leave before the roles are spread
            anew; the leader's counts.
        unclaimed_after: how long a role that its own member leaves alone stays free for it, before
            any other may take it. Go members try again each 10 s: more than that leaves them time.
    """

    cluster: str
    new_member_wait: timedelta = timedelta(minutes=1)
    unclaimed_after: timedelta = timedelta(seconds=15)

    def _problems(self) -> list[str]:
        problems = super()._problems()
        if not self.cluster.strip("/"):
            problems.append("cluster: expected the name that the members share")
        if self.new_member_wait < timedelta(0):
            problems.append("new_member_wait: expected a duration of zero or more")
        if self.unclaimed_after < timedelta(0):
            problems.append("unclaimed_after: expected a duration of zero or more")
        return problems
