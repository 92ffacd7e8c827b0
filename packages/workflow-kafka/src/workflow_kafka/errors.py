"""Kafka's errors as the ports' errors."""

from __future__ import annotations

from confluent_kafka import KafkaError, KafkaException
from workflow_core.errors import AdapterError, AdapterUnavailableError

__all__ = ["error_of", "kafka_error", "unavailable"]

_FOR_GOOD = {
    KafkaError.CLUSTER_AUTHORIZATION_FAILED: "The client's user may not do this on the cluster",
    KafkaError.GROUP_AUTHORIZATION_FAILED: "The client's user may not use this consumer group",
    KafkaError.INVALID_CONFIG: "A setting of topic_config is none of Kafka's",
    KafkaError.INVALID_MSG: "",
    KafkaError.INVALID_PARTITIONS: "",
    KafkaError.INVALID_RECORD: "",
    KafkaError.INVALID_REPLICATION_FACTOR: "Set replication to at most the number of brokers",
    KafkaError.MSG_SIZE_TOO_LARGE: "Its headers are larger than message.max.bytes allows",
    KafkaError.POLICY_VIOLATION: "A policy of the cluster forbids it",
    KafkaError.TOPIC_AUTHORIZATION_FAILED: "The client's user may not use this topic",
    KafkaError.TOPIC_EXCEPTION: "",
}


def kafka_error(exception: KafkaException) -> KafkaError:
    """What the exception is about."""
    error = exception.args[0] if exception.args else None
    return error if isinstance(error, KafkaError) else KafkaError(KafkaError._FAIL)


def error_of(error: KafkaError, *, doing: str) -> AdapterError:
    """The port's error, its cause set; raise it or answer it.

    Only the name of Kafka's error is told: its text may hold addresses or what was sent.
    """
    what = f"{doing} failed with {error.name()}"
    made: AdapterError
    if error.code() in _FOR_GOOD:
        made = AdapterError(what, adapter="kafka", hint=_FOR_GOOD[error.code()])
    else:
        made = AdapterUnavailableError(what, adapter="kafka")
    made.__cause__ = KafkaException(error)
    return made


def unavailable(what: str) -> AdapterUnavailableError:
    """Nobody knows what happened, and Kafka has not said why."""
    return AdapterUnavailableError(what, adapter="kafka")
