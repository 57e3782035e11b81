"""What the server can do: one table, the model's name on the left, an async generator of raw bytes on the right."""

import re

from tests.scripted_model import dialects, failures, paces
from tests.scripted_model.complaints import COMPLAINTS, Script

SCRIPTS: dict[str, Script] = {
    "echo": paces.echo,
    "paced": paces.paced,
    "tokens": paces.tokens,
    "stall": paces.stall,
    "held": paces.held,
    "held-after-head": paces.held_after_head,
    "slow-head": paces.slow_head,
    "comments-then-answer": dialects.comments_then_answer,
    "comments-forever": failures.comments_forever,
    "crlf": dialects.crlf,
    "split-utf8": dialects.split_utf8,
    "bad-utf8": dialects.bad_utf8,
    "multi-line": dialects.multi_line,
    "no-done": dialects.no_done,
    "done-but-open": failures.done_but_open,
    "finished-but-open": failures.finished_but_open,
    "no-blank-line": dialects.no_blank_line,
    "eof": failures.eof,
    "done-only": failures.done_only,
    "abort": failures.abort,
    "cut": failures.cut,
    "reset": failures.reset,
    "reset-at-once": failures.reset_at_once,
    "hang-up": failures.hang_up,
    "not-http": failures.not_http,
    "bad-chunk-size": failures.bad_chunk_size,
    "empty": failures.empty,
    "empty-done": failures.empty_done,
    "empty-stop": failures.empty_stop,
    "empty-full": failures.empty_full,
    "garbage": failures.garbage,
    "endless-line": failures.endless_line,
    "whole": dialects.whole,
    "other-model": paces.other_model,
    "burst": paces.burst,
    "length": paces.length,
    "usage-in-finish": dialects.usage_in_finish,
    "usage-always": dialects.usage_always,
    "nulls": dialects.nulls,
    "reasoning-content": dialects.reasoning_content,
    "reasoning": dialects.reasoning,
    "think-tags": dialects.think_tags,
    "think-unopened": dialects.think_unopened,
    **COMPLAINTS,
}


def find(name: str) -> Script | None:
    """The script of that name; `paced-N-R`, `unique-N-R`, `tokens-N` and `stall-N` carry their numbers in the name."""
    if name in SCRIPTS:
        return SCRIPTS[name]
    if match := re.fullmatch(r"paced-([0-9]+)-([0-9]+)", name):
        count, per_second = map(int, match.groups())
        return lambda call: paces.paced(call, count, per_second)
    if match := re.fullmatch(r"unique-([0-9]+)-([0-9]+)", name):
        count, per_second = map(int, match.groups())
        return lambda call: paces.unique(call, count, per_second)
    if match := re.fullmatch(r"tokens-([0-9]+)", name):
        count = int(match[1])
        return lambda call: paces.tokens(call, count)
    if match := re.fullmatch(r"stall-([0-9]+)", name):
        after = int(match[1])
        return lambda call: paces.stall(call, after)
    return None
