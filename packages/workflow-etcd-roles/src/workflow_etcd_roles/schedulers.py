"""The two role schedulers."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Self

from workflow_core.errors import ConfigurationError
from workflow_core.ports import AdapterContext

from workflow_etcd_roles.clock import elapsed
from workflow_etcd_roles.connection import Connection
from workflow_etcd_roles.desk import Desk
from workflow_etcd_roles.endpoints import Endpoint
from workflow_etcd_roles.etcd import EtcdRules
from workflow_etcd_roles.line import Tls
from workflow_etcd_roles.rink import RinkRules
from workflow_etcd_roles.settings import ClusterSettings, EtcdSettings, RinkSettings

__all__ = ["EtcdRoleScheduler", "RinkRoleScheduler"]


class EtcdRoleScheduler(Desk):
    """Roles spread evenly over the members that want them. Each method as `RoleScheduler` says.

    Args:
        connection: to the cluster; closed with this.
        instance: this process among its peers.
        prefix: of all keys.
        lease: how long a crashed process still counts as holder; whole seconds.
        clock: what trust in the lease is counted by; seconds.
    """

    def __init__(
        self,
        connection: Connection,
        *,
        instance: str,
        prefix: str = "workflow",
        lease: timedelta = timedelta(seconds=10),
        clock: Callable[[], float] = elapsed,
    ) -> None:
        super().__init__(connection, EtcdRules(prefix), instance=instance, lease=lease, clock=clock)

    @classmethod
    def from_config(cls, settings: EtcdSettings, context: AdapterContext) -> Self:
        """The entry point."""
        return cls(
            _connect(settings, adapter=cls.adapter),
            instance=context.instance,
            prefix=_within(context.namespace, settings.prefix),
            lease=settings.lease,
        )


class RinkRoleScheduler(Desk):
    """A member of a Rink cluster. Each method as `RoleScheduler` says.

    Args:
        connection: to the cluster; closed with this.
        instance: this member's name: unique among all.
        cluster: the name that all members share.
        new_member_wait: how long a newcomer waits for somebody to leave, where this one leads.
        unclaimed_after: how long a free role is left to the member that it belongs to.
        lease: how long a crashed process still counts as holder; whole seconds.
        clock: what trust in the lease is counted by; seconds.
    """

    adapter = "rink"

    def __init__(
        self,
        connection: Connection,
        *,
        instance: str,
        cluster: str,
        new_member_wait: timedelta = timedelta(minutes=1),
        unclaimed_after: timedelta = timedelta(seconds=15),
        lease: timedelta = timedelta(seconds=10),
        clock: Callable[[], float] = elapsed,
    ) -> None:
        rules = RinkRules(cluster, new_member_wait=new_member_wait, unclaimed_after=unclaimed_after)
        super().__init__(connection, rules, instance=instance, lease=lease, clock=clock)

    @classmethod
    def from_config(cls, settings: RinkSettings, context: AdapterContext) -> Self:
        """The entry point."""
        return cls(
            _connect(settings, adapter=cls.adapter),
            instance=context.instance,
            cluster=_within(context.namespace, settings.cluster),
            new_member_wait=settings.new_member_wait,
            unclaimed_after=settings.unclaimed_after,
            lease=settings.lease,
        )


def _within(namespace: str, name: str) -> str:
    return f"{namespace}/{name.strip('/')}" if namespace else name.strip("/")


def _connect(settings: ClusterSettings, *, adapter: str) -> Connection:
    """Nothing is opened before it is needed.

    Raises:
        ConfigurationError: a file cannot be read.
    """
    contents = {}
    for name in ("ca_file", "cert_file", "key_file"):
        file = getattr(settings, name)
        try:
            contents[name] = file.read_bytes() if file is not None else None
        except OSError as error:
            raise ConfigurationError(
                f"the settings of {adapter} are wrong",
                problems=(f"{name}: {file} cannot be read ({error.strerror})",),
            ) from error
    return Connection(
        [Endpoint.parse(text) for text in settings.endpoints],
        adapter=adapter,
        tls=Tls(
            ca=contents["ca_file"], certificate=contents["cert_file"], key=contents["key_file"]
        ),
        user=settings.user,
        password=settings.password.reveal() if settings.password is not None else "",
        timeout=settings.request_timeout,
    )
