"""Provide what a chapter needs: the clock, the sandbox, the callers, and the record."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from io import BytesIO
from typing import Any
from urllib.parse import urlsplit

from django.db import OperationalError, connection
from django.test import Client as Browser
from django.utils import timezone
from PIL import Image

from groups import ranking
from tests.settings import APP_ID, OTHER_APP_ID
from wechat.crypto import seal
from wechat.push import channel_for
from wechat.sandbox import Fault, Phone, Sandbox, open_gid_of, openid_of, unionid_of

from .names import Names, differences, visible_texts
from .operators import Operator

API = "/api/v1/"
CHINESE, ENGLISH = "zh-CN", "en"
SESSION_KEY = "MDEyMzQ1Njc4OWFiY2RlZg=="
GREEN, RED, YELLOW = (20, 160, 60), (220, 20, 20), (230, 220, 30)  # passed, risky, doubtful

# Recorded only where an answer differs; null where it is missing.
USUAL = {
    "Cache-Control": "private, no-store",
    "Content-Type": "application/json",
    "Vary": "Accept-Language",
}
USUAL_OF_PAGES = USUAL | {
    "Content-Security-Policy": (
        "base-uri 'none'; connect-src 'self'; default-src 'none'; font-src 'self'; "
        "form-action 'self'; frame-ancestors 'none'; img-src 'self' data:; object-src 'none'; "
        "script-src 'self'; style-src 'self'"
    ),
    "Content-Type": "text/html; charset=utf-8",
    "Referrer-Policy": "no-referrer",
    "X-Robots-Tag": "noindex",
}
LANGUAGES = {CHINESE: "zh-hans", ENGLISH: "en"}
USUAL_WITH_TAG = {
    "Cache-Control": "private, no-cache",
    "Vary": "Authorization, Accept-Language",
}
OTHERS = ("Allow", "ETag", "Location", "Retry-After", "WWW-Authenticate")


class Stage:
    """Run one chapter. `steps` is its record."""

    def __init__(self, sandbox: Sandbox, clock: Any, settings: Any) -> None:
        self.sandbox, self.clock, self.settings = sandbox, clock, settings
        self.names = Names()
        self.steps: list[Any] = []
        self._silent = False
        # Shared: making a browser costs more than most requests.
        self.browser, self._console = Browser(raise_request_exception=False), Browser()
        for app_id, name in ((APP_ID, "appid"), (OTHER_APP_ID, "other appid")):
            self.names.call(app_id, name)
        self.visitor = Caller(self, "a visitor")

    # Time

    def at(self, moment: str) -> None:
        """Move the clock to a moment in Shanghai, such as `2026-11-18 12:00`."""
        self.clock.move_to(datetime.fromisoformat(f"{moment}+08:00").timestamp(), tick=False)

    def at_next(self, moment: str) -> None:
        """Set the clock so that the next request comes at this very second."""
        self.at(moment)
        self.later(seconds=-1)

    def later(self, **units: float) -> None:
        self.clock.shift(timedelta(**units))

    @property
    def now(self) -> datetime:
        return timezone.localtime()

    # Callers

    def phone(self, name: str, app_id: str = APP_ID) -> "Person":
        """Return a person who has not logged in."""
        return Person(self, name, app_id)

    def person(self, name: str, nickname: str = "", app_id: str = APP_ID) -> "Person":
        """Return a person who has logged in and set that nickname, both off the record."""
        with self.off_the_record():
            person = self.phone(name, app_id).log_in()
            if nickname:
                assert person.put("me", {"nickname": nickname}).status_code == 200
        return person

    def server(self, app_id: str = APP_ID, name: str = "the server") -> "Caller":
        server = Caller(self, name, scheme="Key")
        server.token = self.operator.make_key(app_id)
        self.names.call(server.token, f"key of {name}")
        return server

    @property
    def operator(self) -> Operator:
        """Return Olga, signed in again, since sessions expire while the clock moves."""
        return Operator(self._console)

    def chat(self, name: str, app_id: str = APP_ID) -> str:
        """Return the openGId of a chat."""
        open_gid = open_gid_of(app_id, name)
        self.names.call(open_gid, f"openGId of {name}")
        return open_gid

    def serve_two_apps(self) -> None:
        other = {OTHER_APP_ID: {"SECRET": self.sandbox.state.apps[OTHER_APP_ID]}}
        self.settings.WECHAT_APPS = {**self.settings.WECHAT_APPS, **other}

    # The record

    def title(self, text: str) -> None:
        """Write a headline above the steps that follow."""
        self.steps.append(text)

    @contextmanager
    def off_the_record(self) -> Iterator[None]:
        before, self._silent = self._silent, True
        yield
        self._silent = before

    def keep(self, who: str, what: dict[str, Any], answers: list[dict[str, Any]]) -> None:
        """Record one step: the request, and its answers in Chinese and perhaps in English."""
        if self._silent:
            return
        first, *others = answers
        known = self.names.in_json(what)
        step = {"at": f"{self.now:%Y-%m-%d %H:%M:%S}", "who": who, **known, **first}
        for other in others:
            is_page = isinstance(first["body"], list)
            step["in English"] = other if is_page else dict(differences(first, other))
        self.steps.append(step)

    def read(self, answer: Any, language: str) -> dict[str, Any]:
        """Return an answer as it is recorded."""
        kind, content = answer.get("Content-Type", ""), answer.content
        if not content:
            body: Any = None
        elif kind.startswith("application/json"):
            found = json.loads(content)
            if isinstance(found, dict) and found.get("requestId") == answer["X-Request-ID"]:
                found["requestId"] = "<that of the header>"
            body = self.names.in_json(found)
        elif kind.startswith("text/html"):
            body = [self.names.in_text(line) for line in visible_texts(content.decode())]
        elif kind.startswith("image/"):
            image = Image.open(BytesIO(content))
            body = f"<a {image.format} of {image.width}×{image.height}>"
        else:
            body = self.names.in_text(content.decode())
        headers = self._unusual(answer, language)
        return {"status": answer.status_code, "headers": headers, "body": body}

    def _unusual(self, answer: Any, language: str) -> dict[str, str | None]:
        is_page = answer.get("Content-Type", "").startswith("text/html")
        usual = {
            **(USUAL_OF_PAGES if is_page else USUAL),
            "Content-Language": LANGUAGES.get(language),
            **dict.fromkeys(OTHERS),
        }
        found = {name: answer.get(name) for name in usual}
        if found["ETag"]:  # of all that is recorded, so it says nothing more
            found["ETag"] = "a tag"
            usual |= USUAL_WITH_TAG
        if policy := found.get("Content-Security-Policy"):
            found["Content-Security-Policy"] = "; ".join(sorted(policy.split("; ")))
        return {
            name: value and self.names.in_text(value)
            for name, value in found.items()
            if value != usual[name]
        }

    # Faults

    def fault(self, path: str, times: int = 1, **what: Any) -> None:
        """Make the next calls of a WeChat path fail; `times=0` takes it back."""
        self.sandbox.state.request_fault(path, Fault(**what), times)

    @contextmanager
    def without_database(self, error: type[Exception] = OperationalError) -> Iterator[None]:
        def fail(*args: Any, **kwargs: Any) -> Any:
            raise error("the database is away, or the code is broken")

        with connection.execute_wrapper(fail):
            yield

    # Pushes

    def push(
        self, app_id: str = APP_ID, *, safe: bool = True, xml: bool = False, **event: Any
    ) -> Any:
        """Push this event as WeChat does."""
        query, body = channel_for(app_id).write(event, safe=safe, xml=xml)
        how = f"{'sealed' if safe else 'plain'} {'XML' if xml else 'JSON'}"
        path = f"/wechat/push/{app_id}/?{'&'.join(f'{k}={v}' for k, v in query.items())}"
        kind = "text/xml" if xml else "application/json"
        return self.visitor.ask("POST", path, data=body, kind=kind, says={how: event})

    def verdict(self, person: "Person", suggestion: str, label: int = 100, **how: Any) -> Any:
        """Push a verdict on the avatar that this person sent last."""
        with self.off_the_record():
            trace = person.get("me/data").json()["avatarChecks"][-1]["traceId"]
        result = {"suggest": suggestion, "label": label}
        event = {"MsgType": "event", "Event": "wxa_media_check", "trace_id": trace}
        return self.push(**event, errcode=0, result=result, **how)


class Caller:
    """Send requests with a token, a key, or nothing."""

    def __init__(self, stage: Stage, name: str, scheme: str = "Bearer") -> None:
        self.stage, self.name, self.scheme = stage, name, scheme
        self.token = ""

    def ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        data: Any = None,
        kind: str = "application/json",
        says: Any = None,
        headers: dict[str, str] | None = None,
        twice: bool | None = None,
        of: "Person | None" = None,
    ) -> Any:
        """Send and record a request, one second after the last one; return the answer.

        `body` is sent as JSON. `data` is sent as it is, and recorded as `says`. A request that
        changed nothing (a read, or one that was refused) is sent again in English; `twice`
        overrides this. `of` is the person who logs in with this request.
        """
        stage = self.stage
        stage.later(seconds=1)
        path = path if path.startswith("/") else API + path
        if body is not None:
            data, says = json.dumps(body, ensure_ascii=False).encode(), body
        what: dict[str, Any] = {"asks": f"{method} {path}"}
        what |= {"with": headers} if headers else {}
        what |= {"sends": says} if says is not None else {}
        sent = {"Accept-Language": CHINESE, **(headers or {})}
        if self.token and "Authorization" not in sent:
            sent["Authorization"] = f"{self.scheme} {self.token}"
        answer = self._send(method, path, data, kind, sent)
        if of and answer.status_code == 200:
            stage.names.call_person(answer.json()["user"]["id"], of.name)
        answers = [stage.read(answer, sent["Accept-Language"])]
        if twice is None:
            twice = method in {"GET", "HEAD", "OPTIONS"} or answer.status_code >= 400
        if twice and "Accept-Language" not in (headers or {}):
            english = {**sent, "Accept-Language": ENGLISH}
            answers.append(stage.read(self._send(method, path, data, kind, english), ENGLISH))
        stage.keep(self.name, what, answers)
        return answer

    def _send(self, method: str, path: str, data: Any, kind: str, headers: dict[str, str]) -> Any:
        ranking.recent.clear()  # or what others scored would come into the record two steps later
        if isinstance(data, dict):  # a form
            files = {name: _file(content) for name, content in data.items()}
            return getattr(self.stage.browser, method.lower())(path, files, headers=headers)
        return self.stage.browser.generic(
            method, path, data or b"", content_type=kind, headers=headers
        )

    def get(self, path: str, **more: Any) -> Any:
        return self.ask("GET", path, **more)

    def post(self, path: str, body: Any = None, **more: Any) -> Any:
        return self.ask("POST", path, body, **more)

    def put(self, path: str, body: Any = None, **more: Any) -> Any:
        return self.ask("PUT", path, body, **more)

    def delete(self, path: str, **more: Any) -> Any:
        return self.ask("DELETE", path, **more)


class Person(Caller):
    """Send requests as a member with a phone."""

    def __init__(self, stage: Stage, name: str, app_id: str) -> None:
        super().__init__(stage, name)
        self.app_id, self.pk = app_id, ""
        self.phone = Phone(stage.sandbox.url, name, app_id)
        self.openid = openid_of(app_id, name)
        stage.names.call(self.openid, f"openid of {name}")
        stage.names.call(unionid_of(name), f"unionid of {name}")

    def code(self) -> str:
        code = self.phone.login()
        self.stage.names.call(code, f"code of {self.name}")
        return code

    def log_in(self, **more: Any) -> "Person":
        """Log in, with the appid where there are several."""
        several = len(self.stage.settings.WECHAT_APPS) > 1
        body = {"code": self.code(), **({"appid": self.app_id} if several else {}), **more}
        with self.anonymous():
            self.take(self.post("login", body, of=self))
        return self

    def take(self, answer: Any) -> None:
        """Use the token in the answer to a log-in."""
        assert answer.status_code == 200, answer.content
        found = answer.json()
        self.token, self.pk = found["token"], found["user"]["id"]

    @contextmanager
    def anonymous(self) -> Iterator[None]:
        token, self.token = self.token, ""
        yield
        self.token = self.token or token

    def sealed(self, envelope: dict[str, str], what: str) -> dict[str, str]:
        for part, value in envelope.items():
            self.stage.names.call(value, f"{part}: {what}")
        return envelope

    def share_info(self, chat: str) -> dict[str, str]:
        """Open a card in a chat; return the envelope of wx.getShareInfo."""
        self.stage.chat(chat, self.app_id)
        ticket = self.phone.open_card(chat)["shareTicket"]
        return self.sealed(self.phone.share_info(ticket), f"{self.name} in {chat}")

    def enter_info(self, chat: str, *, watermark: bool = True) -> dict[str, str]:
        """Open a card in a chat; return the envelope of wx.getGroupEnterInfo."""
        self.stage.chat(chat, self.app_id)
        self.phone.open_card(chat)
        what = f"{self.name} in {chat}{'' if watermark else ', without a watermark'}"
        return self.sealed(self.phone.group_enter_info(watermark=watermark), what)

    def sealed_with(
        self, what: str, payload: dict[str, Any], key: str = SESSION_KEY, **mark: Any
    ) -> dict[str, str]:
        """Seal a payload as WeChat does; `mark` changes the watermark.

        For a person whose session key came from a team's server.
        """
        watermark = {"appid": self.app_id, "timestamp": int(self.stage.now.timestamp()), **mark}
        marked = {"watermark": watermark, **payload}
        if marked["watermark"] is None:
            del marked["watermark"]
        return self.sealed(seal(key, marked), what)

    def enter(self, chat: str) -> str:
        """Enter a group off the record; return its openGId."""
        with self.stage.off_the_record():
            answer = self.post("groups/bind", self.share_info(chat))
        assert answer.status_code in {200, 201}, answer.content
        return str(answer.json()["openGId"])

    def score(self, board: str, value: int, chat: str = "", **more: Any) -> None:
        """Submit a score off the record."""
        body = {"board": board, "value": value, **more}
        body |= {"openGId": self.stage.chat(chat)} if chat else {}
        with self.stage.off_the_record():
            answer = self.post("scores", body)
        assert answer.status_code == 200, answer.content

    def send_avatar(self, colour: tuple[int, int, int] = GREEN) -> Any:
        name = {GREEN: "green", RED: "red", YELLOW: "yellow"}[colour]
        form = {"avatar": picture(colour)}
        return self.post("me/avatar", data=form, says={"avatar": f"<a {name} picture>"})

    def link(self, chat: str, **body: Any) -> str:
        """Ask for a link to the group's page; return its path."""
        answer = self.post(f"groups/{self.stage.chat(chat)}/link", body)
        return urlsplit(answer.json()["url"]).path


def picture(colour: tuple[int, int, int] = GREEN, size: int = 300, kind: str = "PNG") -> bytes:
    out = BytesIO()
    Image.new("RGB", (size, size), colour).save(out, kind)
    return out.getvalue()


def _file(content: Any) -> Any:
    if isinstance(content, str):
        return content
    file = BytesIO(content)
    file.name = "tmp_a1b2.png"
    return file
