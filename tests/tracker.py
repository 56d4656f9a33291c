"""A server in place of Sentry."""

import gzip
import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any


class Tracker(ThreadingHTTPServer):
    """A server in place of Sentry that keeps the events posted to it."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), TrackerHandler)
        self.events: list[dict[str, Any]] = []
        self.bodies: list[str] = []
        self.dsn = f"http://{'0' * 32}@127.0.0.1:{self.server_port}/1"


class TrackerHandler(BaseHTTPRequestHandler):
    server: Tracker

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        self.server.bodies.append(body.decode())
        parts = [json.loads(line) for line in body.decode().splitlines() if line]
        self.server.events += [part for part in parts if "exception" in part]
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *args: Any) -> None:
        pass


@contextmanager
def tracking() -> Iterator[Tracker]:
    with Tracker() as tracker:
        Thread(target=tracker.serve_forever, daemon=True).start()
        yield tracker
        tracker.shutdown()
