"""Identifiers as the standard wants them."""

import random
import uuid
from datetime import UTC, datetime, timedelta

import pytest
from workflow_core.model import uuid7

BORN = datetime(2026, 7, 1, 12, 30, 15, 250_000, tzinfo=UTC)


class Extreme(random.Random):
    """All bits alike."""

    def __init__(self, bit: int) -> None:
        super().__init__(0)
        self._bit = bit

    def getrandbits(self, k: int) -> int:
        return ((1 << k) - 1) * self._bit


@pytest.mark.parametrize("entropy", [Extreme(0), Extreme(1), random.Random(1)])
@pytest.mark.parametrize("now", [BORN, datetime(1970, 1, 1, tzinfo=UTC)])
def test_uuid7_tells_version_variant_and_time_whatever_chance_says(
    entropy: random.Random, now: datetime
) -> None:
    """Seen to fail with 13 bits above the variant, and with chance over the variant itself."""
    text = uuid7(now, entropy)
    made = uuid.UUID(text)
    assert str(made) == text
    assert made.version == 7
    assert made.variant == uuid.RFC_4122
    assert made.int >> 80 == int(now.timestamp() * 1000)


def test_uuid7_keeps_all_74_bits_of_chance() -> None:
    """Seen to fail when the upper 12 are dropped."""
    ones, zeros = (int(uuid.UUID(uuid7(BORN, Extreme(bit)))) for bit in (1, 0))
    assert (ones ^ zeros).bit_count() == 74


def test_uuid7_grows_with_time() -> None:
    """Within one millisecond the order is random. Seen to fail with seconds for milliseconds."""
    entropy = random.Random(2)
    ids = [uuid7(BORN + timedelta(milliseconds=n), entropy) for n in range(1_000)]
    assert ids == sorted(ids)
