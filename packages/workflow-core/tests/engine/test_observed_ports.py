"""What stands for an adapter where somebody observes: all of its port, told or passed on."""

from __future__ import annotations

from datetime import timedelta

import pytest
from workflow_core.discovery import in_memory
from workflow_core.engine.observed_ports import NOT_TOLD, Observed, adapter_of, observed_adapters
from workflow_core.engine.observers import Observers
from workflow_core.memory import MemoryRecordStore
from workflow_core.model import PortCalled, RecordQuery
from workflow_core.ports import (
    ConnectorSource,
    EventSender,
    EventStreamer,
    Observer,
    Receiver,
    RecordStore,
    RoleScheduler,
    StoreTransaction,
    TimeoutStore,
)

NOW = timedelta(0)
PORTS = [
    *(ConnectorSource, EventSender, EventStreamer, Receiver, RecordStore, RoleScheduler),
    *(StoreTransaction, TimeoutStore),
]


@pytest.mark.parametrize("port", PORTS, ids=lambda port: port.__name__)
def test_each_method_of_a_port_is_told_or_is_known_not_to_be(port: type) -> None:
    """Seen to fail when the methods were a list in which one was missing."""

    class Silent:
        """Has all names of the port and does nothing."""

        def __getattr__(self, name: str) -> object:
            return lambda *args: name

    observers = Observers([Observer()], lambda process: None)
    observed = Observed(Silent(), "a_port", "silent", port, observers)
    methods = {name for name in dir(port) if not name.startswith("_")}
    told = {name for name in methods if name in vars(observed)}
    assert told == methods - NOT_TOLD


def test_nothing_is_left_out_that_no_port_has() -> None:
    """Seen to fail with a name in NOT_TOLD that no port has."""
    assert all(
        any(name in dir(port) for port in PORTS) or name == "connection" for name in NOT_TOLD
    )


def test_adapters_know_each_other_through_what_stands_for_them() -> None:
    """Seen to fail when `joins` was handed what stands for the store."""
    with in_memory().build() as adapters:
        observers = Observers([Observer()], lambda process: None)
        observed = observed_adapters(adapters, observers)
        assert observed.event_streamer is not None
        assert observed.timeout_store is not None
        assert observed.event_streamer.joins(observed.record_store)
        assert observed.timeout_store.joins(observed.record_store)
        with observed.record_store.transaction() as transaction:
            observed.event_streamer.send_within(transaction, [])
            observed.timeout_store.write_within(transaction, arm=[], cancel=["a", "b"])
        assert observed.record_store.capabilities == adapters.record_store.capabilities
        assert isinstance(adapter_of(observed.record_store), MemoryRecordStore)


def test_a_transaction_tells_its_begin_and_its_commit_and_no_fault_of_who_left_it() -> None:
    told: list[PortCalled] = []
    with in_memory().build() as adapters:
        observers = Observers([Observer()], lambda process: None)
        observers.tell = told.append  # type: ignore[method-assign, assignment]
        store = observed_adapters(adapters, observers).record_store
        with store.transaction() as transaction:
            transaction.lookup_many(["one", "two"])
        with pytest.raises(ZeroDivisionError), store.transaction():
            raise ZeroDivisionError
        page = store.list_records(RecordQuery())
    assert [(it.operation, it.items, it.error) for it in told] == [
        ("begin", None, ""),
        ("lookup_many", 2, ""),
        ("commit", None, ""),
        ("begin", None, ""),
        ("list_records", len(page.items), ""),
    ]
    assert {it.adapter for it in told} == {"memory"}
