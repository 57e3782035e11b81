"""The checks find what is wrong: rows made by hand, each with one fault."""

import sqlite3
from pathlib import Path
from typing import Any

import pytest

from tests.chaos.invariants import check_chats, check_tasks
from tests.chaos.journal import Fault, Journal
from tests.chaos.room import Room
from tests.chaos.tasks import Change, TaskBoard
from tests.chaos.transcripts import Asked, View

TEXT = "t0 t1 t2 "
MESSAGES = (
    "CREATE TABLE messages"
    " (id INTEGER PRIMARY KEY, conversation_id, request_id, role, status, content, epoch, finish_reason)"
)
TASKS = (
    "CREATE TABLE tasks (id INTEGER PRIMARY KEY, revision);"
    "CREATE TABLE task_events (task_id, revision, request_id);"
    "CREATE TABLE task_frames (published)"
)

Row = tuple[str, str, str]

USER = ("user", "complete", "question")
ANSWER = ("assistant", "complete", TEXT)


def database(file: Path, schema: str, *statements: str) -> str:
    connection = sqlite3.connect(file)
    connection.executescript(";".join((schema, *statements)))
    connection.close()
    return f"sqlite+aiosqlite:///{file}"


def chats(file: Path, stored: list[Row]) -> str:
    """A database with these rows of one request."""
    url = database(file, MESSAGES)
    connection = sqlite3.connect(file)
    connection.executemany("INSERT INTO messages VALUES (NULL, 1, 'r1', ?, ?, ?, 1, NULL)", stored)
    connection.commit()
    connection.close()
    return url


async def broken_chats(file: Path, stored: list[Row], *, shown: str | None = TEXT) -> list[str]:
    """What `check_chats` says of one accepted request with these rows; `shown`: what a client saw, to the end."""
    journal = Journal()
    room = Room({}, journal, resume=True)
    asked = room.asked["r1"] = Asked("r1", 1, "question", "paced-3-50", at=0.0, accepted_at=1.0)
    if shown is not None:
        ended(View(asked), shown)
    await check_chats(room, chats(file, stored))
    return [broken.what for broken in journal.violations]


def ended(view: View, text: str) -> None:
    common: dict[str, Any] = {"epoch": 1, "messageId": 2}
    view.take({**common, "seq": 1, "chunk": text, "done": False})
    view.take({**common, "seq": 2, "chunk": "", "done": True, "status": "complete"})
    view.message = {"content": text}


async def test_a_request_with_its_answer_breaks_nothing(tmp_path: Path) -> None:
    """Both rows, the whole text, on the screen too."""
    assert await broken_chats(tmp_path / "db", [USER, ANSWER]) == []


@pytest.mark.parametrize(
    ("stored", "shown", "said"),
    [
        ([], TEXT, "has the rows {}"),
        ([USER], TEXT, "has the rows {'user': 1}"),
        ([USER, ANSWER, ANSWER], TEXT, "'assistant': 2"),
        ([USER, ("assistant", "streaming", "t0 ")], None, "the answer is still streaming"),
        ([USER, ("assistant", "complete", "t0 t1 ")], "t0 t1 ", "not all that the model said"),
        ([USER, ("assistant", "cancelled", "t0 t2 ")], None, "not what the model said"),
        ([("user", "complete", "another"), ANSWER], TEXT, "the stored question is another one"),
        ([USER, ANSWER], "t0 t1 ", "a client shows 6 characters, the row has 9"),
    ],
)
async def test_whatever_is_wrong_with_a_request_is_found(
    tmp_path: Path, stored: list[Row], shown: str | None, said: str
) -> None:
    """Lost, doubled, unfinished, cut short, mixed up, shown otherwise than stored."""
    assert any(said in what for what in await broken_chats(tmp_path / "db", stored, shown=shown))


@pytest.mark.parametrize(("first", "said"), [(1, ["epoch 1 has texts of 2 attempts"]), (0, [])])
async def test_a_worker_that_writes_over_its_successors_answer_is_found(
    tmp_path: Path, first: int, said: list[str]
) -> None:
    """Also where everybody shows in the end what is stored."""
    journal = Journal()
    room = Room({}, journal, resume=True)
    asked = room.asked["r1"] = Asked("r1", 1, "question", "unique-3-50", at=0.0, accepted_at=1.0)
    view = View(asked)
    view.take({"epoch": first, "messageId": 2, "seq": 1, "chunk": "#one t0 ", "done": False, "reset": True})
    view.take({"epoch": 1, "messageId": 2, "seq": 1, "chunk": "", "done": False, "reset": True})
    view.seq = 0
    ended(view, f"#two {TEXT}")
    await check_chats(room, chats(tmp_path / "db", [USER, ("assistant", "complete", f"#two {TEXT}")]))
    assert [broken.what for broken in journal.violations] == said


async def test_a_client_that_still_waits_is_found(tmp_path: Path) -> None:
    """Every stream ends."""
    journal = Journal()
    room = Room({}, journal, resume=True)
    asked = room.asked["r1"] = Asked("r1", 1, "question", "paced-3-50", at=0.0, accepted_at=1.0)
    View(asked)
    await check_chats(room, chats(tmp_path / "db", [USER, ANSWER]))
    assert [broken.what for broken in journal.violations] == ["a client was never told the end"]


@pytest.mark.parametrize(("poison", "killed", "said"), [(False, False, 1), (True, False, 0), (False, True, 0)])
async def test_nobody_is_given_up_for_a_neighbour(tmp_path: Path, poison: bool, killed: bool, said: int) -> None:
    """Only a request that has killed its workers itself, or whose workers were killed by something else."""
    journal = Journal(faults=[Fault(1.0, "chat_worker", "chat_worker-1", "kill" if killed else "poison", 1.0, 5.0)])
    room = Room({}, journal, resume=True)
    room.asked["r1"] = Asked("r1", 1, "question", "paced-3-50", at=0.0, poison=poison)
    url = chats(tmp_path / "db", [USER, ("assistant", "error", "")])
    connection = sqlite3.connect(tmp_path / "db")
    connection.execute("UPDATE messages SET finish_reason = 'gave_up' WHERE role = 'assistant'")
    connection.commit()
    connection.close()
    await check_chats(room, url)
    assert sum("given up" in broken.what for broken in journal.violations) == said


@pytest.mark.parametrize(
    ("statements", "seen", "said"),
    [
        (["INSERT INTO task_events VALUES (1, 1, 'a'), (1, 3, 'b')"], 3, "have gaps"),
        (["INSERT INTO task_events VALUES (1, 1, 'a'), (1, 2, 'x'), (1, 3, 'y')"], 3, "carried out as []"),
        (["INSERT INTO task_events VALUES (1, 1, 'a'), (1, 2, 'b'), (1, 3, 'b')"], 3, "carried out as [2, 3]"),
        (["INSERT INTO task_events VALUES (1, 1, 'a'), (1, 2, 'b'), (1, 3, 'c')"], 2, "shows revision 2"),
        (["INSERT INTO task_frames VALUES (0)"], 3, "never published"),
    ],
)
async def test_whatever_is_wrong_with_a_task_is_found(
    tmp_path: Path, statements: list[str], seen: int, said: str
) -> None:
    """A gap, a change lost or carried out twice, a watcher left behind, an update never told."""
    url = database(tmp_path / "db", TASKS, "INSERT INTO tasks VALUES (1, 3)", *statements)
    board = TaskBoard(changes={name: Change(name, 1, 3) for name in ("a", "b")}, tasks=[1], seen={"watcher": {1: seen}})
    journal = Journal()
    await check_tasks(journal, board, url)
    assert any(said in broken.what for broken in journal.violations)
