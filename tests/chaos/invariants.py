"""What must be true when everything has come to rest, checked from outside: rows by plain SQL against transcripts."""

from collections import Counter, defaultdict
from typing import Any

from libs.contract.chat import MessageStatus
from tests.chaos.databases import rows
from tests.chaos.journal import Journal, Promise
from tests.chaos.room import Room
from tests.chaos.tasks import TaskBoard
from tests.chaos.transcripts import Asked, View

GAVE_UP = "gave_up"
# What may cost a worker its answers, or their leases.
LONGEST_LIFE_SECONDS = 60.0
LIVES = {"chat_worker", "database", "nats", "bus_link"}
TERMINAL = {str(status) for status in MessageStatus if status.terminal}


async def check_chats(room: Room, url: str) -> None:
    """Promise 1, for every request that anybody has sent."""
    query = "SELECT conversation_id, request_id, role, status, content, epoch, finish_reason FROM messages ORDER BY id"
    found: defaultdict[str, list[Any]] = defaultdict(list)
    questions: defaultdict[int, list[str]] = defaultdict(list)
    texts: dict[str, list[str]] = {}
    for row in await rows(url, query):
        found[row.request_id].append(row)
        if row.role == "user" and (asked := room.asked.get(row.request_id)) is not None:
            questions[row.conversation_id].append(row.content)
            texts[row.request_id] = asked.whole_texts(questions[row.conversation_id])
    for asked in room.asked.values():
        _check_innocent(room, asked, found[asked.request_id])
        for what in _wrong_with(asked, found[asked.request_id], texts.get(asked.request_id, [])):
            room.journal.broken(Promise.CHAT, what, about=asked.request_id, since=asked.at)


def _check_innocent(room: Room, asked: Asked, stored: list[Any]) -> None:
    """Who only ran beside a poison request is not given up with it."""
    if asked.poison or not any(row.finish_reason == GAVE_UP for row in stored):
        return
    room.journal.count("requests given up")
    near = [fault for fault in room.journal.faults if fault.ended_at is None or fault.ended_at >= asked.at]
    others = [fault for fault in near if fault.kind in LIVES and fault.action != "poison"]
    # Beside one of them it may lose two workers, beside two three.
    poisons = [fault for fault in near if fault.kind == "request" and fault.at < asked.at + LONGEST_LIFE_SECONDS]
    if not others and len(poisons) < 2:
        text = "a request was given up that was no poison: nothing else has killed its workers"
        room.journal.broken(Promise.TAKEOVER, text, about=asked.request_id, since=asked.at)


def _wrong_with(asked: Asked, stored: list[Any], texts: list[str]) -> list[str]:
    """What is wrong with one request, in sentences. `texts`: what the model may have said."""
    count = Counter(row.role for row in stored)
    if not stored and asked.accepted_at is None:
        return []
    if count != {"user": 1, "assistant": 1}:
        accepted = "accepted" if asked.accepted_at is not None else "not known to be accepted"
        return [f"a request that was {accepted} has the rows {dict(count)}"]
    user, answer = (next(row for row in stored if row.role == role) for role in ("user", "assistant"))
    wrong = []
    if user.content != asked.message:
        wrong.append("the stored question is another one")
    if answer.status not in TERMINAL:
        wrong.append(f"the answer is still {answer.status}")
    said = asked.without_mark(answer.content)
    if not any(text.startswith(said) for text in texts):
        wrong.append(f"the stored answer is not what the model said: {answer.content[:80]!r}")
    elif answer.status == MessageStatus.COMPLETE and said not in texts:
        wrong.append(f"complete with {len(answer.content)} characters, and that is not all that the model said")
    if asked.cancelled_as is not None and asked.cancelled_as != answer.status:
        wrong.append(f"chat:cancelled said {asked.cancelled_as}, the row says {answer.status}")
    for view in asked.views:
        wrong += _wrong_with_view(view, answer)
    # Also where all agree in the end: a worker that was replaced has written or shown something after all.
    asked.saw(answer.epoch, answer.content)
    wrong += [
        f"epoch {epoch} has texts of {len(them)} attempts" for epoch, them in asked.marks.items() if len(them) > 1
    ]
    return wrong


def _wrong_with_view(view: View, answer: Any) -> list[str]:
    """What one client shows, against the row."""
    if not view.over or view.done is None:
        return [] if view.given_up else ["a client was never told the end"]
    wrong = []
    if view.text != answer.content:
        wrong.append(f"a client shows {len(view.text)} characters, the row has {len(answer.content)}")
    if view.done["status"] != answer.status:
        wrong.append(f"a client was told {view.done['status']}, the row says {answer.status}")
    if view.message is not None and view.message["content"] != answer.content:
        wrong.append("the chat:message at the end is not the row")
    return wrong


async def check_tasks(journal: Journal, board: TaskBoard, url: str) -> None:
    """Promise 4: acknowledged changes are there once, revisions have no gap, every watcher is at the last one."""
    tasks = {row.id: row.revision for row in await rows(url, "SELECT id, revision FROM tasks")}
    events = await rows(url, "SELECT task_id, revision, request_id FROM task_events ORDER BY task_id, revision")
    revisions: defaultdict[int, list[int]] = defaultdict(list)
    carried_out: defaultdict[str, list[int]] = defaultdict(list)
    for event in events:
        revisions[event.task_id].append(event.revision)
        carried_out[event.request_id].append(event.revision)
    for task_id, revision in tasks.items():
        if revisions[task_id] != list(range(1, revision + 1)):
            journal.broken(Promise.TASKS, f"the revisions of task {task_id} have gaps: {revisions[task_id]}")
    for change in board.changes.values():
        found = carried_out[change.request_id]
        if len(found) > 1 or (change.acknowledged is not None and not found):
            text = f"a change acknowledged at revision {change.acknowledged} was carried out as {found}"
            journal.broken(Promise.TASKS, text, about=change.request_id)
    for name, seen in board.seen.items():
        for task_id in board.tasks:
            if seen.get(task_id) != tasks[task_id]:
                text = f"{name} shows revision {seen.get(task_id)} of task {task_id}, the row has {tasks[task_id]}"
                journal.broken(Promise.TASKS, text, about=name)
    waiting = (await rows(url, "SELECT COUNT(*) AS waiting FROM task_frames WHERE published = 0"))[0].waiting
    if waiting:
        journal.broken(Promise.TASKS, f"{waiting} changes were never published")
