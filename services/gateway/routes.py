"""Which frame goes where: the whole routing table of the gateway, at one glance."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from msgspec.json import Decoder

from libs.contract import chat, streams, subjects
from libs.contract.chat import ChatSend
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


ROUTES: dict[str, Stored | Asked] = {
    "chat:send": Stored(
        Decoder(ChatSend),
        stream=streams.CHAT,
        subject=lambda send: subjects.chat_send(send.conversation_id),
    ),
    "chat:history": Asked(Decoder(chat.ChatHistory), subjects.chat_query("history")),
    "chat:cancel": Asked(Decoder(chat.ChatCancel), subjects.chat_query("cancel")),
    "conversation:list": Asked(Decoder(chat.ConversationList), subjects.chat_query("conversation_list")),
    "conversation:create": Asked(Decoder(chat.ConversationCreate), subjects.chat_query("conversation_create")),
    "conversation:rename": Asked(Decoder(chat.ConversationRename), subjects.chat_query("conversation_rename")),
    "conversation:delete": Asked(Decoder(chat.ConversationDelete), subjects.chat_query("conversation_delete")),
    "model:list": Asked(Decoder(Nothing), subjects.chat_query("model_list")),
}
