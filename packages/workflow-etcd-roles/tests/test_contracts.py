"""Both schedulers certified on a real etcd."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import replace
from datetime import timedelta

import pytest
from workflow_adaptertest import Env, RoleSchedulerContract
from workflow_adaptertest.servers import Proxied, Server, Space
from workflow_core.ports import RoleScheduler
from workflow_etcd_roles import EtcdRoleScheduler, EtcdSettings, RinkRoleScheduler, RinkSettings

LEASE = timedelta(seconds=4)  # a crash is waited for; long enough for a machine that is busy


class TestEtcdRoleScheduler(RoleSchedulerContract):
    fake_clock = False

    @pytest.fixture(autouse=True)
    def _etcd(
        self, etcd_space: Space, etcd_server: Server, toxiproxy_server: Server
    ) -> Iterator[None]:
        self.settings = EtcdSettings(
            endpoints=(etcd_space.url.bootstrap,),
            prefix=f"{etcd_space.name}/roles",
            lease=LEASE,
        )
        with ExitStack() as proxies:
            self.new_way: Callable[[], Proxied] = lambda: proxies.enter_context(
                etcd_server.behind(toxiproxy_server)
            )
            self.ways: dict[RoleScheduler, Proxied] = {}
            yield

    def adapter(self, env: Env) -> AbstractContextManager[EtcdRoleScheduler]:
        way = self.new_way()
        settings = replace(self.settings, endpoints=(way.url.bootstrap,))
        handle = EtcdRoleScheduler.from_config(settings, env.context())
        self.ways[handle] = way
        return handle

    @contextmanager
    def cut_off(self, env: Env, handle: RoleScheduler) -> Iterator[timedelta]:
        self.ways[handle].swallow()
        yield 2 * LEASE
        self.ways[handle].mend()

    def crash(self, env: Env, handle: RoleScheduler) -> timedelta:
        assert isinstance(handle, EtcdRoleScheduler)
        session = handle._membership.session
        assert session is not None
        session._resigned = True
        session._stop.set()
        handle._connection.interrupt()
        return 2 * LEASE  # the server's own rounds come on top


class TestRinkRoleScheduler(RoleSchedulerContract):
    fake_clock = False

    @pytest.fixture(autouse=True)
    def _etcd(self, etcd_space: Space) -> None:
        self.settings = RinkSettings(
            endpoints=(etcd_space.url.bootstrap,),
            cluster=f"{etcd_space.name}/roles",
            new_member_wait=timedelta(0),
            unclaimed_after=timedelta(milliseconds=50),
        )

    def adapter(self, env: Env) -> AbstractContextManager[RinkRoleScheduler]:
        return RinkRoleScheduler.from_config(self.settings, env.context())
