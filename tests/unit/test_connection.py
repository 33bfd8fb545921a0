"""What is set on the connection of a run."""

import socket
from types import SimpleNamespace
from typing import Any

import pytest

from stack.pyinfra.connection import send_at_once


def host(connector: object) -> Any:
    return SimpleNamespace(connector=connector)


def ssh(sock: object) -> Any:
    transport = SimpleNamespace(sock=sock)
    return host(SimpleNamespace(client=SimpleNamespace(get_transport=lambda: transport)))


def test_a_command_does_not_wait_for_the_acknowledgement_of_the_last() -> None:
    with socket.socket() as sock:
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 0
        send_at_once(ssh(sock))
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0


@pytest.mark.parametrize(
    "other",
    [host(SimpleNamespace()), ssh(SimpleNamespace()), host(SimpleNamespace(client=None))],
    ids=["this machine", "through another program", "not connected"],
)
def test_a_connection_without_a_socket_stays_as_it_is(other: Any) -> None:
    send_at_once(other)
