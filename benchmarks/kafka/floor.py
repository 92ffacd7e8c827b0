"""The floor on PostgreSQL and Kafka: the same durable work in a bare loop, without any engine.

Once round: receive what is there, at most a batch; look the records up; in one transaction swap
them for their next versions and file their events in an outbox; publish the events with acks=all
from an idempotent producer; delete the outbox rows; note the offsets, which are committed about
once a second.
"""

import json
import time
import uuid
from collections.abc import Iterator, Sequence

import psycopg
from confluent_kafka import Consumer, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic
from three_steps.flow import STEPS

PARTITIONS = 8

SCHEMA = """
create table {0}_runs (
    run_id uuid primary key, foreign_id text not null, status integer not null,
    version integer not null, data bytea not null, updated_at timestamptz not null default now()
) with (fillfactor = 70);
create unique index on {0}_runs (foreign_id) where status < 4;
create table {0}_outbox (id uuid primary key, topic text not null, run_id uuid not null,
    version integer not null, due timestamptz not null default now());
"""
INSERT = """insert into {0}_runs (run_id, foreign_id, status, version, data)
    select *, 1, 1, %s::bytea from unnest(%s::uuid[], %s::text[])"""
LOOK_UP = "select run_id, version, data from {0}_runs where run_id = any(%s::uuid[])"
SWAP = """update {0}_runs r set status = d.status, version = d.version, data = d.data,
    updated_at = now() from unnest(%s::uuid[], %s::int[], %s::int[], %s::bytea[])
    as d (run_id, status, version, data)
    where r.run_id = d.run_id and r.version = d.version - 1 returning r.run_id"""
FILE = """insert into {0}_outbox (id, topic, run_id, version)
    select * from unnest(%s::uuid[], %s::text[], %s::uuid[], %s::int[])"""
DELETE = "delete from {0}_outbox where id = any(%s::uuid[])"


class Floor:
    """One process's loop.

    Args:
        url: of the database.
        servers: of Kafka.
        batch: most runs in one transaction.
    """

    def __init__(self, url: str, servers: str, batch: int) -> None:
        self._name = "floor_" + uuid.uuid4().hex[:8]
        self._batch = batch
        self._db = psycopg.connect(url, autocommit=True)
        self._db.execute(SCHEMA.format(self._name))
        self._topics = [f"{self._name}-{status}" for status in range(1, STEPS + 1)]
        admin = AdminClient({"bootstrap.servers": servers})
        for future in admin.create_topics(
            [NewTopic(t, PARTITIONS, 1) for t in self._topics]
        ).values():
            future.result(30)
        self._producer = Producer(
            {
                "bootstrap.servers": servers,
                "acks": "all",
                "enable.idempotence": True,
                "partitioner": "fnv1a",
                "linger.ms": 1,
            }
        )
        self._consumer = Consumer(
            {
                "bootstrap.servers": servers,
                "group.id": self._name,
                "enable.auto.commit": False,
                "enable.auto.offset.store": False,
                "auto.offset.reset": "earliest",
                "fetch.queue.backoff.ms": 20,
            }
        )
        self._consumer.subscribe(self._topics)
        self._offsets: dict[tuple[str, int], int] = {}
        self._commit_at = 0.0

    def burst(self, runs: int) -> float:
        """Runs per second from the first insert to the last transition."""
        begin = time.perf_counter()
        for ids in self._parts([str(uuid.uuid4()) for _ in range(runs)]):
            self._begin(ids)
        done = 0
        while done < runs:
            done += self._round()
        return runs / (time.perf_counter() - begin)

    def latencies(self, runs: int) -> list[float]:
        """One run at a time: seconds from its insert to its last transition."""
        seconds = []
        for _ in range(runs):
            begin = time.perf_counter()
            self._begin([str(uuid.uuid4())])
            while not self._round():
                pass
            seconds.append(time.perf_counter() - begin)
        return sorted(seconds)

    def close(self) -> None:
        self._consumer.close()
        self._db.execute(f"drop table {self._name}_runs, {self._name}_outbox")
        self._db.close()

    def _parts(self, ids: Sequence[str]) -> Iterator[Sequence[str]]:
        for start in range(0, len(ids), self._batch):
            yield ids[start : start + self._batch]

    def _begin(self, ids: Sequence[str]) -> None:
        data = json.dumps({"total": 1, "note": ""}).encode()
        with self._db.transaction():
            names = [f"order {run_id}" for run_id in ids]
            self._db.execute(INSERT.format(self._name), [data, list(ids), names], prepare=True)
            filed = self._file([(run_id, 1, 1) for run_id in ids])
        self._publish(filed)

    def _round(self) -> int:
        """Answers how many runs ended."""
        first = self._consumer.poll(1)
        if first is None:
            return 0
        messages = [first, *self._consumer.consume(self._batch - 1, 0)]
        wanted = {_run(message): message for message in messages if message.error() is None}
        found = self._db.execute(
            LOOK_UP.format(self._name), [list(wanted)], prepare=True
        ).fetchall()
        moved = []
        for run_id, version, stored in found:
            status = int(wanted[str(run_id)].value() or b"")
            data = json.loads(stored)
            data["note"] = "moved"
            moved.append((str(run_id), status + 1, version + 1, json.dumps(data).encode()))
        moved.sort()
        with self._db.transaction():
            columns = [list(column) for column in zip(*moved, strict=True)]
            self._db.execute(SWAP.format(self._name), columns, prepare=True)
            going = [(run, status, version) for run, status, version, _ in moved if status <= STEPS]
            filed = self._file(going)
        self._publish(filed)
        for message in messages:
            self._offsets[message.topic() or "", message.partition() or 0] = (
                message.offset() or 0
            ) + 1
        if time.monotonic() >= self._commit_at:
            self._commit_at = time.monotonic() + 1
            offsets = [TopicPartition(*key, offset) for key, offset in self._offsets.items()]
            self._consumer.commit(offsets=offsets, asynchronous=True)
        return len(moved) - len(going)

    def _file(self, events: Sequence[tuple[str, int, int]]) -> list[tuple[str, str, str, int]]:
        filed = [
            (str(uuid.uuid4()), self._topics[status - 1], run_id, version)
            for run_id, status, version in events
        ]
        if filed:
            columns = [list(column) for column in zip(*filed, strict=True)]
            self._db.execute(FILE.format(self._name), columns, prepare=True)
        return filed

    def _publish(self, filed: Sequence[tuple[str, str, str, int]]) -> None:
        if not filed:
            return
        for id, topic, run_id, version in filed:
            headers: list[tuple[str, str | bytes | None]] = [
                ("run_id", run_id),
                ("foreign_id", run_id),
                ("topic", topic),
                ("workflow_name", self._name),
                ("run_state", b"2"),
                ("record_version", b"%d" % version),
                ("event_id", id),
            ]
            value = topic.rpartition("-")[2].encode()
            self._producer.produce(topic, value, run_id, headers=headers)
        assert self._producer.flush(30) == 0
        ids = [id for id, *_ in filed]
        self._db.execute(DELETE.format(self._name), [ids], prepare=True)


def _run(message: Message) -> str:
    return (message.key() or b"").decode()
