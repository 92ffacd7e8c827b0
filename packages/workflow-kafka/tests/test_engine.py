"""An engine whose events travel over Kafka, in one process."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from enum import IntEnum
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # its stubs export too little
    AdminClient,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)
from workflow_adaptertest.servers import Server, ServerUrl, Space
from workflow_core import (
    ConnectorEvent,
    Engine,
    RecordQuery,
    Retry,
    Run,
    RunState,
    Trigger,
    Workflow,
)
from workflow_core.discovery import Config
from workflow_core.errors import AdapterUnavailableError, InputError
from workflow_core.ports import Secret
from workflow_kafka import KafkaEventStreamer, KafkaSettings, SaslMechanism

LONG = timedelta(seconds=60)


class Status(IntEnum):
    CREATED = 1
    PAID = 2
    SHIPPED = 3


@dataclass
class Order:
    total: int


OrderRun = Run[Order, Status]


def flow(name: str = "orders") -> Workflow[Order, Status]:
    orders = Workflow(name, Order, Status, ends=(Status.SHIPPED,))

    def pay(run: OrderRun) -> Status:
        return Status.PAID

    def ship(run: OrderRun) -> Status:
        return Status.SHIPPED

    orders.add_step(Status.CREATED, pay, to=[Status.PAID])
    orders.add_step(Status.PAID, ship, to=[Status.SHIPPED])
    return orders


@pytest.fixture
def settings(kafka_space: Space) -> dict[str, object]:
    return {
        "record_store": "memory",
        "role_scheduler": "memory",
        "event_streamer": "kafka",
        "namespace": kafka_space.name,
        "adapters.kafka.bootstrap_servers": kafka_space.url.bootstrap,
        "adapters.kafka.partitions": 2,
    }


def open_engine(settings: dict[str, object]) -> Engine:
    return Engine(Config.load(environ={}, overrides=settings).build())


def test_name_that_kafka_refuses_is_refused_before_it_is_served() -> None:
    """No broker is asked for that: none is there."""
    settings: dict[str, object] = {
        "record_store": "memory",
        "role_scheduler": "memory",
        "event_streamer": "kafka",
        "adapters.kafka.bootstrap_servers": "127.0.0.1:1",
    }
    with open_engine(settings) as engine:
        with pytest.raises(InputError, match=r"größen-1.*'ö'.*another name"):
            engine.serving(flow("größen"))
        engine.trigger(flow("größen"), "order-1", Order(1))  # a client knows no topic


def test_topics_of_a_workflow_with_spaces_are_gos(
    settings: dict[str, object], kafka_space: Space
) -> None:
    orders = flow("order processor")
    with open_engine(settings) as engine, engine.serving(orders):
        run_id = engine.trigger(orders, "order-1", Order(1))
        engine.wait_for(orders, run_id, Status.SHIPPED, LONG)
        producer = Producer({"bootstrap.servers": kafka_space.url.bootstrap})
        topics = {
            name.removeprefix(f"{kafka_space.name}.")
            for name in producer.list_topics(timeout=60).topics
            if name.startswith(kafka_space.name)
        }
        assert {"order_processor-1", "order_processor-2"} <= topics
        assert all(name.startswith("order_processor-") for name in topics)


def test_twenty_statuses_cost_no_thread_each(
    settings: dict[str, object], record_property: Callable[[str, Any], None]
) -> None:
    """Threads and sockets of one process, for one workflow of two and one of twenty statuses."""
    few, many = (_footprint(settings, count) for count in (2, 20))
    record_property("with 2 statuses", few)
    record_property("with 20 statuses", many)
    print(few, many)
    assert many["threads"] <= few["threads"]
    assert many["sockets"] <= few["sockets"]


def _footprint(settings: dict[str, object], count: int) -> dict[str, float]:
    statuses = IntEnum("Stages", {f"S{n}": n for n in range(1, count + 2)})  # type: ignore[misc]
    last = list(statuses)[-1]
    long: Workflow[Order, Any] = Workflow(f"flow {count}", Order, statuses, ends=(last,))
    for status in list(statuses)[:-1]:
        long.add_step(status, _to_the_next, to=[statuses(status + 1)])
    with open_engine(settings) as engine, engine.serving(long):
        run_id = engine.trigger(long, "order-1", Order(1))
        engine.wait_for(long, run_id, last, LONG)
        # the least of many looks: who asks for lag has a client of its own for a moment
        looks = [_look() for _ in range(60)]
        return {name: min(look[name] for look in looks) for name in looks[0]}


def _look() -> dict[str, float]:
    threading.Event().wait(0.05)
    return {
        "threads": len(list(Path("/proc/self/task").iterdir())),
        "sockets": sum("socket:" in _target(fd) for fd in Path("/proc/self/fd").iterdir()),
        "MB": round(int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 2**20, 1),
    }


def _to_the_next(run: Run[Order, Any]) -> Any:
    return type(run.status)(run.status + 1)


def _target(link: Path) -> str:
    try:
        return str(link.readlink())
    except OSError:  # closed meanwhile
        return ""


def test_foreign_topic_feeds_a_workflow_and_poison_is_set_aside(
    settings: dict[str, object], kafka_space: Space
) -> None:
    topic = f"{kafka_space.name}.payments"
    orders = flow()

    @orders.connector("payments", decode=bytes.decode, retry=Retry(pause_after=1))
    def begin(event: ConnectorEvent, told: str) -> Trigger[Order]:
        return Trigger(event.key, Order(int(told)))

    producer = Producer({"bootstrap.servers": kafka_space.url.bootstrap})
    for key, value in [("a", b"1"), ("a-poison", b"\xff"), ("b", b"2")]:
        producer.produce(topic, value, key)
    assert producer.flush(60) == 0
    bound = {"connectors.payments.adapter": "kafka", "connectors.payments.topic": topic}
    with open_engine({**settings, **bound}) as engine, engine.serving(orders):
        for foreign_id in ("a", "b"):
            run_id = _eventually(lambda name=foreign_id: _run_of(engine, name))  # type: ignore[misc]
            engine.wait_for(orders, run_id, Status.SHIPPED, LONG)
        poison = _eventually(
            lambda: "".join(letter.foreign_id for letter in engine.dead_letters(orders).items)
        )
        assert poison == "a-poison"


def _run_of(engine: Engine, foreign_id: str) -> str:
    page = engine.runs(RecordQuery(workflow="orders", foreign_id=foreign_id))
    return page.items[0].run_id if page.items else ""


def _eventually(find: Callable[[], str]) -> str:
    for _ in range(3_000):
        found = find()
        if found:
            return found
        threading.Event().wait(0.02)
    raise AssertionError("it never came")


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"])
def test_events_travel_encrypted_when_the_broker_asks_for_tls_and_sasl(
    mechanism: str, kafka_secure_server: Server, kafka_secure_space: Space
) -> None:
    secure = _secure(kafka_secure_space.url, kafka_secure_space.name)
    if mechanism != "PLAIN":
        user = f"{kafka_secure_space.name}-{mechanism}"
        _add_scram_user(kafka_secure_space.url, user, mechanism)
        secure |= {
            "adapters.kafka.sasl_mechanism": mechanism,
            "adapters.kafka.username": user,
            "adapters.kafka.password": f"of {user}",
        }
    orders = flow()
    with open_engine(secure) as engine, engine.serving(orders):
        run_id = engine.trigger(orders, "order-1", Order(1))
        engine.wait_for(orders, run_id, Status.SHIPPED, LONG)
        page = engine.runs(RecordQuery(workflow="orders", states=[RunState.COMPLETED]))
        assert [record.run_id for record in page.items] == [run_id]


def test_broker_is_unavailable_and_no_secret_is_told_when_the_password_is_wrong(
    kafka_secure_server: Server,
    kafka_secure_space: Space,
    caplog: pytest.LogCaptureFixture,
) -> None:
    url = kafka_secure_space.url
    streamer = KafkaEventStreamer(
        KafkaSettings(
            bootstrap_servers=[url.bootstrap],
            tls=True,
            tls_ca=Path(url.query["ca"]),
            sasl_mechanism=SaslMechanism.SCRAM_SHA_512,
            username=url.user,
            password=Secret("open sesame"),
        ),
        instance="stranger",
        namespace=kafka_secure_space.name,
    )
    with streamer, pytest.raises(AdapterUnavailableError) as refused:
        streamer.check_health()
    assert "open sesame" not in f"{refused.value} {refused.value.__cause__!r} {caplog.text}"


def _secure(url: ServerUrl, namespace: str) -> dict[str, Any]:
    return {
        "record_store": "memory",
        "role_scheduler": "memory",
        "event_streamer": "kafka",
        "namespace": namespace,
        "adapters.kafka.bootstrap_servers": url.bootstrap,
        "adapters.kafka.partitions": 2,
        "adapters.kafka.tls": True,
        "adapters.kafka.tls_ca": str(Path(url.query["ca"])),
        "adapters.kafka.sasl_mechanism": "PLAIN",
        "adapters.kafka.username": url.user,
        "adapters.kafka.password": url.password,
    }


def _add_scram_user(url: ServerUrl, user: str, mechanism: str) -> None:
    """As an administrator does, who has logged in by PLAIN."""
    admin = AdminClient(
        {
            "bootstrap.servers": url.bootstrap,
            "security.protocol": "sasl_ssl",
            "ssl.ca.location": url.query["ca"],
            "sasl.mechanism": "PLAIN",
            "sasl.username": url.user,
            "sasl.password": url.password,
        }
    )
    how = ScramCredentialInfo(ScramMechanism[mechanism.replace("-", "_")], 4096)
    wanted = UserScramCredentialUpsertion(user, how, f"of {user}".encode())
    for future in admin.alter_user_scram_credentials([wanted]).values():
        future.result(60)
