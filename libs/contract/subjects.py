"""Every NATS subject of the system. Nothing else in the code spells one.

Shape: `<domain>.v<major>.<what>.<id>`. Each token is checked before it enters a subject.
"""

import re

from libs.contract.ids import is_id

CHAT_SEND_ALL = "chat.v1.send.*"
CHAT_QUERY_ALL = "chat.v1.query.*"
CHAT_DEAD_LETTER_ALL = "chat.v1.dead_letter.*"
TASK_COMMAND_ALL = "task.v1.command.*"

MONITORING_SAMPLED_ALL = "monitoring.v1.host.*.sampled"
MONITORING_DEMAND_ALL = "monitoring.v1.demand"
MONITORING_QUERY_ALL = "monitoring.v1.query.*"

NEW_CONVERSATION = "new"


def chat_send(conversation_id: int | None) -> str:
    """A chat request to be answered, kept by the stream `CHAT`. None: it opens a conversation of its own."""
    return f"chat.v1.send.{NEW_CONVERSATION if conversation_id is None else _token(str(conversation_id))}"


def chat_query(name: str) -> str:
    """A question that any one chat worker answers at once (request/reply, queue group `chat_worker`)."""
    return f"chat.v1.query.{_token(name)}"


def chat_generation(message_id: int) -> str:
    """The running answer itself: only the worker that runs it listens here."""
    return f"chat.v1.generation.{_token(str(message_id))}"


def chat_dead_letter(message_id: int) -> str:
    """The request of an answer that is not tried again, kept by the stream `CHAT_DEAD_LETTERS`."""
    return f"chat.v1.dead_letter.{_token(str(message_id))}"


def task_command(verb: str) -> str:
    """A command about tasks that any one task service carries out (request/reply, queue group `task_service`)."""
    return f"task.v1.command.{_token(verb)}"


def task_updated(task_id: int) -> str:
    """Finished `task:update` frames, one at every change of this task, in the order of their revisions."""
    return f"task.v1.task.{_token(str(task_id))}.updated"


def reply(gateway: str, connection: str) -> str:
    """Finished client frames for one connection of one gateway."""
    return f"reply.{_token(gateway)}.{_token(connection)}"


def all_replies(gateway: str) -> str:
    return f"reply.{_token(gateway)}.*"


def monitoring_sampled(host: str) -> str:
    """Every sample of one host, as a finished `metrics` frame; the stream `MONITORING` keeps the last one."""
    return f"monitoring.v1.host.{host_token(host)}.sampled"


def monitoring_demand(host: str) -> str:
    """To the agent of one host (on `MONITORING_DEMAND_ALL`: to all agents): somebody watches, see `Demand`."""
    return f"monitoring.v1.host.{host_token(host)}.demand"


def monitoring_query(name: str) -> str:
    """A question that any one agent answers for all hosts (request/reply, queue group `monitor_agent`)."""
    return f"monitoring.v1.query.{_token(name)}"


def host_token(host: str) -> str:
    """A host's name as one token of a subject: what may not stand there becomes `_` and two hexadecimal digits.

    >>> host_token("web-1.example")
    'web-1_2Eexample'
    """
    if not host:
        raise ValueError("a host has a name")
    return "".join(chr(byte) if chr(byte) in _KEPT else f"_{byte:02X}" for byte in host.encode())


def host_of(token: str) -> str:
    """The host's name behind a token that `host_token` has made."""
    return bytes(int(escaped, 16) if escaped else ord(kept) for escaped, kept in _PIECE.findall(token)).decode()


def last_token(subject: str) -> str:
    return subject.rpartition(".")[2]


_KEPT = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-")
_PIECE = re.compile(r"_([0-9A-F]{2})|(.)")


def _token(text: str) -> str:
    if not is_id(text):
        raise ValueError(f"{text!r} cannot be part of a subject")
    return text
