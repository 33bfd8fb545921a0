"""The gRPC port: qdrant.Qdrant/HealthCheck answers, every other method is UNIMPLEMENTED."""

from typing import Any

import grpc

from . import API_VERSION, COMMIT, TITLE


def health_check_reply() -> bytes:
    """HealthCheckReply{1: title, 2: version, 3: commit} of qdrant.proto, in wire format."""
    encoded = b""
    for number, text in enumerate((TITLE, API_VERSION, COMMIT), start=1):
        value = text.encode()
        encoded += bytes([number << 3 | 2, len(value)]) + value
    return encoded


async def _answer(_request: bytes, _context: Any) -> bytes:
    return health_check_reply()


async def serve(host: str, port: int) -> grpc.aio.Server:
    """Start the server; the caller stops it. Raises RuntimeError when the port is taken."""
    server = grpc.aio.server()
    method: Any = grpc.unary_unary_rpc_method_handler(_answer)
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("qdrant.Qdrant", {"HealthCheck": method}),)
    )
    server.add_insecure_port(f"{host}:{port}")
    await server.start()
    return server
