"""A mirror of model files for tests: a real HTTP server that can go on in the middle of a file."""

import hashlib
import http.server
import threading
from typing import Any

from stack.model import MANIFEST


class Mirror:
    """Files over HTTP, with ranges; ``cuts`` are the bytes after which a connection ends."""

    def __init__(self, address: str = "127.0.0.1") -> None:
        self.files: dict[str, bytes] = {}
        self.cuts: list[int] = []
        mirror = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                content = mirror.files.get(self.path.partition("?")[0])
                if content is None:
                    self.send_error(404)
                    return
                start = int((self.headers["Range"] or "bytes=0-")[6:].partition("-")[0])
                self.send_response(206 if start else 200)
                self.send_header("Content-Length", str(len(content) - start))
                self.send_header(
                    "Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}"
                )
                self.end_headers()
                cut = mirror.cuts.pop(0) if mirror.cuts else len(content)
                self.wfile.write(content[start : start + cut])

            def log_message(self, *_: Any) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer((address, 0), Handler)
        self.url = f"http://{address}:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def serve(self, files: dict[str, bytes]) -> str:
        """Serve these files with their manifest; returns its revision."""
        lines = (f"{hashlib.sha256(c).hexdigest()} {len(c)} {n}\n" for n, c in files.items())
        text = "".join(lines)
        self.files = {f"/{name}": content for name, content in files.items()}
        self.files[f"/{MANIFEST}"] = text.encode()
        return hashlib.sha256(text.encode()).hexdigest()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
