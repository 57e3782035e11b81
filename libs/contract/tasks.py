"""Tasks: what clients ask, and what they are told whenever a task changes.

A task may have subtasks; whatever changes in either is one change of the task, and raises its `revision` by one.
"""

from enum import StrEnum
from typing import Annotated

from msgspec import Meta, Raw, Struct

from libs.contract.ids import RequestId, RowId
from libs.contract.moments import Moment


class TaskStatus(StrEnum):
    """Where a task stands. The service allows only some ways from one to another."""

    PENDING = "pending"
    PLANNING = "planning"
    EXECUTING = "executing"
    VALIDATING = "validating"
    COMPLETED = "completed"
    FAILED = "failed"
    PAUSED = "paused"
    CANCELLED = "cancelled"

    @property
    def ended(self) -> bool:
        """Nothing more happens by itself; only a failed task may be taken up again."""
        return self in (TaskStatus.COMPLETED, TaskStatus.FAILED, TaskStatus.CANCELLED)


class TaskPriority(StrEnum):
    """How soon a task should be done; the service itself makes no difference."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    URGENT = "urgent"


class SubtaskStatus(StrEnum):
    """Where a subtask stands; `rejected` did not pass its validation and is to be done again."""

    PENDING = "pending"
    EXECUTING = "executing"
    VALIDATING = "validating"
    COMPLETED = "completed"
    REJECTED = "rejected"
    FAILED = "failed"

    @property
    def ended(self) -> bool:
        return self in (SubtaskStatus.COMPLETED, SubtaskStatus.FAILED)


# ---- What clients ask -------------------------------------------------------------------------------------------

MAX_SUBTASKS = 100

Title = Annotated[str, Meta(min_length=1, max_length=200)]
Description = Annotated[str, Meta(max_length=4000)]
Progress = Annotated[int, Meta(ge=0, le=100)]
Revision = Annotated[int, Meta(ge=1, le=2**31 - 1)]


class NewSubtask(Struct, frozen=True, rename="camel", omit_defaults=True):
    """A subtask that a task is created with; it begins as pending."""

    title: Title
    description: Description = ""


class SubtaskChange(Struct, frozen=True, rename="camel", omit_defaults=True):
    """In `task:update`: with `id`, what changes in that subtask; without, a new subtask, which needs a title."""

    id: RowId | None = None
    title: Title | None = None
    description: Description | None = None
    status: SubtaskStatus | None = None


class TaskCreate(Struct, frozen=True, rename="camel", omit_defaults=True):
    """`task:create`; the same `requestId` again gives the same task."""

    title: Title
    description: Description = ""
    priority: TaskPriority = TaskPriority.MEDIUM
    subtasks: Annotated[list[NewSubtask], Meta(max_length=MAX_SUBTASKS)] = []
    request_id: RequestId | None = None


class TaskGet(Struct, frozen=True, rename="camel"):
    """`task:get`: the task as it stands."""

    task_id: RowId


class TaskSubscribe(Struct, frozen=True, rename="camel"):
    """`task:subscribe`: the task as it stands, then a `task:update` at every change."""

    task_id: RowId


class TaskUnsubscribe(Struct, frozen=True, rename="camel"):
    """`task:unsubscribe`: no more of this task."""

    task_id: RowId


class TaskChanges(Struct, frozen=True, rename="camel"):
    """Asked by a gateway on the bus (`task.v1.command.changes`): the updates that follow this revision."""

    task_id: RowId
    after_revision: Annotated[int, Meta(ge=0, le=2**31 - 1)]


class TaskList(Struct, frozen=True, rename="camel", omit_defaults=True):
    """`task:list`: newest first; `before` is the `cursor` of the page before.

    `text`: only tasks whose title or description contains it, whatever the case of its letters.
    """

    status: TaskStatus | None = None
    priority: TaskPriority | None = None
    text: Annotated[str, Meta(min_length=1, max_length=200)] | None = None
    limit: Annotated[int, Meta(ge=1, le=200)] = 50
    before: Annotated[str, Meta(max_length=64)] | None = None


class TaskUpdate(Struct, frozen=True, rename="camel", omit_defaults=True):
    """`task:update`, sent by a client: whatever is given changes, all of it or nothing.

    `revision`: change only what is still at this revision. `progress` is for tasks without subtasks; with some, it
    follows from them. The same `requestId` again changes nothing and gives the task as it then stands.
    """

    task_id: RowId
    title: Title | None = None
    description: Description | None = None
    status: TaskStatus | None = None
    priority: TaskPriority | None = None
    progress: Progress | None = None
    subtasks: Annotated[list[SubtaskChange], Meta(max_length=MAX_SUBTASKS)] = []
    revision: Revision | None = None
    request_id: RequestId | None = None


class TaskCancel(Struct, frozen=True, rename="camel", omit_defaults=True):
    """`task:cancel`: the task becomes cancelled; its subtasks stay as they are."""

    task_id: RowId
    revision: Revision | None = None
    request_id: RequestId | None = None


# ---- What clients are told --------------------------------------------------------------------------------------


class Task(Struct, frozen=True, rename="camel"):
    """One task. `progress` is 0 to 100; `completed_at` is when it was completed, failed or cancelled."""

    id: int
    title: str
    description: str
    status: TaskStatus
    priority: TaskPriority
    progress: int
    created_at: Moment
    updated_at: Moment
    completed_at: Moment | None


class Subtask(Struct, frozen=True, rename="camel"):
    """One subtask. `completed_at` is when it was completed or failed."""

    id: int
    title: str
    description: str
    status: SubtaskStatus
    created_at: Moment
    updated_at: Moment
    completed_at: Moment | None


class TaskState(Struct, frozen=True, rename="camel"):
    """`task:update`, sent by the server: the whole task as it stands at `revision`, since `timestamp`.

    The same data answers `task:get` (also as `task:update`), `task:create` (`task:created`), a client's `task:update`
    (`task:updated`) and `task:cancel` (`task:cancelled`). Revisions begin with 1 and have no gap: drop one that is not
    newer than the last; when one is missing, ask for the task again. Subtasks stand in the order of their making.
    """

    task: Task
    subtasks: list[Subtask]
    timestamp: Moment
    revision: int


class MissedChanges(Struct, frozen=True, rename="camel"):
    """The answer to `TaskChanges`: finished `task:update` frames, oldest first, without a gap.

    They are 100 and 512 KiB at most: ask for the rest after the last of them. `complete` is false when the next one is
    no longer kept (they are for an hour, and the last 100 of a task): then get the task as it stands.
    """

    frames: list[Raw]
    complete: bool


class StateRevision(Struct, frozen=True):
    """What has to be read of a state to keep its order."""

    revision: int


class TaskUpdateFrame(Struct, frozen=True):
    """A finished `task:update` frame, of which only the revision is read."""

    data: StateRevision


class TaskSubscribed(Struct, frozen=True, rename="camel"):
    """`task:subscribed` and `task:unsubscribed`."""

    task_id: int


class Tasks(Struct, frozen=True, rename="camel"):
    """`task:list`. `cursor` asks for the next page; null: this was the last."""

    tasks: list[Task]
    cursor: str | None
