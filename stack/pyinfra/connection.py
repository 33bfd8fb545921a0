"""The connection of a run to its host."""

import socket

from pyinfra.api import Host


def send_at_once(host: Host) -> None:
    """Have each command sent without waiting for the host to acknowledge what went before.

    Paramiko leaves Nagle's algorithm on: the first packet of a command then waits for the last one
    of the command before, whose acknowledgement Linux delays by 40 ms. Nothing is done to a
    connection that is no SSH connection.
    """
    client = getattr(host.connector, "client", None)
    transport = client and client.get_transport()
    if transport and isinstance(transport.sock, socket.socket):
        transport.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
