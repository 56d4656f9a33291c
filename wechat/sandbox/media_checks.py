"""The second half of mediaCheckAsync: fetch the pictures to be judged, push the verdicts."""

import hashlib
import logging
import threading
import time
from typing import Any

from urllib3.exceptions import HTTPError

from wechat.transport import http_session

from .content_safety import findings, judge_picture
from .state import MediaCheck, Receiver, SandboxState

logger = logging.getLogger(__name__)

# Seconds.
VERDICT_DELAY = 0.05
TIMEOUT = 5
RETRY_PAUSE = 0.1

TRIES = 3
MAX_PICTURE = 10 * 1024 * 1024  # bytes

# WeChat documents no number for this; clients look only at whether it is 0.
NOT_FETCHED = {"errcode": -1008, "errmsg": "the media cannot be fetched or read"}


class MediaCheckWorker:
    """A thread that serves the media checks of a sandbox one after the other."""

    def __init__(self, state: SandboxState) -> None:
        self._state = state
        self._stopped = threading.Event()
        self._thread = threading.Thread(
            target=self._run, name="wechat-sandbox-media-checks", daemon=True
        )

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Push nothing more. Does not wait for a call under way, which may take TIMEOUT seconds."""
        self._stopped.set()
        self._state.media_checks.put(None)

    def settle(self, timeout: float) -> None:
        """Wait until every check asked for so far is done.

        Raises TimeoutError after `timeout` seconds.
        """
        checks = self._state.media_checks
        with checks.all_tasks_done:
            if not checks.all_tasks_done.wait_for(lambda: not checks.unfinished_tasks, timeout):
                raise TimeoutError(f"pushes are outstanding after {timeout} s")

    def _run(self) -> None:
        while (check := self._state.media_checks.get()) and not self._stopped.wait(VERDICT_DELAY):
            try:
                self._serve(check)
            finally:
                self._state.media_checks.task_done()

    def _serve(self, check: MediaCheck) -> None:
        receiver = self._state.receivers.get(check.appid)
        if receiver is None:
            return
        event = _event(check, _judge(check.media_url))
        # WeChat may push a message more than once, so every second verdict is pushed twice.
        for _copy in range(1 + next(receiver.verdicts) % 2):
            self._push(receiver, event)

    def _push(self, receiver: Receiver, event: dict[str, Any]) -> None:
        number = next(receiver.pushes)
        safe = number % 2 == 0 and bool(receiver.channel.aes_key)
        xml = number // 2 % 2 == 1
        query, body = receiver.channel.write(event, safe=safe, xml=xml)
        for _try in range(TRIES):
            if self._stopped.is_set() or _delivered(receiver.url, query, body, xml=xml):
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


def _event(check: MediaCheck, found: dict[str, Any]) -> dict[str, Any]:
    return {
        "ToUserName": f"gh_{hashlib.sha256(check.appid.encode()).hexdigest()[:12]}",
        "FromUserName": check.openid,
        "CreateTime": int(time.time()),
        "MsgType": "event",
        "Event": "wxa_media_check",
        "appid": check.appid,
        "trace_id": check.trace_id,
        "version": 2,
        **found,
    }


def _delivered(url: str, query: dict[str, str], body: bytes, *, xml: bool) -> bool:
    """Send a push and return whether the receiver answered `success`."""
    try:
        with http_session().post(
            url,
            params=query,
            data=body,
            headers={"Content-Type": "text/xml" if xml else "application/json"},
            timeout=TIMEOUT,
            allow_redirects=False,
            stream=True,
        ) as response:
            answer = response.raw.read(64, decode_content=True)
            return bool(response.status_code == 200 and answer == b"success")
    except (HTTPError, OSError):
        return False
