"""Streamers and settings on a real broker."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from workflow_adaptertest.servers import Space
from workflow_kafka import KafkaEventStreamer, KafkaSettings

OpenStreamer = Callable[..., KafkaEventStreamer]


@pytest.fixture
def open_streamer(kafka_space: Space) -> Iterator[OpenStreamer]:
    """Opens streamers, each as if it were in a process of its own; changes are of the settings."""
    with ExitStack() as streamers:
        count = 0

        def open_one(**changes: Any) -> KafkaEventStreamer:
            nonlocal count
            count += 1
            values: dict[str, Any] = {
                "bootstrap_servers": [kafka_space.url.bootstrap],
                "partitions": 3,
            }
            streamer = KafkaEventStreamer(
                KafkaSettings(**(values | changes)),
                instance=f"{kafka_space.name}-{count}",
                namespace=kafka_space.name,
            )
            return streamers.enter_context(streamer)

        yield open_one
