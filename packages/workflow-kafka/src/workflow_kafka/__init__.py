"""Kafka as workflow-core's event streamer, and foreign topics as connector sources."""

from workflow_kafka.settings import Assignor, KafkaSettings, SaslMechanism
from workflow_kafka.source import KafkaConnectorSource, KafkaTopicSettings
from workflow_kafka.streamer import KafkaEventStreamer

__all__ = [
    "Assignor",
    "KafkaConnectorSource",
    "KafkaEventStreamer",
    "KafkaSettings",
    "KafkaTopicSettings",
    "SaslMechanism",
]
