"""Which frame goes where: the whole routing table of the gateway, at one glance."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from msgspec.json import Decoder

from libs.contract import chat, monitoring, streams, subjects, tasks
from libs.contract.chat import ChatResume, ChatSend
from libs.contract.frames import Nothing
from libs.contract.streams import WorkStream


@dataclass(frozen=True)
class Stored:
    """A request that is accepted once `stream` has it on disk; a worker answers on the connection's reply subject."""

    decoder: Decoder[ChatSend]
    stream: WorkStream
    subject: Callable[[ChatSend], str]


@dataclass(frozen=True)
class Asked:
    """A question that some worker answers at once, with a finished frame."""

    decoder: Decoder[Any]
    subject: str


@dataclass(frozen=True)
class Continued:
    """A question for an answer to go on: what was missed comes on the connection's reply subject."""

    decoder: Decoder[ChatResume]
    subject: str


@dataclass(frozen=True)
class Followed:
    """A wish about what this connection follows; the gateway itself answers it."""

    decoder: Decoder[Any]


ROUTES: dict[str, Stored | Asked | Continued | Followed] = {
    "chat:send": Stored(
        Decoder(ChatSend),
        stream=streams.CHAT,
        subject=lambda send: subjects.chat_send(send.conversation_id),
    ),
    "chat:history": Asked(Decoder(chat.ChatHistory), subjects.chat_query("history")),
    "chat:cancel": Asked(Decoder(chat.ChatCancel), subjects.chat_query("cancel")),
    "chat:resume": Continued(Decoder(ChatResume), subjects.chat_query("resume")),
    "conversation:list": Asked(Decoder(chat.ConversationList), subjects.chat_query("conversation_list")),
    "conversation:create": Asked(Decoder(chat.ConversationCreate), subjects.chat_query("conversation_create")),
    "conversation:rename": Asked(Decoder(chat.ConversationRename), subjects.chat_query("conversation_rename")),
    "conversation:delete": Asked(Decoder(chat.ConversationDelete), subjects.chat_query("conversation_delete")),
    "model:list": Asked(Decoder(Nothing), subjects.chat_query("model_list")),
    "monitoring:subscribe": Followed(Decoder(monitoring.MonitoringSubscribe)),
    "monitoring:unsubscribe": Followed(Decoder(monitoring.MonitoringUnsubscribe)),
    "monitoring:hosts": Asked(Decoder(Nothing), subjects.monitoring_query("hosts")),
    "monitoring:history": Asked(Decoder(monitoring.MonitoringHistory), subjects.monitoring_query("history")),
    "task:subscribe": Followed(Decoder(tasks.TaskSubscribe)),
    "task:unsubscribe": Followed(Decoder(tasks.TaskUnsubscribe)),
    "task:create": Asked(Decoder(tasks.TaskCreate), subjects.task_command("create")),
    "task:get": Asked(Decoder(tasks.TaskGet), subjects.task_command("get")),
    "task:list": Asked(Decoder(tasks.TaskList), subjects.task_command("list")),
    "task:update": Asked(Decoder(tasks.TaskUpdate), subjects.task_command("update")),
    "task:cancel": Asked(Decoder(tasks.TaskCancel), subjects.task_command("cancel")),
}
