"""A question travels WebBot2 -> Project API -> Qdrant -> Saiga -> PostgreSQL."""

import json
from collections.abc import Callable

import requests
from testinfra.host import Host

from stack.site import Site

QUESTION = "Когда сдавать домашнее задание?"
COURSE = "verify"


def test_a_question_is_answered_and_stored(
    published: Callable[..., str], host: Host, site: Site
) -> None:
    url = published("webbot2")
    with requests.Session() as browser:
        person = {"user_name": "verify", "course": COURSE}
        browser.post(f"{url}/api/session", json=person, timeout=10).raise_for_status()
        with browser.post(
            f"{url}/api/message", json={"message": QUESTION}, stream=True, timeout=120
        ) as answer:
            answer.raise_for_status()
            chunks = [chunk for chunk in answer.iter_content(chunk_size=None) if chunk]
    text = b"".join(chunks).decode()
    assert text.strip()
    assert len(chunks) > 1, "the answer came in one piece: it was not streamed"

    sql = (
        "SELECT json_build_object('answer', answer, 'outcome', outcome, 'sources', sources,"
        f" 'timings', timings) FROM agent.exchanges WHERE course = '{COURSE}' AND"
        f" question = '{QUESTION}' ORDER BY id DESC LIMIT 1"
    )
    postgres = site.services.postgres.container
    row = json.loads(
        host.check_output(
            "docker exec %s psql -U postgres -d %s -qtAc %s", postgres, site.postgres.database, sql
        )
    )
    assert row["outcome"] == "completed"
    assert row["answer"] == text
    assert row["sources"], "nothing was found in the collections"
    assert row["timings"]["total"] > 0
