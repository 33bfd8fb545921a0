"""The prompt never exceeds its room."""

from __future__ import annotations

from http import HTTPStatus

import pytest
from project_api import prompt
from project_api.library import Passage
from project_api.problems import Problem


def passage(identity: str, text: str) -> Passage:
    return Passage("BD_curs_data", identity, "Тема", text, "test.yaml", 0.9)


def size(messages: list[prompt.Message]) -> int:
    return sum(prompt.token_bound(message["content"]) for message in messages)


def test_passages_that_do_not_fit_are_left_out_and_numbers_stay_gapless() -> None:
    passages = [passage("1", "а" * 100), passage("2", "б" * 5000), passage("3", "в" * 100)]
    messages, chosen = prompt.build("Вопрос?", "Python", passages, 3000)
    assert [each.id for each in chosen] == ["1", "3"]
    user = messages[1]["content"]
    assert user.startswith("Курс: Python\n\nМатериалы:\n[1] Тема\nааа")
    assert "[2] Тема\nввв" in user and "б" not in user
    assert size(messages) <= 3000


@pytest.mark.parametrize("room", range(1200, 2400, 97))
def test_the_room_is_never_exceeded(room: int) -> None:
    passages = [passage(str(n), "слово " * n * 7) for n in range(9)]
    messages, _ = prompt.build("Вопрос?", "", passages, room)
    assert size(messages) + prompt.TEMPLATE_TOKENS <= room


def test_without_passages_nothing_is_said_of_materials() -> None:
    messages, chosen = prompt.build("Вопрос?", "", [], 3000)
    assert (messages[1]["content"], chosen) == ("Вопрос: Вопрос?", [])


def test_a_question_that_does_not_fit_is_refused() -> None:
    with pytest.raises(Problem, match="shorten it") as refused:
        prompt.build("я" * 2000, "", [], 3000)
    assert refused.value.status is HTTPStatus.UNPROCESSABLE_ENTITY
