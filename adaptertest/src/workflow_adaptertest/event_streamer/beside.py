"""The streamer beside a store, its lag, its namespace."""

from __future__ import annotations

from workflow_core.errors import NotSupportedError, VersionConflictError
from workflow_core.ports import (
    EventSender,
    EventStreamer,
    RecordStore,
    Write,
)

from workflow_adaptertest.contract import Opener
from workflow_adaptertest.env import Env
from workflow_adaptertest.event_streamer.base import (
    JOINS_NONE,
    NAME,
    TOPIC,
    ZERO,
    EventStreamerCases,
    Subscribe,
    drain,
    ids_of,
    sent,
    take,
)
from workflow_adaptertest.samples import OnPurposeError, Samples, StrangeTransaction, refuses
from workflow_adaptertest.telling import not_applicable

__all__ = ["BesideCases"]


class BesideCases(EventStreamerCases):
    """With a ``joined_store``: events exist if and only if its transaction commits."""

    def test_send_within_is_refused_by_name_when_the_streamer_joins_no_store(
        self, streamer: EventStreamer, joined: RecordStore | None, make: Samples
    ) -> None:
        if joined is not None:
            not_applicable("it joins a store")
        with refuses(NotSupportedError, "it joins no store, or name it in joined_store()"):
            streamer.send_within(StrangeTransaction(), [make.event(make.record())])

    def test_streamer_says_that_it_joins_when_the_store_is_beside_it(
        self, streamer: EventStreamer, joined: RecordStore | None
    ) -> None:
        if joined is None:
            not_applicable(JOINS_NONE)
        assert streamer.joins(joined), "joined_store() answers a store that it joins"

    def test_events_arrive_when_the_transaction_commits(
        self,
        streamer: EventStreamer,
        joined: RecordStore | None,
        sender: EventSender,
        subscribe: Subscribe,
        make: Samples,
        env: Env,
    ) -> None:
        if joined is None:
            not_applicable(JOINS_NONE)
        receiver = subscribe()
        record = make.record()
        event = make.event(record, topic=TOPIC)
        with joined.transaction() as transaction:
            transaction.store_many([Write(record=record)])
            streamer.send_within(transaction, [event])
            assert receiver.recv(ZERO) is None, "nothing is visible before the commit"
        (delivery,) = take(receiver, 1, env)
        assert delivery.event.id == event.id
        (after,) = sent(sender, make, env, [record.replace(version=2)])
        assert ids_of(drain(receiver, [after], env)) == [after.id], "both ways into one stream"

    def test_events_never_arrive_when_the_transaction_is_rolled_back(
        self,
        streamer: EventStreamer,
        joined: RecordStore | None,
        sender: EventSender,
        subscribe: Subscribe,
        make: Samples,
        env: Env,
    ) -> None:
        if joined is None:
            not_applicable(JOINS_NONE)
        receiver = subscribe()
        record = make.record()
        own_error = refuses(OnPurposeError, "the block's own error is passed on")
        with own_error, joined.transaction() as transaction:
            streamer.send_within(transaction, [make.event(record, topic=TOPIC)])
            raise OnPurposeError
        (marker,) = sent(sender, make, env, [record])
        assert ids_of(drain(receiver, [marker], env)) == [marker.id], "a rolled back event arrived"

    def test_events_go_beside_the_winners_when_a_write_in_the_transaction_loses(
        self,
        streamer: EventStreamer,
        joined: RecordStore | None,
        subscribe: Subscribe,
        make: Samples,
        env: Env,
    ) -> None:
        if joined is None:
            not_applicable(JOINS_NONE)
        good, lost = make.record(), make.next(make.record())
        event = make.event(good, topic=TOPIC)
        with joined.transaction() as transaction:
            outcomes = transaction.store_many([Write(record=lost), Write(record=good)])
            assert isinstance(outcomes[0], VersionConflictError)
            streamer.send_within(transaction, [event])
        assert ids_of(take(subscribe(), 1, env)) == [event.id]
        assert set(joined.lookup_many([good.run_id, lost.run_id])) == {good.run_id}

    # -- lag -----------------------------------------------------------------------------------

    def test_lag_is_the_age_of_the_oldest_unacked_event_or_unknown_when_asked(
        self,
        streamer: EventStreamer,
        sender: EventSender,
        subscribe: Subscribe,
        make: Samples,
        env: Env,
    ) -> None:
        receiver = subscribe()
        if streamer.lag([TOPIC], NAME) is None:
            not_applicable("the lag is not known")
        assert streamer.lag([TOPIC], NAME) == ZERO, "zero: none waits"
        sent(sender, make, env, [make.record()])
        env.advance(1)
        sent(sender, make, env, [make.record()])
        first = take(receiver, 2, env)
        lag = streamer.lag([TOPIC], NAME)
        assert lag is not None
        assert lag > env.tick / 2, f"an event of a tick ({env.tick}) ago is not acked, not {lag}"
        receiver.ack(first)
        assert streamer.lag([TOPIC], NAME) == ZERO, "all is acked"

    # -- the adapter ---------------------------------------------------------------------------

    def test_streamer_keeps_to_its_namespace_when_there_is_another(
        self,
        sender: EventSender,
        subscribe: Subscribe,
        make: Samples,
        env: Env,
        open_handle: Opener,
    ) -> None:
        stranger: EventStreamer = open_handle(env.elsewhere())
        run = make.record()
        theirs = subscribe(streamer=stranger)
        sent(sender, make, env, [run])
        with stranger.new_sender() as their_sender:
            (marker,) = sent(their_sender, make, env, [run])
        assert ids_of(drain(theirs, [marker], env)) == [marker.id], "another namespace's event"

    def test_health_is_a_phrase_when_all_is_well(self, streamer: EventStreamer) -> None:
        assert streamer.check_health().strip()

    def test_closing_is_harmless_when_repeated(self, open_handle: Opener) -> None:
        handle: EventStreamer = open_handle()
        handle.close()
        handle.close()
