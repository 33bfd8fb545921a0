"""People who ask through WebBot2 all the time, and what was answered to them."""

import json
import threading
import time
from dataclasses import dataclass, field
from types import TracebackType

import requests

from tests.lab.conftest import Lab


@dataclass
class Traffic:
    """Asks in ``threads`` threads while the block runs. ``answered`` are the questions whose
    answer came to its end, ``failed`` counts those that did not."""

    lab: Lab
    course: str
    threads: int = 2
    answered: list[str] = field(default_factory=list)
    failed: int = 0

    def __post_init__(self) -> None:
        self._stop = threading.Event()
        self._workers = [
            threading.Thread(target=self._ask_on, args=(n,)) for n in range(self.threads)
        ]

    def __enter__(self) -> "Traffic":
        for worker in self._workers:
            worker.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self._stop.set()
        for worker in self._workers:
            worker.join()

    def wait_for_answers(self, number: int, timeout: float = 180) -> None:
        """Until so many more questions have been answered."""
        goal, deadline = len(self.answered) + number, time.monotonic() + timeout
        while len(self.answered) < goal:
            assert time.monotonic() < deadline, f"{len(self.answered)} answers, {goal} wanted"
            time.sleep(0.2)

    def assert_stored(self) -> None:
        """Every question that was answered is in the database with its answer."""
        rows = self.lab.psql(
            "SELECT json_agg(question) FROM agent.exchanges"
            f" WHERE course = '{self.course}' AND outcome = 'completed'",
            "ml_db",
        )
        assert set(self.answered) <= set(json.loads(rows or "[]"))

    def _ask_on(self, number: int) -> None:
        browser, turn = requests.Session(), 0
        url = f"http://{self.lab.target.address}:8080"
        while not self._stop.is_set():
            turn += 1
            question = f"Когда сдавать задание {number}-{turn}?"
            try:
                if self._ask(browser, url, question):
                    self.answered.append(question)
                    continue
            except requests.RequestException:
                pass
            self.failed += 1
            self._stop.wait(0.5)

    def _ask(self, browser: requests.Session, url: str, question: str) -> bool:
        with browser.post(
            f"{url}/api/message", json={"message": question}, stream=True, timeout=60
        ) as answer:
            if answer.status_code == requests.codes.ok:
                return bool(answer.text.strip())
        person = {"user_name": "traffic", "course": self.course}
        browser.post(f"{url}/api/session", json=person, timeout=10)
        return False
