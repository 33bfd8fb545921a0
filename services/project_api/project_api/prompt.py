"""What Saiga is told: the system prompt, the passages found, the question."""

from collections.abc import Sequence
from http import HTTPStatus

from project_api.library import Passage
from project_api.problems import Problem

Message = dict[str, str]

SYSTEM_PROMPT = """\
Ты — русскоязычный автоматический ассистент учебного курса.
Отвечай кратко и по существу, вежливо и профессионально.
На технические темы отвечай точными терминами. Если приводишь код, поясняй его ключевые места.
Если к вопросу приложены материалы, опирайся на них и указывай номер использованного материала
в квадратных скобках, например [1].
Если в материалах нет ответа, скажи об этом прямо и не выдумывай факты о курсе."""

HEADING = "Материалы:\n"

# What a chat template adds around two messages, with room to spare.
TEMPLATE_TOKENS = 64


def token_bound(text: str) -> int:
    """The most tokens that `text` can make: a byte-level BPE never makes more tokens than bytes."""
    return len(text.encode())


def build(
    message: str, course: str, passages: Sequence[Passage], max_tokens: int
) -> tuple[list[Message], list[Passage]]:
    """The chat for Saiga, of at most `max_tokens` tokens, and the passages that found room in it.

    Passages are taken best first; one that does not fit is left out. Raises Problem when not even
    the question fits.
    """
    room = max_tokens - TEMPLATE_TOKENS - token_bound(SYSTEM_PROMPT)
    room -= token_bound(_user_message(message, course, [])) + token_bound(HEADING)
    if room < 0:
        raise Problem(
            HTTPStatus.UNPROCESSABLE_ENTITY,
            "message_too_long",
            f"message: it may exceed the model's context by {-room} tokens, shorten it",
        )
    chosen: list[Passage] = []
    for passage in passages:
        cost = token_bound(_numbered(len(chosen) + 1, passage))
        if cost <= room:
            room -= cost
            chosen.append(passage)
    messages = [
        {"role": "system", "content": SYSTEM_PROMPT},
        {"role": "user", "content": _user_message(message, course, chosen)},
    ]
    return messages, chosen


def _numbered(number: int, passage: Passage) -> str:
    return f"[{number}] {passage.title}\n{passage.text}\n\n"


def _user_message(message: str, course: str, passages: Sequence[Passage]) -> str:
    parts = [f"Курс: {course}\n\n"] if course else []
    if passages:
        parts.append(HEADING)
        parts += [_numbered(number, passage) for number, passage in enumerate(passages, 1)]
    return "".join([*parts, f"Вопрос: {message}"])
