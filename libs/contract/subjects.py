"""Every NATS subject of the system. Nothing else in the code spells one.

Shape: `<domain>.v<major>.<what>.<id>`. Each token is checked before it enters a subject.
"""

from libs.contract.ids import is_id

CHAT_SEND_ALL = "chat.v1.send.*"
CHAT_QUERY_ALL = "chat.v1.query.*"
TASK_COMMAND_ALL = "task.v1.command.*"

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


def last_token(subject: str) -> str:
    return subject.rpartition(".")[2]


def _token(text: str) -> str:
    if not is_id(text):
        raise ValueError(f"{text!r} cannot be part of a subject")
    return text
