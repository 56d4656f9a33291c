"""Fuzz what comes to the push address: queries and bodies that are random, altered, replayed,
sealed under another key, or sealed properly around a message that WeChat would not write.

Most are asked of the view (`accounts/views.py`: `wechat_push`), one in 100 goes through all of the
site. A push that WeChat did not seal is refused without one statement to the database.
"""

import hashlib
import json
import time
from base64 import b64encode
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from random import Random
from typing import Any
from urllib.parse import urlencode

import time_machine
from defusedxml.ElementTree import ParseError, fromstring

from . import APP_ID, PLAIN_APP_ID, PUSH_KEY, PUSH_TOKEN
from .inputs import changed_bytes, changed_object, deep_text, json_text, odd_value
from .pieces import Piece, run_pieces
from .plan import Plan, TrialResult

LONG, SHORT = 1_000_000, 3_000
WHOLE = 100
MOMENT = datetime(2026, 12, 1, 4, 0, tzinfo=UTC)
EVENTS = (
    *("wxa_media_check", "user_authorization_revoke", "user_info_modified"),
    *("user_authorization_cancellation", "debug_demo", "subscribe"),
)
KEYS = (
    *("ToUserName", "FromUserName", "CreateTime", "MsgType", "Event", "trace_id", "errcode"),
    *("result", "suggest", "label", "OpenID", "RevokeInfo", "AppID", "Encrypt", "detail", "a"),
)
TYPES = (
    "text/xml",
    "application/json",
    "application/x-www-form-urlencoded",
    "",
    "multipart/form-data",
)


def run(plan: Plan) -> TrialResult:
    """Try pushes in pieces."""
    return run_pieces(plan, "pushes", try_piece, LONG if plan.long else SHORT)


def try_piece(number: int, size: int) -> Piece:
    from django.db import transaction

    begun = time.monotonic()
    piece = Piece(number)
    with time_machine.travel(MOMENT, tick=False), transaction.atomic():
        fuzzer = PushFuzzer(piece)
        for count in range(size):
            fuzzer.try_one(whole=count % WHOLE == 0)
        fuzzer.check_victims()
        transaction.set_rollback(True)
    piece.tried, piece.seconds = size, time.monotonic() - begun
    return piece


class Sent:
    """A push as it is sent, and whether WeChat could have sealed or signed it so."""

    def __init__(self, query: dict[str, str], body: bytes, app_id: str, *, proper: bool) -> None:
        self.query, self.body, self.app_id, self.proper = query, body, app_id, proper
        self.method = "POST"


class PushFuzzer:
    """Two channels, sealed and plain; Alice, who genuine pushes are about; and a victim, who only
    forged pushes name."""

    def __init__(self, piece: Piece) -> None:
        from django.test import RequestFactory

        from accounts.views import wechat_push
        from wechat.push import Channel

        from .inside import InnerSite

        self.piece, self.chance = piece, Random(f"pushes {piece.number}")
        self.view, self.requests, self.site = wechat_push, RequestFactory(), InnerSite()
        self.safe = Channel(APP_ID, PUSH_TOKEN, PUSH_KEY)
        self.plain = Channel(PLAIN_APP_ID, PUSH_TOKEN)
        self.make_people()
        self.captured: list[tuple[dict[str, str], bytes]] = []
        self.kinds: tuple[tuple[str, Callable[[], Sent]], ...] = (
            *(("random", self.noise), ("altered", self.altered), ("altered", self.altered)),
            *(("forged from a signature", self.forged), ("key of another", self.other_key)),
            *(("odd message", self.odd_message), ("odd text", self.odd_text)),
            *(("plain", self.plain_message), ("stale", self.stale), ("address", self.echo)),
            ("genuine", self.genuine),
        )

    def make_people(self) -> None:
        """Make Alice, named by genuine pushes, and a victim with a picture under review."""
        from django.utils import timezone

        from accounts.models import AvatarCheck, WeChatUser

        number, now = self.piece.number, timezone.now()
        self.meet = WeChatUser.objects.meet
        self.alice = self.meet(APP_ID, f"alice-{number}")
        self.victim = self.meet(APP_ID, f"victim-{number}")
        WeChatUser.objects.filter(pk=self.victim.pk).update(nickname="Vera", nickname_at=now)
        self.trace, self.victims_trace = f"trace-{number}", f"victims-{number}"
        for trace, user in ((self.trace, self.alice), (self.victims_trace, self.victim)):
            AvatarCheck.objects.create(
                app_id=APP_ID, trace_id=trace, user=user, avatar="a" * 22, created_at=now
            )

    def give_name(self) -> None:
        """Give Alice something to withdraw."""
        from django.utils import timezone

        from accounts.models import WeChatUser

        mine = WeChatUser.objects.filter(pk=self.alice.pk)
        mine.update(nickname="Alice", avatar="a" * 22, nickname_at=timezone.now())

    def event(self, *, of_victim: bool = False) -> dict[str, Any]:
        """Return an event as WeChat writes it."""
        person = self.victim if of_victim else self.alice
        found: dict[str, Any] = {
            "ToUserName": "gh_97417a04a28d",
            "FromUserName": person.openid,
            "CreateTime": int(time.time()),
            "MsgType": "event",
            "Event": self.chance.choice(EVENTS),
        }
        if found["Event"] == "wxa_media_check":
            return found | {
                "appid": APP_ID,
                "trace_id": self.victims_trace if of_victim else self.trace,
                "version": 2,
                "detail": [{"strategy": "content_model", "errcode": 0, "suggest": "pass"}],
                "errcode": 0,
                "errmsg": "ok",
                "result": {"suggest": self.chance.choice(("pass", "risky")), "label": 100},
            }
        openid = person.openid
        if found["Event"] == "user_authorization_cancellation" and not of_victim:
            openid = f"gone-{self.chance.randrange(10**6)}"
            if self.chance.random() < 0.05:
                self.meet(APP_ID, openid)
        elif self.chance.random() < 0.02:
            self.give_name()
        about = {"OpenID": openid, "AppID": APP_ID}
        return found | about | {"RevokeInfo": self.chance.choice(("6", "14", "19", "20", "12"))}

    def written(self, event: dict[str, Any]) -> tuple[dict[str, str], bytes]:
        """Write a sealed push; keep a few of those that name no one but Alice, for the forger."""
        xml = self.chance.random() < 0.5
        found = self.safe.write(event, safe=True, xml=xml)
        self.captured = [*self.captured[-20:], found]
        return found

    def signed(self, sealed: str, at: str = "", nonce: str = "415670741") -> dict[str, str]:
        """Return a query signed over `sealed`, as WeChat does."""
        query = {"timestamp": at or str(int(time.time())), "nonce": nonce}
        parts = sorted([PUSH_TOKEN, *query.values(), sealed])
        digest = hashlib.sha1("".join(parts).encode()).hexdigest()  # noqa: S324  # as WeChat does
        return query | {"msg_signature": digest, "encrypt_type": "aes"}

    def sealed(self, text: bytes, key: str = PUSH_KEY, app_id: str = APP_ID) -> tuple[Any, bytes]:
        from wechat.crypto import seal_push

        encrypted = seal_push(key, app_id, text)
        body = json.dumps({"ToUserName": "gh_1", "Encrypt": encrypted}).encode()
        return self.signed(encrypted), body

    # Kinds of pushes

    def noise(self) -> Sent:
        words = ("timestamp", "nonce", "signature", "msg_signature", "encrypt_type", "echostr", "a")
        query = {self.chance.choice(words): self.letters() for _ in range(self.chance.randrange(6))}
        body = self.chance.randbytes(self.chance.choice((0, 1, 30, 300)))
        app_id = self.chance.choice((APP_ID, APP_ID, PLAIN_APP_ID, "wxunknown"))
        return Sent(query, body, app_id, proper=False)

    def altered(self) -> Sent:
        """Alter a genuine push on its way; what is not covered by its signature may change."""
        query, body = self.written(self.event())
        sealed = sealed_in(body)
        if self.chance.random() < 0.4:
            key = self.chance.choice(list(query))
            query[key] = changed_bytes(self.chance, query[key].encode()).decode(errors="replace")
        else:
            body = changed_bytes(self.chance, body)
        right = self.signed(sealed.decode(), query.get("timestamp", ""), query.get("nonce", ""))
        signed = query.get("msg_signature") == right["msg_signature"]
        proper = signed and (sealed in body or sealed.decode() == read_again(body))
        return Sent(query, body, APP_ID, proper=proper)

    def forged(self) -> Sent:
        """Send a message of one's own, plain or sealed by oneself, with signatures seen before."""
        query, _body = self.chance.choice(self.captured) if self.captured else ({}, b"")
        event = self.event(of_victim=True)
        text = json.dumps(event).encode()
        if self.chance.random() < 0.5:
            key = b64encode(self.chance.randbytes(32)).decode()[:43]
            _query, text = self.sealed(text, key)
        return Sent(dict(query), text, APP_ID, proper=False)

    def other_key(self) -> Sent:
        """Sign properly, and seal under another key or for another mini-program."""
        text = json.dumps(self.event(of_victim=True)).encode()
        if self.chance.random() < 0.5:
            query, body = self.sealed(text, key=b64encode(self.chance.randbytes(32)).decode()[:43])
        else:
            query, body = self.sealed(text, app_id=PLAIN_APP_ID)
        return Sent(query, body, APP_ID, proper=False)

    def odd_message(self) -> Sent:
        event = changed_object(self.chance, self.event(), KEYS)
        return Sent(*self.sealed(json_text(self.chance, event)), APP_ID, proper=True)

    def odd_text(self) -> Sent:
        """Seal a JSON or XML text that was changed, or any JSON value."""
        if self.chance.random() < 0.1:
            text = json_text(self.chance, odd_value(self.chance))
        elif self.chance.random() < 0.05:
            key = self.chance.choice(KEYS).encode()
            start = json.dumps(self.event()).encode()[:-1]
            text = b'%s,"%s":%s}' % (start, key, deep_text(self.chance))
        elif self.chance.random() < 0.05:
            depth = self.chance.choice((7, 8, 9, 50, 2000, 20_000))
            text = b"<xml>" + b"<a>" * depth + b"</a>" * depth + b"</xml>"
        else:
            xml = self.chance.random() < 0.7
            _query, text = self.plain.write(self.event(), safe=False, xml=xml)
            text = changed_bytes(self.chance, text)
        return Sent(*self.sealed(text), APP_ID, proper=True)

    def plain_message(self) -> Sent:
        """Push to a mini-program without a key, whose signature does not cover the body."""
        event = self.event() if self.chance.random() < 0.5 else {}
        event = changed_object(self.chance, event, KEYS)
        query, _body = self.plain.write({}, safe=False, xml=False)
        if proper := self.chance.random() < 0.7:
            return Sent(query, json_text(self.chance, event), PLAIN_APP_ID, proper=proper)
        query[self.chance.choice(("timestamp", "nonce", "signature"))] += "0"
        return Sent(query, json_text(self.chance, event), PLAIN_APP_ID, proper=False)

    def stale(self) -> Sent:
        """Replay a genuine push after ten minutes, or before its time."""
        from wechat.crypto import seal_push

        encrypted = seal_push(PUSH_KEY, APP_ID, json.dumps(self.event(of_victim=True)).encode())
        body = json.dumps({"Encrypt": encrypted}).encode()
        age = self.chance.choice((-(10**9), -601, 601, 3600, 10**9, 10**15))
        return Sent(self.signed(encrypted, str(int(time.time()) - age)), body, APP_ID, proper=False)

    def echo(self) -> Sent:
        """Ask as WeChat's console does when the address is saved, rightly or not."""
        query, _body = self.plain.write({}, safe=False, xml=False)
        query["echostr"] = self.letters()
        if self.chance.random() < 0.7:
            key = self.chance.choice(list(query))
            query[key] = changed_bytes(self.chance, query[key].encode()).decode(errors="replace")
        sent = Sent(query, b"", self.chance.choice((APP_ID, PLAIN_APP_ID)), proper=False)
        sent.method = self.chance.choice(("GET", "GET", "HEAD"))
        return sent

    def genuine(self) -> Sent:
        return Sent(*self.written(self.event()), APP_ID, proper=True)

    def letters(self) -> str:
        text = changed_bytes(self.chance, self.chance.choice((b"1764561600", b"a" * 40, b"x")))
        return text.decode(errors="replace")

    # One question

    def try_one(self, *, whole: bool) -> None:
        from .inside import counting_statements

        kind, make = self.chance.choice(self.kinds)
        sent = make()
        try:
            with counting_statements() as statements:
                answer = self.ask_whole(sent) if whole else self.ask(sent)
        except Exception as error:
            self.fail(kind, sent, f"{type(error).__name__}: {error}")
            return
        self.piece.counts[f"{kind}: {answer}"] += 1
        taken = answer == "200 success"
        if (taken or statements) and not sent.proper:
            self.fail(kind, sent, f"was answered {answer}, with {len(statements)} statements")
        if kind == "genuine" and not taken:
            self.fail(kind, sent, f"was answered {answer}")

    def ask(self, sent: Sent) -> str:
        from django.core.exceptions import RequestDataTooBig
        from django.http import Http404

        path = f"/wechat/push/{sent.app_id}?{urlencode(sent.query)}"
        kind = self.chance.choice(TYPES)
        request = self.requests.generic(sent.method, path, sent.body, content_type=kind)
        try:
            answer = self.view(request, sent.app_id)
        except Http404:
            return "404"
        except RequestDataTooBig:
            return "413"
        return self.judged(answer.status_code, answer.content, sent)

    def ask_whole(self, sent: Sent) -> str:
        path = f"/wechat/push/{sent.app_id}{self.chance.choice(('', '/'))}"
        query, kind = urlencode(sent.query), self.chance.choice(TYPES)
        status, _headers, content = self.site.ask(
            sent.method, path, sent.body, query=query, content_type=kind
        )
        return self.judged(status, content, sent) if status in {200, 403} else str(status)

    def judged(self, status: int, content: bytes, sent: Sent) -> str:
        """Return an answer in words. Raises AssertionError for one that is not documented."""
        if status == 200 and sent.method != "POST":
            echoed = sent.query.get("echostr", "").encode("utf-8", "surrogatepass")
            if content in {echoed, b""}:
                return "200 echo"
        elif (status, content) in {(200, b"success"), (403, b"refused")}:
            return f"{status} {content.decode()}"
        if (status, sent.method) == (403, "HEAD") or (status, content) == (403, b"refused"):
            return "403 refused"
        raise AssertionError(f"{status} {content!r}")

    def fail(self, kind: str, sent: Sent, what: str) -> None:
        self.piece.fail(f"{kind} {what}: {sent.query} {sent.body[:2000]!r} to {sent.app_id}")

    def check_victims(self) -> None:
        """Check that no push has changed what belongs to the victim."""
        from accounts.models import AvatarCheck, WeChatUser

        check = AvatarCheck.objects.get(trace_id=self.victims_trace)
        victim = WeChatUser.objects.filter(pk=self.victim.pk).first()
        if check.suggestion or victim is None or victim.nickname != "Vera":
            self.piece.fail("a push that WeChat did not seal changed the victim")


def read_again(body: bytes) -> Any:
    """Return the `Encrypt` of a push whose spelling was changed, as `\\/` for `/` in JSON."""
    with suppress(ValueError, TypeError, AttributeError, ParseError, RecursionError):
        if body.lstrip().startswith(b"<"):
            return fromstring(body.decode(), forbid_dtd=True).findtext("Encrypt")
        return json.loads(body).get("Encrypt")
    return None


def sealed_in(body: bytes) -> bytes:
    """Return the `Encrypt` of a push that was written properly."""
    text = body.decode()
    start = text.index("Encrypt")
    for opening, closing in (("<![CDATA[", "]]>"), ('": "', '"')):
        at = text.find(opening, start)
        if at >= 0:
            at += len(opening)
            return text[at : text.index(closing, at)].encode()
    raise ValueError("no Encrypt")
