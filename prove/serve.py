"""Serve the site in processes that can be killed: one that is ready forks each of them at once.

Started as `python -m prove.serve`, it reads commands from its standard input, and ends with it:
`start <port>` forks a server and prints its pid.
"""

import os
import signal
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from threading import Thread
from typing import Any

from .plan import say

CLOCK = "/prove/clock/"  # with the seconds by which the server's clock is to be wrong
EARLY = 0.2  # seconds from an answer to its work, where a server answers first


class ServerWithControls:
    """A WSGI application with what a trial does to a server from outside: its clock; and, where
    PROVE_ANSWERS_FIRST says so, the fault that the trial must find."""

    def __init__(self, application: Callable[..., Any]) -> None:
        self.application = application
        self.traveller: Any = None

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        if path.startswith(CLOCK):
            self.set_clock(float(path.removeprefix(CLOCK)))
            start_response("204 No Content", [])
            return []
        if path == "/api/v1/scores" and os.environ.get("PROVE_ANSWERS_FIRST"):
            return self.answer_first(environ, start_response)
        answer: Iterable[bytes] = self.application(environ, start_response)
        return answer

    def set_clock(self, wrong_by: float) -> None:
        import time_machine

        if self.traveller is not None:
            self.traveller.stop()
            self.traveller = None
        if wrong_by:
            self.traveller = time_machine.travel(time.time() + wrong_by)
            self.traveller.start()

    def answer_first(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        from io import BytesIO

        body = environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))
        environ["wsgi.input"] = BytesIO(body)

        def work() -> None:
            time.sleep(EARLY)
            answer = self.application(environ, lambda *started: None)
            answer.close()

        Thread(target=work).start()
        start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", "2")])
        return [b"{}"]


def serve(port: int) -> None:
    from django.core.servers.basehttp import ThreadedWSGIServer, WSGIRequestHandler

    from groupsite.wsgi import application

    ThreadedWSGIServer.request_queue_size = 64
    WSGIRequestHandler.log_message = lambda *arguments: None  # type: ignore[method-assign]
    server = ThreadedWSGIServer(("127.0.0.1", port), WSGIRequestHandler)
    server.set_app(ServerWithControls(application))
    server.serve_forever()


def main() -> None:
    import groupsite.wsgi  # noqa: F401  # so that a fork has nothing left to load

    children: set[int] = set()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the one who started it ends it
    say("ready")
    for line in sys.stdin:
        pid = os.fork()
        if not pid:
            sys.stdin.close()
            os.setsid()
            try:
                serve(int(line.split()[1]))
            finally:
                os._exit(1)
        children.add(pid)
        say(str(pid))
        with suppress(ChildProcessError):
            while (ended := os.waitpid(-1, os.WNOHANG)[0]) != 0:
                children.discard(ended)
    for pid in children:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


if __name__ == "__main__":
    main()
