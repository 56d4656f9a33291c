"""What WeChat pushes to a server: verdicts on pictures, which it fetches first, and events."""

import logging
import threading
from typing import Any

from urllib3.exceptions import HTTPError

from wechat.transport import http_session

from .content_safety import findings, judge_picture
from .state import Event, MediaCheck, Receiver, SandboxState

logger = logging.getLogger(__name__)

# Seconds.
DELAY = 0.05
TIMEOUT = 5
RETRY_PAUSE = 0.1

TRIES = 3
MAX_PICTURE = 10 * 1024 * 1024  # bytes

# WeChat documents no number for this; clients look only at whether it is 0.
NOT_FETCHED = {"errcode": -1008, "errmsg": "the media cannot be fetched or read"}


class PushWorker:
    """A thread that serves the outbox of a sandbox, one item after the other."""

    def __init__(self, state: SandboxState) -> None:
        self._state = state
        self.held = threading.Lock()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="wechat-sandbox-pushes", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Push nothing more. Does not wait for a call under way, which may take TIMEOUT seconds."""
        self._stopped.set()
        self._state.outbox.put(None)

    def settle(self, timeout: float) -> None:
        """Wait until everything in the outbox is pushed or given up.

        Raises TimeoutError after `timeout` seconds.
        """
        outbox = self._state.outbox
        with outbox.all_tasks_done:
            if not outbox.all_tasks_done.wait_for(lambda: not outbox.unfinished_tasks, timeout):
                raise TimeoutError(f"pushes are outstanding after {timeout} s")

    def _run(self) -> None:
        while (item := self._state.outbox.get()) and not self._stopped.wait(DELAY):
            try:
                with self.held:
                    self._serve(item)
            finally:
                self._state.outbox.task_done()

    def _serve(self, item: MediaCheck | Event) -> None:
        receiver = self._state.receivers.get(item.appid)
        if receiver is None:
            return
        event = item if isinstance(item, Event) else _verdict(item)
        # WeChat may push a message more than once, so every second one is pushed twice.
        for _copy in range(1 + next(receiver.messages) % 2):
            self._push(receiver, event.fields)

    def _push(self, receiver: Receiver, event: dict[str, Any]) -> None:
        xml = next(receiver.pushes) % 2 == 1
        channel = receiver.channel
        query, body = channel.write(event, safe=bool(channel.aes_key), xml=xml)
        headers = {"Content-Type": "text/xml" if xml else "application/json"}
        if not channel.token:
            query = {}
            headers |= {"X-WX-SOURCE": "wx_push", "X-WX-APPID": channel.app_id}
        for _try in range(TRIES):
            if self._stopped.is_set() or _delivered(receiver.url, query, body, headers):
                return
            self._stopped.wait(RETRY_PAUSE)
        logger.warning("%s did not answer a push with success", receiver.url)


def _judge(url: str) -> dict[str, Any]:
    """Fetch the picture at `url` and return what the event says about it."""
    try:
        with http_session().get(url, timeout=TIMEOUT, allow_redirects=False, stream=True) as answer:
            data: bytes = answer.raw.read(MAX_PICTURE + 1, decode_content=True)
        if answer.status_code != 200 or len(data) > MAX_PICTURE:
            raise ValueError("not there, or too large")
        found = findings(judge_picture(data), pushed=True)
    except (ValueError, HTTPError, OSError):  # those of requests are OSErrors or ValueErrors
        return {"detail": [], **NOT_FETCHED, "result": {}}
    return {"errcode": 0, "errmsg": "ok", **found}


def _verdict(check: MediaCheck) -> Event:
    found = _judge(check.media_url)
    fields = {"appid": check.appid, "trace_id": check.trace_id, "version": 2, **found}
    return Event.about(check.appid, check.openid, "wxa_media_check", fields)


def _delivered(url: str, query: dict[str, str], body: bytes, headers: dict[str, str]) -> bool:
    """Send a push and return whether the receiver answered `success`."""
    try:
        with http_session().post(
            url,
            params=query,
            data=body,
            headers=headers,
            timeout=TIMEOUT,
            allow_redirects=False,
            stream=True,
        ) as response:
            answer = response.raw.read(64, decode_content=True)
            return bool(response.status_code == 200 and answer == b"success")
    except (HTTPError, OSError):
        return False
