"""Questions about a cluster whose brokers come and go."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from contextlib import closing

from confluent_kafka import KafkaError
from workflow_adaptertest.servers import Server, Space
from workflow_kafka import KafkaSettings
from workflow_kafka.cluster import Cluster

ASKING = """
import sys
import threading
from workflow_core.errors import AdapterUnavailableError
from workflow_kafka import KafkaSettings
from workflow_kafka.cluster import Cluster

bootstrap, topic = sys.argv[1:]
cluster = Cluster(KafkaSettings(bootstrap_servers=[bootstrap]))
cluster.ensure([topic])
over = threading.Event()
threading.Thread(target=lambda: (sys.stdin.read(), over.set()), daemon=True).start()
print("ready", flush=True)
while not over.is_set():
    try:
        cluster.committed(topic, [(topic, 0)])
    except AdapterUnavailableError:
        pass
cluster.close()
"""


def test_asking_for_offsets_survives_a_change_of_the_groups_coordinator(
    kafka_server: Server, kafka_space: Space
) -> None:
    """Seen to fail with the administrator's question: all three died of a segmentation fault."""
    command = [sys.executable, "-c", ASKING, kafka_space.url.bootstrap, kafka_space.name]
    asking = [
        subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        for _ in range(3)
    ]
    for process in asking:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for _ in range(2):
        kafka_server.restart()
    for process in asking:
        process.communicate(timeout=60)
    assert [process.returncode for process in asking] == [0, 0, 0]


def test_ends_are_told_when_their_broker_was_away(kafka_server: Server, kafka_space: Space) -> None:
    """Seen to fail without a look at the topics: the client never asked for the leaders again.

    A member that takes over from one that vanished asks for ends, so no group came back.
    """
    cluster = Cluster(KafkaSettings(bootstrap_servers=[kafka_space.url.bootstrap], partitions=3))
    topic = kafka_space.name
    partitions = [(topic, number) for number in range(3)]
    with closing(cluster):
        cluster.ensure([topic])
        assert cluster.ends(partitions) == dict.fromkeys(partitions, 0)
        kafka_server.kill()
        kafka_server.start()
        assert cluster.ends(partitions) == dict.fromkeys(partitions, 0)


class Unanswered(Cluster):
    """Its first question waits for a broker that is away, as the client does once in three."""

    tries = 0

    def _make(self, topics: Sequence[str], timeout: float) -> dict[str, KafkaError]:
        self.tries += 1
        if self.tries == 1:
            return {topic: KafkaError(KafkaError._TIMED_OUT) for topic in topics}
        return super()._make(topics, timeout)


def test_topics_are_made_when_the_broker_to_be_asked_has_gone(
    kafka_server: Server, kafka_space: Space
) -> None:
    """Seen to fail when one try took all the time, and after it the client still did not look."""
    cluster = Unanswered(KafkaSettings(bootstrap_servers=[kafka_space.url.bootstrap]))
    with closing(cluster):
        assert cluster.ensure([kafka_space.name]) == {}
        assert cluster.tries == 2
        assert kafka_space.name in cluster.partitions()
