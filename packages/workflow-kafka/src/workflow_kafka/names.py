"""Names as Kafka has them: the namespace before them, and which ones it takes at all."""

from __future__ import annotations

import re

from workflow_core.errors import InputError

__all__ = ["check_topic", "in_namespace", "out_of_namespace"]

_LONGEST = 249
_TAKEN = re.compile(r"[A-Za-z0-9._-]")


def in_namespace(namespace: str, name: str) -> str:
    """The topic or group that carries this name.

    With a full stop between: a broker refuses to make ``shop.orders-1`` beside ``shop_orders-1``,
    so two namespaces never share a topic in silence.
    """
    return f"{namespace}.{name}" if namespace else name


def out_of_namespace(namespace: str, name: str) -> str:
    """What `in_namespace` was given."""
    return name[len(namespace) + 1 :] if namespace else name


def check_topic(topic: str, *, namespace: str = "") -> None:
    """Raises InputError, which says what Kafka dislikes about the name."""
    whole = in_namespace(namespace, topic)
    odd = sorted({character for character in whole if not _TAKEN.match(character)})
    if odd:
        why = f"it has {', '.join(map(repr, odd))}, and Kafka takes letters, digits, '.', '_', '-'"
    elif len(whole) > _LONGEST:
        why = f"it has {len(whole)} characters, and Kafka takes {_LONGEST}"
    elif whole in ("", ".", ".."):
        why = "Kafka keeps this name for itself"
    else:
        return
    raise InputError(
        f"Kafka cannot have the topic {whole!r}: {why}",
        adapter="kafka",
        hint="A topic is named after its workflow: give the workflow another name",
    )
