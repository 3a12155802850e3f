"""Any sequence of opening, checkpoints, closing, crashes and restarts of several processes leaves one record each."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from ext_proc.ledger.ledger import Ledger
from ext_proc.ledger.record import Counted, State, UsageRecord
from tests.unit.ledger.keeping import OPENED, dies, kept, record, started

PROCESSES = 3


class Sent:
    """A sink that remembers."""

    def __init__(self) -> None:
        self.ids: list[str] = []

    def send(self, record: UsageRecord) -> None:
        assert record.state is not State.OPEN
        self.ids.append(record.id)

    def end(self) -> None:
        pass


class Machine(RuleBasedStateMachine):
    """Three processes on one file, each of which may die and come again, beside what must be in the file."""

    exchanges = Bundle("exchanges")

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name) / "usage.db"
        self.sent = Sent()
        self.expected: dict[str, tuple[State, int]] = {}  # state and output tokens
        self.owners: dict[str, int] = {}  # the process of what is open
        self.number = 0

    @initialize()
    def start(self) -> None:
        self.ledgers: list[Ledger | None] = [self.opened() for _ in range(PROCESSES)]

    def opened(self) -> Ledger:
        async def open() -> Ledger:
            ledger = Ledger(await started(self.path), [self.sent])
            await ledger._recover()
            return ledger

        return self.runner.run(open())

    def teardown(self) -> None:
        for process in range(PROCESSES):
            self.end(process)
        self.runner.close()
        self.folder.cleanup()

    def buried(self) -> None:
        """What somebody else who opens the file finds of those that are gone."""
        for id, process in list(self.owners.items()):
            if self.ledgers[process] is None:
                self.expected[id] = State.INTERRUPTED, self.expected[id][1]
                del self.owners[id]

    @rule(target=exchanges, process=st.integers(0, PROCESSES - 1))
    def open(self, process: int) -> str:
        self.number += 1
        id = str(self.number)
        ledger = self.ledgers[process]
        if ledger is not None:
            assert self.runner.run(ledger.open(record(id)))
            self.expected[id], self.owners[id] = (State.OPEN, 0), process
        return id

    @rule(id=exchanges, process=st.integers(0, PROCESSES - 1))
    def open_again(self, id: str, process: int) -> None:
        ledger = self.ledgers[process]
        if ledger is not None and id in self.expected:
            assert not self.runner.run(ledger.open(record(id)))

    @rule(id=exchanges, process=st.integers(0, PROCESSES - 1), tokens=st.integers(1, 99))
    def checkpoint(self, id: str, process: int, tokens: int) -> None:
        ledger = self.ledgers[process]
        if ledger is None:
            return
        figures = record(id, output_tokens=tokens, counted=Counted.REPORTED)
        is_ours = self.owners.get(id) == process
        assert ledger.checkpoint(figures) is is_ours
        if is_ours:
            self.expected[id] = State.OPEN, tokens

    @rule(id=exchanges, process=st.integers(0, PROCESSES - 1), tokens=st.integers(100, 199))
    def close(self, id: str, process: int, tokens: int) -> None:
        ledger = self.ledgers[process]
        if ledger is None:
            return
        is_ours = self.owners.get(id) == process
        last = record(id, output_tokens=tokens).ended(State.CLOSED, OPENED + 1)
        assert self.runner.run(ledger.close(last)) is is_ours
        if is_ours:
            self.expected[id] = State.CLOSED, tokens
            del self.owners[id]

    @rule(process=st.integers(0, PROCESSES - 1))
    def die(self, process: int) -> None:
        ledger = self.ledgers[process]
        if ledger is not None:
            assert ledger._file is not None
            dies(ledger._file)
            self.ledgers[process] = None

    @rule(process=st.integers(0, PROCESSES - 1))
    def end(self, process: int) -> None:
        ledger = self.ledgers[process]
        if ledger is None:
            return
        self.runner.run(ledger.end())
        for id, owner in list(self.owners.items()):
            if owner == process:
                self.expected[id] = State.INTERRUPTED, self.expected[id][1]
                del self.owners[id]
        self.ledgers[process] = None

    @rule(process=st.integers(0, PROCESSES - 1))
    def come_again(self, process: int) -> None:
        if self.ledgers[process] is None:
            self.buried()
            self.ledgers[process] = self.opened()

    @rule(process=st.integers(0, PROCESSES - 1))
    def look_for_the_dead(self, process: int) -> None:
        ledger = self.ledgers[process]
        if ledger is not None:
            self.buried()
            self.runner.run(ledger._recover())

    @invariant()
    def each_exchange_has_one_record(self) -> None:
        if self.path.exists():
            found = {id: (one.state, one.output_tokens) for id, one in kept(self.path).items()}
            assert found == self.expected

    @invariant()
    def what_is_over_was_sent_once(self) -> None:
        over = [id for id, (state, _) in self.expected.items() if state is not State.OPEN]
        assert sorted(self.sent.ids) == sorted(over)


def test_one_record_each_whatever_happens() -> None:
    run_state_machine_as_test(Machine, settings=settings(max_examples=25, stateful_step_count=25, deadline=None))
