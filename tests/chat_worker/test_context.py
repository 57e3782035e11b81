"""What the model gets to read: the newest that fits, never without the prompt and the question."""

from hypothesis import given
from hypothesis import strategies as st

from libs.contract.chat import Role
from services.chat_worker.context import MOST_MESSAGES, Context, Message, cost, estimate_tokens, fit


def talk(turns: int, *, words: str = "word ") -> list[tuple[Role, str]]:
    """A conversation of so many questions and answers, newest first."""
    pairs = [((Role.USER, f"{words}q{n}"), (Role.ASSISTANT, f"{words}a{n}")) for n in range(turns)]
    return [message for pair in pairs for message in pair][::-1]


def contents(context: Context) -> list[str]:
    return [message.content for message in context.messages]


def test_a_short_conversation_goes_along_whole() -> None:
    """Oldest first, under the system prompt, with the question last."""
    context = fit(system="Be kind.", history=talk(1, words=""), message="now", context_length=4096)
    assert context == Context(
        [
            Message(Role.SYSTEM, "Be kind."),
            Message(Role.USER, "q0"),
            Message(Role.ASSISTANT, "a0"),
            Message(Role.USER, "now"),
        ],
        left_out=0,
    )


def test_without_a_system_prompt_none_is_sent() -> None:
    """Some templates have no place for one."""
    assert fit(system="", history=[], message="now", context_length=None) == Context([Message(Role.USER, "now")], 0)


def test_an_unknown_context_length_takes_the_last_ten() -> None:
    """What the protocol promises, no more."""
    context = fit(system="s", history=talk(20), message="now", context_length=None)
    assert (len(context.messages), context.left_out) == (12, 30)
    assert contents(context)[1] == "word q15"


def test_more_than_ten_go_along_when_they_fit_up_to_a_bound() -> None:
    """A long context is used; reading the whole conversation is not."""
    assert fit(system="s", history=talk(20), message="now", context_length=8192).left_out == 0
    context = fit(system="s", history=talk(200, words=""), message="now", context_length=1_000_000)
    assert len(context.messages) == MOST_MESSAGES + 2


def test_the_oldest_stay_out_whole_messages_at_a_time() -> None:
    """The newest that fit, in one piece, starting with a question."""
    context = fit(system="s", history=talk(30, words="some words " * 20), message="now", context_length=2048)
    assert 0 < context.left_out < 60
    assert context.messages[1].role is Role.USER
    assert contents(context)[-2].endswith("a29")
    assert len(context.messages) == 60 - context.left_out + 2


def test_the_prompt_and_the_question_always_go() -> None:
    """Whether they alone are too long is for the model server to say."""
    context = fit(system="s" * 5000, history=talk(3), message="q" * 9000, context_length=512)
    assert (contents(context), context.left_out) == (["s" * 5000, "q" * 9000], 6)


def test_room_for_the_answer_stays_free() -> None:
    """A longer answer asked for leaves less history, but never less than half of the context."""
    history = talk(100, words="some words " * 5)
    short = fit(system="s", history=history, message="now", context_length=4096, max_tokens=64)
    usual = fit(system="s", history=history, message="now", context_length=4096)
    long = fit(system="s", history=history, message="now", context_length=4096, max_tokens=2000)
    endless = fit(system="s", history=history, message="now", context_length=4096, max_tokens=1_000_000)
    assert short.left_out < usual.left_out < long.left_out <= endless.left_out < len(history)


def test_a_question_that_got_no_answer_is_joined_with_the_next() -> None:
    """Templates that demand alternating roles take the conversation on after a failure."""
    context = fit(system="", history=[(Role.USER, "lost")], message="again", context_length=4096)
    assert context == Context([Message(Role.USER, "lost\n\nagain")], 0)


@given(
    st.lists(st.tuples(st.sampled_from([Role.USER, Role.ASSISTANT]), st.text(max_size=200)), max_size=40),
    st.text(min_size=1, max_size=200),
    st.integers(min_value=16, max_value=8192),
)
def test_every_conversation_fits_and_alternates(history: list[tuple[Role, str]], message: str, length: int) -> None:
    """By our own estimate: within the context unless the question alone is longer, user first, roles in turn."""
    context = fit(system="", history=history, message=message, context_length=length)
    roles = [sent.role for sent in context.messages]
    assert roles == [Role.USER, Role.ASSISTANT] * (len(roles) // 2) + [Role.USER]
    assert contents(context)[-1].endswith(message)
    # Joining two messages costs two line breaks and saves the markers of one.
    assert context.left_out == len(history) or cost(context.messages) <= length


def test_the_estimate_grows_with_what_tokenizers_find_hard() -> None:
    """Words are cheap; digits, signs, accents and emoji are not."""
    texts = ["", "a nice day", "1234567890", "{[(=)]}\n\t", "ááá", "😀"]
    assert [estimate_tokens(text) for text in texts] == [0, 4, 10, 9, 5, 3]
