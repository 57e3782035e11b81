"""Every frame of the WebSocket protocol: what clients may send, and what they may be told. Nothing else lists them.

The published contract (docs/contract) is made from these two tables and the structs that they name.
"""

from msgspec import Struct

from libs.contract import chat, frames, monitoring, tasks
from libs.contract.frames import Nothing

# What `session:ready` says. Fields and frames may be added to a version; whatever else changes makes the next one.
VERSION = 1


class FromClient(Struct, frozen=True):
    """A request. `answers` carry its `id`, and so does `error`, which may answer all; `then` come later, without."""

    says: str
    data: type[Struct] | None
    answers: tuple[str, ...]
    then: tuple[str, ...] = ()


class FromServer(Struct, frozen=True):
    """What clients are told. `whole`: the struct is not the data but the whole frame."""

    says: str
    data: type[Struct] | None
    whole: bool = False


CLIENT_FRAMES: dict[str, FromClient] = {
    "ping": FromClient("Asks for a sign of life.", None, ("pong",)),
    "chat:send": FromClient(
        "Says something to the model; the answer comes in pieces, and then whole as it was stored.",
        chat.ChatSend,
        ("chat:message", "chat:status", "chat:streaming"),
    ),
    "chat:history": FromClient("Asks for the messages of a conversation.", chat.ChatHistory, ("chat:history",)),
    "chat:cancel": FromClient("Stops an answer; what text it has is kept.", chat.ChatCancel, ("chat:cancelled",)),
    "conversation:list": FromClient("Asks for a page of conversations.", chat.ConversationList, ("conversation:list",)),
    "conversation:create": FromClient("Opens a conversation.", chat.ConversationCreate, ("conversation:created",)),
    "conversation:rename": FromClient(
        "Gives a conversation another title.", chat.ConversationRename, ("conversation:renamed",)
    ),
    "conversation:delete": FromClient(
        "Deletes a conversation with its messages, and stops what runs in it.",
        chat.ConversationDelete,
        ("conversation:deleted",),
    ),
    "model:list": FromClient("Asks which models there are.", Nothing, ("model:list",)),
    "monitoring:subscribe": FromClient(
        "Watches hosts from now on; a second one takes the place of the first.",
        monitoring.MonitoringSubscribe,
        ("monitoring:subscribed",),
        then=("metrics", "monitoring:host"),
    ),
    "monitoring:unsubscribe": FromClient(
        "Watches no host any more.", monitoring.MonitoringUnsubscribe, ("monitoring:unsubscribed",)
    ),
    "monitoring:hosts": FromClient("Asks which hosts there are.", Nothing, ("monitoring:hosts",)),
    "monitoring:history": FromClient(
        "Asks how a host was over the last minutes.", monitoring.MonitoringHistory, ("monitoring:history",)
    ),
    "task:subscribe": FromClient(
        "Follows a task from now on.", tasks.TaskSubscribe, ("task:subscribed",), then=("task:update",)
    ),
    "task:unsubscribe": FromClient("Follows a task no more.", tasks.TaskUnsubscribe, ("task:unsubscribed",)),
    "task:create": FromClient("Makes a task.", tasks.TaskCreate, ("task:created",)),
    "task:get": FromClient("Asks for a task as it stands.", tasks.TaskGet, ("task:update",)),
    "task:list": FromClient("Asks for a page of tasks.", tasks.TaskList, ("task:list",)),
    "task:update": FromClient("Changes a task, its subtasks, or both at once.", tasks.TaskUpdate, ("task:updated",)),
    "task:cancel": FromClient("Cancels a task.", tasks.TaskCancel, ("task:cancelled",)),
}

SERVER_FRAMES: dict[str, FromServer] = {
    "pong": FromServer("The sign of life.", None),
    "session:ready": FromServer("The first frame on every connection.", frames.SessionReady),
    "session:draining": FromServer("This gateway goes away and will close the connection.", frames.SessionDraining),
    "error": FromServer("A request failed; the connection stays open.", frames.ErrorData),
    "chat:message": FromServer("A message as it was stored: the client's own, or the whole answer.", chat.ChatMessage),
    "chat:status": FromServer("The request is accepted, and why there is no text yet.", chat.ChatStatus),
    "chat:streaming": FromServer("The next piece of an answer, or its end.", chat.ChatStreaming),
    "chat:history": FromServer("Messages of a conversation, oldest first.", chat.ChatHistoryFrame, whole=True),
    "chat:cancelled": FromServer("How the answer stands after the cancel.", chat.ChatCancelled),
    "conversation:list": FromServer("A page of conversations, most recently used first.", chat.Conversations),
    "conversation:created": FromServer("The new conversation.", chat.Conversation),
    "conversation:renamed": FromServer("The conversation with its new title.", chat.Conversation),
    "conversation:deleted": FromServer("The conversation is gone.", chat.ConversationDeleted),
    "model:list": FromServer("The models of the model server.", chat.Models),
    "monitoring:subscribed": FromServer("The hosts are watched.", monitoring.MonitoringSubscribed),
    "monitoring:unsubscribed": FromServer("No host is watched any more.", None),
    "metrics": FromServer("One sample of a host that is watched.", monitoring.Metrics),
    "monitoring:host": FromServer("The status of a host that is watched has changed.", monitoring.HostState),
    "monitoring:hosts": FromServer("The hosts heard of in the last day, by name.", monitoring.Hosts),
    "monitoring:history": FromServer("How a host was, oldest first.", monitoring.MonitoringHistoryData),
    "task:subscribed": FromServer("The task is followed; its present state comes next.", tasks.TaskSubscribed),
    "task:unsubscribed": FromServer("The task is followed no more.", tasks.TaskSubscribed),
    "task:update": FromServer("A task as it stands: asked for, just followed, or changed.", tasks.TaskState),
    "task:created": FromServer("The new task.", tasks.TaskState),
    "task:updated": FromServer("The task after this client's change.", tasks.TaskState),
    "task:cancelled": FromServer("The task after this client's cancel.", tasks.TaskState),
    "task:list": FromServer("A page of tasks, newest first.", tasks.Tasks),
}

# These alone may carry the `id` of a request.
ANSWERS = frozenset({"error", *(answer for frame in CLIENT_FRAMES.values() for answer in frame.answers)})
