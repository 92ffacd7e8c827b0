from datetime import timedelta
from enum import IntEnum
from pathlib import Path

import pytest
from workflow_core.discovery.masking import mask, shown
from workflow_core.ports import Secret


class Level(IntEnum):
    HIGH = 2


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("postgresql://app:hunter2@db/shop", "postgresql://app:…@db/shop"),
        ("postgresql://app:p@ss/w:rd@db:5432/shop", "postgresql://app:…@db:5432/shop"),
        ("redis://:hunter2@cache", "redis://:…@cache"),
        (
            "postgresql://db/shop?user=app&password=hunter2&x=1",
            "postgresql://db/shop?user=app&password=…&x=1",
        ),
        ("host=db password='hunter 2' user=app", "host=db password=… user=app"),
        ("sqlite:///orders.db", "sqlite:///orders.db"),
        ("http://db:5432/shop", "http://db:5432/shop"),
        ("no URL at all", "no URL at all"),
    ],
)
def test_password_in_a_text_is_masked_and_nothing_else(text: str, masked: str) -> None:
    assert mask(text) == masked


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "not set"),
        (True, "true"),
        (5, "5"),
        (timedelta(minutes=90), "1h30m"),
        (Level.HIGH, "high"),
        (Path("a/b"), "a/b"),
        (("a", "b"), "a, b"),
        (Secret("pw"), "…"),
        ((Secret("pw"),), "…"),
        ({"sasl.password": "pw", "linger.ms": 5}, "sasl.password = …, linger.ms = 5"),
        (("amqp://a:pw@b",), "amqp://a:…@b"),
    ],
)
def test_value_is_shown_as_a_person_writes_it(value: object, text: str) -> None:
    assert shown(value) == text


def test_plain_text_is_hidden_when_its_name_says_that_it_is_a_secret() -> None:
    assert shown("hunter2", name="Sasl_Password") == "…"
    assert shown(None, name="password") == "not set"
