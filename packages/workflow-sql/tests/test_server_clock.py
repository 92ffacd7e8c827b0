"""The server's clock, reckoned from answers that a busy machine gets late."""

import pytest
from workflow_sql.dialects import server_clock
from workflow_sql.dialects.server_clock import ServerClock

AHEAD = 3_000_000  # the server's clock less this machine's, in microseconds


class Machine:
    """This machine's time, moved by the test."""

    def __init__(self) -> None:
        self.at = 500

    def read(self, clock: ServerClock, *, there: int = 0, back: int = 0, ahead: int = AHEAD) -> int:
        """Ask the server; its clock is looked at once the question is `there`."""
        asked_at = self.at
        self.at += there
        server = self.at + ahead
        self.at += back
        clock.read(server, asked_at)
        return server


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    machine = Machine()
    monkeypatch.setattr(server_clock, "elapsed", lambda: machine.at)
    return machine


def test_quick_answer_is_kept_when_later_ones_come_late(machine: Machine) -> None:
    """Seen to fail when the last answer counted: events were not due for others for as long."""
    clock = ServerClock()
    machine.read(clock, there=20, back=10)
    for late in (70_000, 900, 30):
        machine.read(clock, there=5, back=late)
        assert clock.now() == machine.at + AHEAD - 10


def test_late_answer_is_made_good_by_a_quicker_one(machine: Machine) -> None:
    """Seen to fail when what was known stayed for good."""
    clock = ServerClock()
    machine.read(clock, back=70_000)
    machine.read(clock, back=300)
    assert clock.now() == machine.at + AHEAD - 300


@pytest.mark.parametrize("ahead", [AHEAD - 5_000, AHEAD + 5_000])
def test_server_is_followed_when_its_clock_is_set(machine: Machine, ahead: int) -> None:
    """Seen to fail with one of the bounds left out: each notices a way of its own."""
    clock = ServerClock()
    machine.read(clock)
    machine.read(clock, there=100, back=100, ahead=ahead)
    assert clock.now() == machine.at + ahead - 100


def test_nothing_is_due_early_however_the_answers_come(machine: Machine) -> None:
    """Seen to fail when an answer counted as that of the question's moment."""
    clock = ServerClock()
    for there, back in ((9_000, 0), (0, 9_000), (4_000, 4_000), (0, 1), (1, 0)):
        machine.read(clock, there=there, back=back)
        now = clock.now()
        assert now is not None
        assert now <= machine.at + AHEAD


def test_old_reading_is_not_gone_by(machine: Machine) -> None:
    clock = ServerClock()
    assert clock.now() is None
    machine.read(clock)
    machine.at += 60_000_000
    assert clock.now() is not None
    machine.at += 1
    assert clock.now() is None
