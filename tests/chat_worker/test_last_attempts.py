"""Requests that two workers have died of, or beside: their last attempts begin one at a time, and hold up nobody."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import msgspec
import pytest

from libs.bus.connection import Bus
from libs.bus.work_queue import WorkItem
from libs.contract import streams, subjects
from libs.contract.chat import MessageStatus
from libs.contract.generations import GenerationCommand, GenerationReply
from libs.contract.ids import LOCAL_USER
from services.chat_worker import answering, sweeper
from services.chat_worker.generations import MAX_ATTEMPTS
from services.chat_worker.records import Claimed, NewRequest
from services.chat_worker.store import Store
from tests.chat_worker.workers import ask, worker
from tests.on_the_bus import serving
from tests.scripted_model.server import ScriptedModel
from tests.waiting import until, until_answer

# Answered in part, and then the model server is silent: it runs until somebody ends it.
MODEL = "stall"
NAMES = ("a", "b", "c")
# Sooner than a request that still runs is taken for one that kills nobody.
SOON_SECONDS = answering.DEADLY_SECONDS / 2


@pytest.fixture
async def model() -> AsyncIterator[ScriptedModel]:
    async with ScriptedModel.running() as running:
        yield running


@pytest.fixture
async def answers(sqlite_store: Store) -> list[int]:
    """Of three requests that come again."""
    return [await fallen(sqlite_store, name) for name in NAMES]


async def fallen(kept: Store, request_id: str, *, attempts: int = MAX_ATTEMPTS - 1) -> int:
    """The answer to a request that so many workers have died with."""
    answer = (await kept.record(NewRequest(LOCAL_USER, request_id, None, request_id, MODEL))).answer
    for _ in range(attempts):
        dying = await kept.claim(answer.id, worker="dead", lease_ms=0, max_attempts=MAX_ATTEMPTS)
        assert isinstance(dying, Claimed)
    return answer.id


async def at_last_attempt(kept: Store, *answers: int) -> list[int]:
    return [one for one in answers if (await kept.answer(one)).attempts == MAX_ATTEMPTS]


async def test_two_workers_begin_two_of_them_and_the_third_one_waits(
    sqlite_store: Store, answers: list[int], bus: Bus, model: ScriptedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long they run, if that proves nothing; the third one begins when one of them has ended."""
    monkeypatch.setattr(answering, "DEADLY_SECONDS", 1000.0)
    put_off: list[WorkItem] = []
    async with AsyncExitStack() as workers:
        for name in ("w1", "w2"):
            await workers.enter_async_context(worker(name, bus, sqlite_store, model, ended=put_off.append))
        for name in NAMES:
            await ask(bus, name, model=MODEL)

        async def begun(count: int) -> bool:
            return len(await at_last_attempt(sqlite_store, *answers)) == count

        await until_answer(lambda: begun(2))
        # It was looked at again, and put off again.
        await until(lambda: len(put_off) >= 2)
        running = await at_last_attempt(sqlite_store, *answers)
        assert len(running) == 2
        cancel = msgspec.json.encode(GenerationCommand("cancel"))
        await bus.request(subjects.chat_generation(running[0]), cancel, timeout=5)
        await until_answer(lambda: begun(3))


async def test_one_that_has_lived_long_enough_keeps_none_waiting(
    sqlite_store: Store, answers: list[int], bus: Bus, model: ScriptedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An answer may take half an hour; a poisoned request kills at once."""
    monkeypatch.setattr(answering, "DEADLY_SECONDS", 0.2)
    async with worker("w1", bus, sqlite_store, model):
        for name in NAMES:
            await ask(bus, name, model=MODEL)

        async def all_run() -> bool:
            return await at_last_attempt(sqlite_store, *answers) == answers and len(model.connections) >= len(NAMES)

        await until_answer(all_run)


async def test_those_that_wait_take_no_place_from_others(
    sqlite_store: Store, answers: list[int], bus: Bus, model: ScriptedModel
) -> None:
    """One runs, two wait; with two places a request behind them is answered at once."""
    async with worker("w1", bus, sqlite_store, model, slots=2):
        for name in NAMES:
            await ask(bus, name, model=MODEL)
        await until_answer(lambda: at_last_attempt(sqlite_store, *answers))
        await ask(bus, "fresh", model="echo")

        async def answered() -> bool:
            found = await sqlite_store.find(NewRequest(LOCAL_USER, "fresh", None, ""))
            return found is not None and found.answer.status is MessageStatus.COMPLETE

        await until_answer(answered, seconds=SOON_SECONDS)
        assert len(await at_last_attempt(sqlite_store, *answers)) == 1


async def test_what_a_sweeper_has_asked_for_again_waits_until_the_next_one_may_come_and_no_longer(
    sqlite_store: Store, bus: Bus, model: ScriptedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would come to be many in the queue; but to look once in half a minute is to starve among many of its kind."""
    assert answering.SWEPT_TURNS * answering.LONGEST_TURN_SECONDS < sweeper.FORGOTTEN_SECONDS
    monkeypatch.setattr(answering, "SWEPT_TURNS", 4)
    monkeypatch.setattr(answering, "LONGEST_TURN_SECONDS", 0.1)
    turns: list[WorkItem] = []
    runs, waits = await fallen(sqlite_store, "runs"), await fallen(sqlite_store, "waits")
    async with worker("w1", bus, sqlite_store, model, ended=turns.append):
        await ask(bus, "runs", model=MODEL)
        await until_answer(lambda: at_last_attempt(sqlite_store, runs))
        for _ in range(3):
            await ask(bus, "waits", model=MODEL, reply="")

        async def only_what_runs() -> bool:
            return (await bus.jetstream().stream_info(streams.CHAT.name)).state.messages == 1

        await until_answer(only_what_runs, seconds=SOON_SECONDS)
        assert await at_last_attempt(sqlite_store, waits) == []
        assert len(turns) == 3 * answering.SWEPT_TURNS


async def test_who_follows_one_that_runs_elsewhere_is_not_in_the_way_of_the_next(
    sqlite_store: Store, bus: Bus, model: ScriptedModel
) -> None:
    """It dies of nothing: the attempt is another worker's."""
    followed: list[str] = []

    async def elsewhere(subject: str, _: bytes) -> bytes:
        followed.append(subject)
        return msgspec.json.encode(GenerationReply(epoch=1, status=MessageStatus.STREAMING))

    other = await fallen(sqlite_store, "elsewhere", attempts=MAX_ATTEMPTS - 2)
    await sqlite_store.claim(other, worker="another", lease_ms=60_000, max_attempts=MAX_ATTEMPTS)
    own = await fallen(sqlite_store, "here")
    async with serving(bus, subjects.chat_generation(other), elsewhere), worker("w1", bus, sqlite_store, model):
        await ask(bus, "elsewhere", model=MODEL)
        await until(lambda: followed)
        await ask(bus, "here", model=MODEL)
        await until_answer(lambda: at_last_attempt(sqlite_store, own), seconds=SOON_SECONDS)
