"""Fuzz what phones send: envelopes that are random, altered, cut, spliced and oddly filled.

Most go to `groups/services.py`: `resolve`, which both calls use, of a member whose failures are not
counted; one in 400 goes to the call itself, through all of the site, and counts in the database.
Everything but a documented refusal is a failure, and so is a group that comes out although no
envelope names it.
"""

import json
import re
import time
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import cache
from random import Random
from typing import Any

import time_machine
from Crypto.Cipher import AES

from . import APP_ID
from .inputs import changed_bytes, changed_object, deep_text, json_text, odd_value
from .pieces import Piece, run_pieces
from .plan import Plan, TrialResult

LONG, SHORT = 4_000_000, 6_000
WHOLE = 400  # one in so many takes the whole way
MOMENT = datetime(2026, 12, 1, 4, 0, tzinfo=UTC)  # so that a piece is the same every time
KEYS = (
    *("openGId", "opengid", "OpenGId", "chat_type", "group_openid", "open_single_roomid"),
    *("watermark", "appid", "timestamp", "nickName", "phoneNumber", "stepInfoList", "openId", "a"),
)
OWN_ID, OPENID = re.compile(r"[A-Za-z0-9_-]{20,64}", re.ASCII), "group_openid"
OTHER_DATA = {"nickname", "phonenumber", "stepinfolist", "openid"}  # of KEYS

Allowed = Callable[[str | None, str, str], bool]  # of the group that came out of data and iv
Sent = tuple[str, str, Allowed]


def run(plan: Plan) -> TrialResult:
    """Try envelopes in pieces."""
    return run_pieces(plan, "envelopes", try_piece, LONG if plan.long else SHORT)


def try_piece(number: int, size: int) -> Piece:
    begun = time.monotonic()
    piece = Piece(number)
    with time_machine.travel(MOMENT, tick=False):
        fuzzer = EnvelopeFuzzer(piece)
        for count in range(size):
            fuzzer.try_one(whole=count % WHOLE == 0)
        fuzzer.check_database()
    piece.tried, piece.seconds = size, time.monotonic() - begun
    return piece


class EnvelopeFuzzer:
    """Alice, who sends; Bob, whose groups are not hers; and what WeChat sealed for them."""

    def __init__(self, piece: Piece) -> None:
        from wechat.crypto import seal

        from .inside import InnerSite, Sender

        self.piece, self.chance = piece, Random(f"envelopes {piece.number}")
        self.seal, self.site = seal, InnerSite()
        self.keys = [b64encode(self.chance.randbytes(16)).decode() for _ in range(3)]
        self.alice = Sender(f"alice-{piece.number}", self.keys[0])
        self.bob = Sender(f"bob-{piece.number}", self.keys[1])
        self.senders = list(self.make_senders())
        self.own = [f"tG{self.letters(n)}" for n in (26, 26, 27)]
        self.others = [f"tG{self.letters(26)}" for _ in range(3)]
        self.named_wholly: set[str] = set()
        self.genuine = [dict(payload) for payload in self.payloads(self.own)]
        self.texts = [json.dumps(each, separators=(",", ":")) for each in self.genuine]
        self.kinds: tuple[tuple[str, Callable[[], Sent]], ...] = (
            *(("random", self.noise), ("not base64", self.not_base64)),
            *(("altered", self.altered), ("altered", self.altered), ("spliced", self.spliced)),
            *(("iv rewritten", self.rewritten), ("odd payload", self.odd_payload)),
            *(("odd payload", self.odd_payload), ("odd text", self.odd_text)),
            *(("key of another", self.other_key), ("genuine", self.unaltered)),
        )

    def letters(self, count: int) -> str:
        alphabet = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_"
        return "".join(self.chance.choices(alphabet, k=count))

    def make_senders(self) -> Iterator[Any]:
        """Make Alice with her key alone, and with one before it: of now, and of an hour ago."""
        from django.utils import timezone

        from core.vault import encrypt

        sender, old = uncounted_member(), encrypt(self.keys[2])
        user = self.alice.user
        now = timezone.now()
        for previous, since in (("", now), (old, now), (old, now - timedelta(hours=1))):
            yield sender(
                pk=user.pk,
                app_id=APP_ID,
                openid=user.openid,
                session_key=user.session_key,
                previous_session_key=previous,
                session_key_at=since,
            )

    def mark(self) -> dict[str, Any]:
        return {"appid": APP_ID, "timestamp": int(time.time())}

    def payloads(self, ids: list[str]) -> Iterator[dict[str, Any]]:
        for name in ids:
            yield {"openGId": name, "watermark": self.mark()}
            person = f"oG{self.letters(26)}"
            enter = {"opengid": name, "chat_type": 3, OPENID: person}
            yield enter | {"watermark": self.mark()}
            yield enter

    # Kinds of envelopes: data, iv, and what may come out beside a refusal

    def noise(self) -> Sent:
        data = self.chance.randbytes(16 * self.chance.choice((1, 1, 2, 2, 3, 5, 12)))
        return b64(data), b64(self.chance.randbytes(16)), nothing

    def not_base64(self) -> Sent:
        """Break the spelling of an envelope of hers; it may be another good one by chance."""
        data, iv = self.sealed(self.chance.choice(self.genuine))
        if self.chance.random() < 0.5:
            data = changed_bytes(self.chance, data.encode()).decode(errors="replace")
        else:
            iv = changed_bytes(self.chance, iv.encode()).decode(errors="replace")
        return data, iv, self.remains

    def altered(self) -> Sent:
        data, iv = (b64decode(text) for text in self.sealed(self.chance.choice(self.genuine)))
        if self.chance.random() < 0.3:
            iv = (changed_bytes(self.chance, iv) + bytes(16))[:16]
        else:
            data = changed_bytes(self.chance, data)
            if self.chance.random() < 0.9:
                data = data[: len(data) // 16 * 16] or bytes(16)
        return b64(data), b64(iv), self.remains

    def spliced(self) -> Sent:
        """Shuffle, drop, repeat and mix the blocks of several envelopes of hers."""
        blocks = []
        for _ in range(self.chance.choice((1, 1, 2, 3))):
            data, iv = (b64decode(text) for text in self.sealed(self.chance.choice(self.genuine)))
            blocks += [iv, *(data[at : at + 16] for at in range(0, len(data), 16))]
        start = self.chance.randrange(len(blocks) - 1)
        chosen = blocks[start : start + self.chance.randint(2, 12)]
        if self.chance.random() < 0.5:
            self.chance.shuffle(chosen)
        return b64(b"".join(chosen[1:])), b64(chosen[0]), self.remains

    def rewritten(self) -> Sent:
        """Cut off the beginning, and write 16 bytes of one's own over the block that is first."""
        payload = self.chance.choice(self.genuine)
        text = padded(json.dumps(payload, separators=(",", ":")).encode())
        data, iv = (b64decode(part) for part in self.sealed(payload))
        at = 16 * self.chance.randrange(len(data) // 16)
        before = data[at - 16 : at] if at else iv
        spelling = self.chance.choice(("openGId", "opengid"))
        letters = self.letters(self.chance.randint(0, 4))
        start = f'{{"{spelling}":"{letters}'.encode().rjust(16)
        if self.chance.random() < 0.3:
            start = changed_bytes(self.chance, start).ljust(16)[:16]
        pairs = zip(before, text[at : at + 16], start, strict=True)
        return b64(data[at:]), b64(bytes(a ^ b ^ c for a, b, c in pairs)), self.remains

    def odd_payload(self) -> Sent:
        """Seal what WeChat would not: keys and values changed."""
        payload = changed_object(self.chance, self.chance.choice(self.genuine), KEYS)
        return *self.encrypted(padded(json_text(self.chance, payload))), self.is_proper

    def odd_text(self) -> Sent:
        """Encrypt a text that was changed, or whose padding was; or any JSON value."""
        if self.chance.random() < 0.2:
            text = padded(json_text(self.chance, odd_value(self.chance)))
        elif self.chance.random() < 0.05:
            key = self.chance.choice(KEYS).encode()
            start = self.chance.choice(self.texts).encode()[:-1]
            text = padded(b'%s,"%s":%s}' % (start, key, deep_text(self.chance)))
        else:
            text = padded(changed_bytes(self.chance, self.chance.choice(self.texts).encode()))
        if self.chance.random() < 0.3:
            text = changed_bytes(self.chance, text[-32:]).rjust(len(text), b" ")
            text = text[: len(text) // 16 * 16] or bytes(16)
        return *self.encrypted(text), self.is_proper

    def other_key(self) -> Sent:
        payload = self.chance.choice((*self.genuine, *self.payloads(self.others)))
        sealed = self.seal(self.bob.key, payload, self.chance.randbytes(16))
        return sealed["encryptedData"], sealed["iv"], nothing

    def unaltered(self) -> Sent:
        payload = self.chance.choice(self.genuine)
        name = payload.get("openGId") or payload["opengid"]

        def is_it(found: str | None, data: str, iv: str) -> bool:
            return bool(found == name)

        return *self.sealed(payload), is_it

    def sealed(self, payload: dict[str, Any]) -> tuple[str, str]:
        sealed = self.seal(self.alice.key, payload, self.chance.randbytes(16))
        return sealed["encryptedData"], sealed["iv"]

    def encrypted(self, text: bytes) -> tuple[str, str]:
        iv = self.chance.randbytes(16)
        cipher = AES.new(b64decode(self.alice.key), AES.MODE_CBC, iv)
        return b64(cipher.encrypt(text)), b64(iv)

    # What may come out

    def remains(self, found: str | None, data: str, iv: str) -> bool:
        """Allow a refusal, and what docs/design.md says remains: from its fifth character on an id
        is text that WeChat sealed for Alice, to the end of the value."""
        if found is None:
            return True
        return found not in self.others and any(f'{found[4:]}"' in each for each in self.texts)

    def is_proper(self, found: str | None, data: str, iv: str) -> bool:
        """Allow a refusal, and an id that a payload names as WeChat names one."""
        if found is None:
            return True
        payload = json.loads(self.opened(data, iv))
        mark = payload.get("watermark")
        enter = "opengid" in payload or "open_single_roomid" in payload
        fresh = isinstance(mark, dict) and (
            mark.get("appid") == APP_ID
            and type(mark.get("timestamp")) is int
            and -60 <= time.time() - mark["timestamp"] <= 300
        )
        return bool(
            (found == (payload.get("opengid") or payload.get("openGId")))
            and OWN_ID.fullmatch(found) is not None
            and str(payload.get("chat_type")) in {"None", "3", "4"}
            and not OTHER_DATA & {key.lower() for key in payload}
            and (fresh or ("watermark" not in payload and enter and "openGId" not in payload))
        )

    # One question

    def try_one(self, *, whole: bool) -> None:
        kind, make = self.chance.choice(self.kinds)
        data, iv, allowed = make()
        try:
            answer, found = self.ask_whole(data, iv) if whole else self.ask(data, iv)
            if not allowed(found, data, iv):
                self.fail(kind, data, iv, f"named {found!r}" if found else f"was {answer}")
        except Exception as error:
            self.fail(kind, data, iv, f"{type(error).__name__}: {error}")
            return
        self.piece.counts[f"{kind}: {answer}"] += 1
        if whole and found:
            self.named_wholly.add(found)

    def ask(self, data: str, iv: str) -> tuple[str, str | None]:
        """Return the answer's code, and the group that comes out; let other exceptions pass."""
        from accounts.errors import SessionStale
        from groups.errors import NotAGroup
        from groups.services import resolve
        from wechat.crypto import Envelope, MalformedEnvelopeError

        try:
            envelope = Envelope.parse(data, iv)
            entry = resolve(self.chance.choice(self.senders), envelope)
        except (MalformedEnvelopeError, SessionStale, NotAGroup) as error:
            return getattr(error, "default_code", "invalid"), None
        return "named", entry.open_gid

    def ask_whole(self, data: str, iv: str) -> tuple[str, str | None]:
        """Ask `groups/bind` or `groups/resolve` itself."""
        from accounts.models import WeChatUser

        path = self.chance.choice(("groups/bind", "groups/resolve"))
        WeChatUser.objects.filter(pk=self.alice.user.pk).update(stale_count=0, stale_since=None)
        status, _headers, body = self.site.post(
            path, {"encryptedData": data, "iv": iv}, self.alice.token
        )
        answer = json.loads(body)
        code = answer.get("code", "named")
        if (status, code) not in WHOLE_ANSWERS:
            raise AssertionError(f"{path} answered {status} {code}")
        if path.endswith("resolve") and code == "named":
            return "named", None if answer["openGId"] is None else str(answer["openGId"])
        return code, answer.get("openGId")

    def opened(self, data: str, iv: str) -> str:
        """Read an envelope, apart from the code that is tried."""
        cipher = AES.new(b64decode(self.alice.key), AES.MODE_CBC, b64decode(iv))
        text = cipher.decrypt(b64decode(data))
        return text[: -text[-1]].decode()

    def fail(self, kind: str, data: str, iv: str, what: str) -> None:
        sent = json.dumps({"encryptedData": data, "iv": iv})
        self.piece.fail(f"{kind} {what}: {sent[:2000]} under {self.alice.key}")

    def check_database(self) -> None:
        """Compare the groups that Alice is in with those that came out on the whole way."""
        from groups.models import Membership

        rows = Membership.objects.filter(user=self.alice.user)
        bound = set(rows.values_list("group__open_gid", flat=True))
        self.piece.counts["groups bound"] += len(bound)
        if not bound <= self.named_wholly:
            self.piece.fail(f"bound to {sorted(bound - self.named_wholly)}, which no answer named")
        if Membership.objects.filter(user=self.bob.user).exists():
            self.piece.fail("bound Bob, who sent nothing")


@cache
def uncounted_member() -> Any:
    """Return the class of members whose failures are not counted in the database."""
    from accounts.models import WeChatUser

    class UncountedMember(WeChatUser):
        class Meta:
            proxy = True
            app_label = "accounts"

        def count_stale(self, now: datetime) -> None:
            return

    return UncountedMember


WHOLE_ANSWERS = {
    *((200, "named"), (201, "named"), (400, "invalid"), (409, "session_stale")),
    *((409, "not_a_group"), (413, "too_large"), (429, "throttled")),
}


def nothing(found: str | None, data: str, iv: str) -> bool:
    return found is None


def b64(raw: bytes) -> str:
    return b64encode(raw).decode()


def padded(text: bytes) -> bytes:
    count = 16 - len(text) % 16
    return text + bytes([count]) * count
