"""Requests that two workers have died of, or beside: their last attempts begin one at a time, and hold up nobody."""

import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
from sqlalchemy import text

from libs.bus.connection import Bus
from libs.contract import streams, subjects
from libs.contract.chat import MessageStatus
from libs.contract.generations import GenerationReply
from libs.contract.ids import LOCAL_USER
from libs.database.engine import opened_engine
from services.chat_worker import answering
from services.chat_worker.generations import MAX_ATTEMPTS
from services.chat_worker.records import NewRequest
from services.chat_worker.store import Store
from tests.chat_worker.workers import ask, working
from tests.scripted_model.server import ScriptedModel
from tests.waiting import until, until_answer

# Sooner than a request that still runs is taken for one that kills nobody.
SOON_SECONDS = answering.DEADLY_SECONDS / 2


@pytest.fixture
def url(sqlite_chat_file: Path, tmp_path: Path) -> str:
    return f"sqlite+aiosqlite:///{shutil.copy(sqlite_chat_file, tmp_path / 'chat.db')}"


@pytest.fixture
async def rows(url: str) -> AsyncIterator[Store]:
    async with opened_engine(url) as engine:
        yield Store(engine)


@pytest.fixture
async def model() -> AsyncIterator[ScriptedModel]:
    async with ScriptedModel.running() as running:
        yield running


async def fallen(rows: Store, url: str, request_id: str, *, attempts: int = MAX_ATTEMPTS - 1) -> int:
    """The answer to a request that so many workers have died with."""
    answer = (await rows.record(NewRequest(LOCAL_USER, request_id, None, f"Olá, {request_id}", "stall"))).answer
    async with opened_engine(url) as engine, engine.begin() as connection:
        await connection.execute(text(f"UPDATE messages SET attempts = {attempts} WHERE id = {answer.id}"))  # noqa: S608 (numbers)
    return answer.id


async def begun(rows: Store, *answers: int) -> int:
    """How many of them are at their last attempt."""
    return [(await rows.answer(one)).attempts for one in answers].count(MAX_ATTEMPTS)


async def items(bus: Bus) -> int:
    return (await bus.jetstream().stream_info(streams.CHAT.name)).state.messages


async def test_those_that_wait_take_no_place_from_others(bus: Bus, rows: Store, url: str, model: ScriptedModel) -> None:
    """One runs, two wait; with two places a request behind them is answered at once."""
    names = ("a", "b", "c")
    answers = [await fallen(rows, url, name) for name in names]
    async with working(bus, rows, model.url, slots=2):
        for name in names:
            await ask(bus, name, model="stall")
        await until_answer(lambda: begun(rows, *answers))
        await ask(bus, "fresh", model="echo")

        async def answered() -> bool:
            found = await rows.find(NewRequest(LOCAL_USER, "fresh", None, ""))
            return found is not None and found.answer.status is MessageStatus.COMPLETE

        await until_answer(answered, seconds=SOON_SECONDS)
        assert await begun(rows, *answers) == 1


async def test_what_a_sweeper_has_asked_for_again_does_not_wait_in_the_queue(
    bus: Bus, rows: Store, url: str, model: ScriptedModel
) -> None:
    """It would come to be many there, one more every half minute; a sweeper finds it again by its row."""
    runs, waits = await fallen(rows, url, "runs"), await fallen(rows, url, "waits")
    async with working(bus, rows, model.url, slots=4):
        await ask(bus, "runs", model="stall")
        await until_answer(lambda: begun(rows, runs))
        for _ in range(3):
            await ask(bus, "waits", model="stall", reply="")

        async def only_what_runs() -> bool:
            return await items(bus) == 1

        await until_answer(only_what_runs, seconds=SOON_SECONDS)
        assert (await rows.answer(waits)).status is MessageStatus.PENDING


async def test_the_next_one_begins_when_the_one_before_it_has_lived_long_enough(
    bus: Bus, rows: Store, url: str, model: ScriptedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An answer may take half an hour; what kills does so as soon as it is asked."""
    monkeypatch.setattr(answering, "DEADLY_SECONDS", 0.3)
    monkeypatch.setattr(answering, "LONGEST_TURN_SECONDS", 0.1)
    answers = [await fallen(rows, url, name) for name in ("a", "b", "c")]
    async with working(bus, rows, model.url, slots=4):
        for name in ("a", "b", "c"):
            await ask(bus, name, model="stall")

        async def all_begun() -> bool:
            return await begun(rows, *answers) == 3

        await until_answer(all_begun)
        await until(lambda: len(model.seen) == 3)


async def test_who_follows_one_that_runs_elsewhere_is_not_in_the_way_of_the_next(
    bus: Bus, rows: Store, url: str, model: ScriptedModel
) -> None:
    """It dies of nothing: the attempt is another worker's."""
    followed: list[str] = []

    async def elsewhere(subject: str, _: bytes) -> bytes:
        followed.append(subject)
        return msgspec.json.encode(GenerationReply(epoch=1, status=MessageStatus.STREAMING))

    other = await fallen(rows, url, "elsewhere", attempts=MAX_ATTEMPTS - 2)
    await rows.claim(other, worker="another", lease_ms=60_000, max_attempts=MAX_ATTEMPTS)
    own = await fallen(rows, url, "here")
    async with bus.serving(subjects.chat_generation(other), elsewhere), working(bus, rows, model.url, slots=4):
        await ask(bus, "elsewhere", model="stall")
        await until(lambda: followed)
        await ask(bus, "here", model="stall")
        await until_answer(lambda: begun(rows, own), seconds=SOON_SECONDS)
