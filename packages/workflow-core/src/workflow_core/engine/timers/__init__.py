"""Timers: what is armed, when it fires, and why none is lost.

A timer belongs to one stay of one run in a status. At every instant each live run at a status with
timers has, for each of them, one of:

- a row in the timeout store: open, or closed and remembered until the run has ended;
- an event of this stay on its way, in the outbox, in the stream or in hand, that no consumer acks
  before it has armed what the event's writer could not arm.

Where the timeout store shares the record store's database (`TimeoutStore.joins`) a writer that
knows the definition arms and cancels within the transition's own transaction, and says so in the
event (`book.MARK`). Everybody else, such as a client without a timeout store, an operator's resume,
an older version of the code, and all where the timers are elsewhere, leaves it to the consumer of
the status: reception arms first and hands the event on to the step afterwards (`Arming`). Arming is
idempotent by key and goes by the stay that the record tells, whatever the event's version.

What breaks it from outside (events lost, timers lost, a timer added where runs already wait) is
healed by `ArmingRounds`, on start and with each round of the reconciler.

| module | what it does |
|---|---|
| `book` | which timers there are, what a write arms and cancels; pure |
| `clerk` | arms and cancels with the writes that need it |
| `arming` | arms what writers could not: from events, and round by round |
| `leftovers` | forgets the timers of ended runs that nobody else has |
| `firing` | one timer that is due: its function called, its answer judged |
| `calls` | which functions are in hand, how long they take, whose turn is far off |
| `poller` | looks for due timers, lets them fire, commits what they answer |
| `desk` | all that a serving needs of the above |
"""
