"""WebBot2 as a process of its own, in front of a scripted Project API on loopback."""

from __future__ import annotations

import http.client
import json
import os
import queue
import re
import select
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

SERVICE = Path(__file__).parents[4] / "services" / "webbot2"
STATIC = SERVICE / "webbot2" / "static"
DEADLINE = 15.0
VISITOR = {"user_name": "Анна", "course": "Python-разработчик"}
KEY = "k" * 64

Reply = Callable[["FakeHandler"], None]


class FakeHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    api: FakeProjectApi

    def do_GET(self) -> None:
        self.answer(200 if self.path == "/livez" else 404, "text/plain", b"ok")

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.api.requests.put((self.path, self.headers["Accept"], body))
        self.api.reply(self)

    def answer(self, status: int, content_type: str, body: bytes, **headers: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def begin(self, content_type: str = "text/plain; charset=utf-8") -> None:
        self.send_response(200)
        self.send_header("Content-Type", content_type)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()

    def chunk(self, data: bytes) -> None:
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))

    def wait_for_hang_up(self) -> bool:
        readable, _, _ = select.select([self.connection], [], [], DEADLINE)
        return bool(readable) and self.connection.recv(1) == b""

    def log_message(self, format: str, *args: Any) -> None:
        pass


class FakeProjectApi:
    """Records what it is asked and answers as the test says."""

    def __init__(self) -> None:
        self.requests: queue.Queue[tuple[str, str, dict[str, str]]] = queue.Queue()
        self.reply: Reply = lambda handler: handler.answer(200, "text/plain", b"ok")
        handler = type("Handler", (FakeHandler,), {"api": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class Bot:
    """A running `python -m webbot2`."""

    def __init__(self, port: int, environment: dict[str, str]) -> None:
        self.port = port
        self.environment = environment

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=DEADLINE)

    def call(
        self, method: str, path: str, body: object = None, **headers: str
    ) -> tuple[http.client.HTTPResponse, bytes]:
        connection = self.connect()
        try:
            if body is not None:
                headers.setdefault("Content_Type", "application/json")
            connection.request(
                method,
                path,
                body=None if body is None else json.dumps(body),
                headers={name.replace("_", "-"): value for name, value in headers.items()},
            )
            response = connection.getresponse()
            return response, response.read()
        finally:
            connection.close()

    def sign_in(self, **headers: str) -> http.client.HTTPResponse:
        return self.call("POST", "/api/session", VISITOR, **headers)[0]

    def cookie(self) -> str:
        return (self.sign_in().headers["Set-Cookie"]).split(";")[0]

    def ask(self, connection: http.client.HTTPConnection, accept: str = "text/plain") -> None:
        connection.request(
            "POST",
            "/api/message",
            body=json.dumps({"message": "Что такое список?"}),
            headers={
                "Content-Type": "application/json",
                "Cookie": self.cookie(),
                "Accept": accept,
            },
        )

    def answer(self, accept: str = "text/plain") -> tuple[http.client.HTTPResponse, bytes]:
        connection = self.connect()
        try:
            self.ask(connection, accept)
            response = connection.getresponse()
            return response, response.read()
        finally:
            connection.close()

    def messages(self, outcome: str) -> float:
        _, text = self.call("GET", "/metrics")
        found = re.search(rf'webbot2_messages_total{{outcome="{outcome}"}} (\S+)', text.decode())
        assert found is not None
        return float(found[1])


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true in time"
        time.sleep(0.02)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def running_bot(directory: Path, project_api_url: str, key: str = KEY) -> Iterator[Bot]:
    key_file = directory / "key"
    key_file.write_text(key)
    port = free_port()
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(SERVICE),
        "HOST": "127.0.0.1",
        "PORT": str(port),
        "PROJECT_API_URL": project_api_url,
        "SESSION_KEY_FILE": str(key_file),
    }
    bot = Bot(port, environment)
    process = subprocess.Popen([sys.executable, "-m", "webbot2"], env=environment)

    def listening() -> bool:
        assert process.poll() is None, f"webbot2 exited with {process.returncode}"
        try:
            return bot.call("GET", "/livez")[0].status == 200
        except ConnectionRefusedError:
            return False

    try:
        until(listening)
        yield bot
    finally:
        process.terminate()
        assert process.wait(DEADLINE) == 0


@pytest.fixture(scope="module")
def running_api() -> Iterator[FakeProjectApi]:
    api = FakeProjectApi()
    yield api
    api.close()


@pytest.fixture(scope="module")
def bot(running_api: FakeProjectApi, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bot]:
    with running_bot(tmp_path_factory.mktemp("webbot2"), running_api.url) as bot:
        yield bot


@pytest.fixture
def api(running_api: FakeProjectApi) -> FakeProjectApi:
    running_api.requests = queue.Queue()
    return running_api


@pytest.fixture
def lonely_bot(tmp_path: Path) -> Iterator[Bot]:
    """A bot whose Project API is not there."""
    with running_bot(tmp_path, f"http://127.0.0.1:{free_port()}") as bot:
        yield bot


def test_the_page_has_a_strict_content_security_policy(bot: Bot) -> None:
    response, body = bot.call("GET", "/")
    policy = response.headers["Content-Security-Policy"]
    assert response.status == 200
    assert response.headers["Content-Type"].startswith("text/html")
    assert "default-src 'none'" in policy
    assert "script-src 'self';" in policy
    assert "frame-ancestors 'none'" in policy
    assert "require-trusted-types-for 'script'" in policy
    assert "unsafe" not in policy
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?![^>]*\ssrc=)", body.decode())


@pytest.mark.parametrize(
    ("path", "content_type"),
    [
        ("main.js", r"(text|application)/javascript"),
        ("style.css", "text/css"),
        ("icon.svg", r"image/svg\+xml"),
        ("locales/ru.json", "application/json"),
    ],
)
def test_assets_are_served_under_the_same_policy(bot: Bot, path: str, content_type: str) -> None:
    response, _ = bot.call("GET", f"/static/{path}")
    assert response.status == 200
    assert re.fullmatch(content_type, response.headers["Content-Type"].split(";")[0])
    assert "default-src 'none'" in response.headers["Content-Security-Policy"]


def test_sign_in_sets_a_signed_http_only_lax_cookie(bot: Bot) -> None:
    attributes = [part.strip() for part in bot.sign_in().headers["Set-Cookie"].split(";")]
    assert attributes[0].startswith("webbot2_session=")
    assert {"HttpOnly", "SameSite=Lax", "Path=/"} <= set(attributes)
    assert "Secure" not in attributes


def test_the_cookie_is_secure_behind_an_https_proxy(bot: Bot) -> None:
    assert "Secure" in bot.sign_in(X_Forwarded_Proto="https").headers["Set-Cookie"]


def test_the_session_is_read_back_and_ended(bot: Bot) -> None:
    response, body = bot.call("GET", "/api/session", Cookie=bot.cookie())
    assert (response.status, json.loads(body)) == (200, VISITOR)
    assert bot.call("GET", "/api/session")[0].status == 204
    ended, _ = bot.call("DELETE", "/api/session", Cookie=bot.cookie())
    assert ended.status == 204
    assert "Max-Age=0" in ended.headers["Set-Cookie"]


def forged(bot: Bot, kind: str, directory: Path) -> str:
    name, value = bot.cookie().split("=", 1)
    payload, signature = value.split(".", 1)
    if kind == "payload changed":
        return f"{name}={payload[:-2]}xx.{signature}"
    if kind == "signature removed":
        return f"{name}={payload}"
    with running_bot(directory, "http://127.0.0.1:1", key="another key, just as long" * 2) as other:
        return other.cookie()


@pytest.mark.parametrize("kind", ["payload changed", "signature removed", "signed by another key"])
def test_a_tampered_cookie_is_refused(
    bot: Bot, api: FakeProjectApi, tmp_path: Path, kind: str
) -> None:
    cookie = forged(bot, kind, tmp_path)
    response, body = bot.call("POST", "/api/message", {"message": "Привет"}, Cookie=cookie)
    assert response.status == 401
    assert response.headers["Content-Type"] == "application/problem+json"
    assert json.loads(body)["code"] == "session_required"
    assert api.requests.empty()


@pytest.mark.parametrize(
    ("path", "body", "said"),
    [
        ("/api/session", {"user_name": "  ", "course": "Python"}, "user_name"),
        ("/api/session", {"user_name": "Анна"}, "course"),
        ("/api/session", {"user_name": "Анна", "course": "x" * 201}, "200"),
        ("/api/message", {"message": ""}, "message"),
        ("/api/message", {"message": "x" * 4001}, "4000"),
        ("/api/message", ["message"], "body"),
    ],
)
def test_wrong_bodies_are_named(
    bot: Bot, api: FakeProjectApi, path: str, body: object, said: str
) -> None:
    response, answer = bot.call("POST", path, body, Cookie=bot.cookie())
    assert response.status == 422
    assert said in json.loads(answer)["detail"]
    assert api.requests.empty()


def test_a_form_of_a_foreign_site_is_refused(bot: Bot, api: FakeProjectApi) -> None:
    response, _ = bot.call(
        "POST",
        "/api/message",
        {"message": "Привет"},
        Cookie=bot.cookie(),
        Content_Type="text/plain",
    )
    assert response.status == 415
    assert api.requests.empty()


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [("text/plain", "text/plain; charset=utf-8"), ("text/event-stream", "text/event-stream")],
)
def test_a_message_carries_the_visitor_and_the_wanted_form(
    bot: Bot, api: FakeProjectApi, accept: str, content_type: str
) -> None:
    api.reply = lambda handler: handler.answer(200, content_type, "Ответ".encode())
    response, body = bot.answer(accept)
    assert (response.status, body.decode()) == (200, "Ответ")
    assert response.headers["Content-Type"] == content_type
    assert api.requests.get(timeout=DEADLINE) == (
        "/process_message",
        accept,
        {"message": "Что такое список?", **VISITOR},
    )


def test_chunks_arrive_before_the_answer_has_ended(bot: Bot, api: FakeProjectApi) -> None:
    first_was_read = threading.Event()
    in_time: list[bool] = []

    def reply(handler: FakeHandler) -> None:
        handler.begin()
        handler.chunk("Список — ".encode())
        in_time.append(first_was_read.wait(DEADLINE))
        handler.chunk("это коллекция.".encode())
        handler.chunk(b"")

    api.reply = reply
    connection = bot.connect()
    bot.ask(connection)
    response = connection.getresponse()
    assert response.read1().decode() == "Список — "
    first_was_read.set()
    assert response.read().decode() == "это коллекция."
    assert in_time == [True]
    connection.close()


@pytest.mark.parametrize("started", [False, True], ids=["before the first byte", "mid-answer"])
def test_a_browser_that_goes_away_aborts_the_upstream_request(
    bot: Bot, api: FakeProjectApi, started: bool
) -> None:
    hung_up: queue.Queue[bool] = queue.Queue()

    def reply(handler: FakeHandler) -> None:
        if started:
            handler.begin()
            handler.chunk(b"...")
        hung_up.put(handler.wait_for_hang_up())
        handler.close_connection = True

    api.reply = reply
    abandoned = bot.messages("abandoned")
    connection = bot.connect()
    bot.ask(connection)
    if started:
        assert connection.getresponse().read1() == b"..."
    api.requests.get(timeout=DEADLINE)
    assert connection.sock is not None
    connection.sock.shutdown(socket.SHUT_RDWR)
    connection.close()
    assert hung_up.get(timeout=DEADLINE) is True
    until(lambda: bot.messages("abandoned") == abandoned + 1)


def test_a_problem_of_the_project_api_is_passed_on(bot: Bot, api: FakeProjectApi) -> None:
    problem = json.dumps({"title": "Saiga is busy", "status": 503, "code": "overloaded"}).encode()
    api.reply = lambda handler: handler.answer(
        503, "application/problem+json", problem, Retry_After="7"
    )
    response, body = bot.answer()
    assert (response.status, body) == (503, problem)
    assert response.headers["Content-Type"] == "application/problem+json"
    assert response.headers["Retry-After"] == "7"


def test_an_error_page_of_the_project_api_is_not_shown(bot: Bot, api: FakeProjectApi) -> None:
    api.reply = lambda handler: handler.answer(500, "text/html", b"<h1>Traceback</h1>")
    response, body = bot.answer()
    assert response.status == 502
    assert json.loads(body)["code"] == "project_api_failed"
    assert b"Traceback" not in body


def test_an_answer_that_breaks_off_is_not_taken_for_a_whole_one(
    bot: Bot, api: FakeProjectApi
) -> None:
    def reply(handler: FakeHandler) -> None:
        handler.begin()
        handler.chunk(b"half")
        handler.close_connection = True

    api.reply = reply
    failed = bot.messages("failed")
    with pytest.raises(http.client.IncompleteRead):
        bot.answer()
    assert bot.messages("failed") == failed + 1


def test_completed_messages_are_counted(bot: Bot, api: FakeProjectApi) -> None:
    api.reply = lambda handler: handler.answer(200, "text/plain", b"ok")
    completed = bot.messages("completed")
    bot.answer()
    assert bot.messages("completed") == completed + 1


def healthcheck(bot: Bot) -> int:
    command = [sys.executable, "-m", "webbot2.healthcheck"]
    return subprocess.run(
        command, env=bot.environment, timeout=DEADLINE, capture_output=True, check=False
    ).returncode


def test_health_with_a_project_api(bot: Bot, api: FakeProjectApi) -> None:
    assert bot.call("GET", "/health")[0].status == 200
    assert healthcheck(bot) == 0


def test_without_a_project_api_it_lives_but_is_not_healthy(lonely_bot: Bot) -> None:
    assert lonely_bot.call("GET", "/livez")[0].status == 200
    assert lonely_bot.call("GET", "/health")[0].status == 503
    assert healthcheck(lonely_bot) == 1
    response, body = lonely_bot.answer()
    assert response.status == 502
    assert json.loads(body)["code"] == "project_api_unreachable"


def test_a_short_session_key_is_refused_in_one_sentence(tmp_path: Path) -> None:
    key_file = tmp_path / "key"
    key_file.write_text("secret-key")
    done = subprocess.run(
        [sys.executable, "-m", "webbot2"],
        env={"PYTHONPATH": str(SERVICE), "SESSION_KEY_FILE": str(key_file)},
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert f"{key_file} holds 10 bytes, at least 32 are needed" in done.stderr
    assert "secret-key" not in done.stderr


def test_both_languages_have_every_text_of_the_page() -> None:
    dictionaries = [
        json.loads((STATIC / "locales" / f"{language}.json").read_text())
        for language in ("ru", "en")
    ]
    page = (STATIC / "index.html").read_text()
    used = set(re.findall(r'data-(?:text|label|placeholder)="([^"]+)"', page))
    assert used
    for dictionary in dictionaries:
        assert used <= dictionary.keys()
    assert dictionaries[0].keys() == dictionaries[1].keys()


@pytest.mark.parametrize("script", sorted(STATIC.glob("*.js")), ids=lambda path: path.name)
def test_no_script_turns_text_into_markup(script: Path) -> None:
    markup = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|DOMParser|eval\(|srcdoc"
    assert not re.search(markup, script.read_text())
