"""One server and a cluster certified by the timeout store's contract."""

from __future__ import annotations

from contextlib import AbstractContextManager

import pytest
from workflow_adaptertest import Env, TimeoutStoreContract
from workflow_adaptertest.servers import Space
from workflow_core.ports import AdapterContext, Secret
from workflow_redis_timeout import RedisSettings, RedisTimeoutStore


def opened(env: Env, space: Space, url: str) -> RedisTimeoutStore:
    context = AdapterContext(
        instance=env.new_instance(), namespace=f"{space.name}-{env.namespace}", clock=env.clock
    )
    return RedisTimeoutStore.from_config(RedisSettings(url=Secret(url)), context)


class TestOnOneServer(TimeoutStoreContract):
    @pytest.fixture(autouse=True)
    def _server(self, redis_space: Space) -> None:
        self.space = redis_space

    def adapter(self, env: Env) -> AbstractContextManager[RedisTimeoutStore]:
        return opened(env, self.space, str(self.space.url))


class TestOnCluster(TimeoutStoreContract):
    @pytest.fixture(autouse=True)
    def _server(self, redis_cluster_space: Space) -> None:
        self.space = redis_cluster_space

    def adapter(self, env: Env) -> AbstractContextManager[RedisTimeoutStore]:
        return opened(env, self.space, str(self.space.url).replace("redis:", "redis+cluster:", 1))
