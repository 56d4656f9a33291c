"""The forger: a member who knows what is in envelopes of their own, and wants into other groups.

Three ways: one block whose every byte the iv writes; a long payload with text of the forger's
choice, cut at the edges of blocks; and CBC-R, which needs one answer that differs from the others.
Each query is a call of `groups/bind` with its database, without the lock: one in 20 through all of
the site, the others to the view, for a member whose token was read already.
"""

import json
import time
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from random import Random
from typing import Any

import time_machine
from Crypto.Cipher import AES

from . import APP_ID
from .pieces import Piece, run_pieces
from .plan import Plan, TrialResult

QUERIES, KEYS = 20_000, 5  # of each way
QUARTER = QUERIES // 4  # as much as one piece asks under its key
SHORT_QUERIES = 400
WHOLE = 20
MOMENT = datetime(2026, 12, 1, 4, 0, tzinfo=UTC)
WAYS = ("one block", "cut payload", "CBC-R")
NO_LOCK = 30_000  # instead of ten an hour


def run(plan: Plan) -> TrialResult:
    """Try the three ways under as many keys."""
    if plan.long:
        return run_pieces(plan, "forgery", try_way, len(WAYS) * KEYS * QUERIES, QUARTER)
    return run_pieces(plan, "forgery", try_way, len(WAYS) * SHORT_QUERIES, SHORT_QUERIES)


def try_way(number: int, queries: int) -> Piece:
    """Try a way under one key, both by the number of the piece."""
    from accounts import models

    begun, lock = time.monotonic(), models.STALE_LIMIT
    piece = Piece(number)
    with time_machine.travel(MOMENT, tick=False):
        models.STALE_LIMIT = NO_LOCK
        try:
            forger = Forger(piece, WAYS[number % len(WAYS)])
            forger.attack(queries)
            forger.check_database()
        finally:
            models.STALE_LIMIT = lock
    piece.tried, piece.seconds = queries, time.monotonic() - begun
    return piece


class Forger:
    """Charlie, with a key of his own, and two groups of others that he would enter."""

    def __init__(self, piece: Piece, way: str) -> None:
        from rest_framework.test import APIRequestFactory, force_authenticate

        from groups.api import BindView
        from groups.models import Group
        from groups.services import GroupEntry, bind
        from wechat.crypto import seal

        from .inside import InnerSite, Sender

        self.requests, self.view = APIRequestFactory(), BindView.as_view()
        self.authenticate: Callable[..., None] = force_authenticate
        self.piece, self.way, self.seal, self.site = piece, way, seal, InnerSite()
        self.chance = Random(f"forgery {piece.number}")
        number = piece.number // len(WAYS) * QUARTER // QUERIES
        key = b64encode(Random(f"key {number}").randbytes(16)).decode()
        self.charlie = Sender(f"charlie-{piece.number}", key)
        alice = Sender(f"alice-{piece.number}", b64encode(self.chance.randbytes(16)).decode())
        self.targets = [f"tG{self.chance.randbytes(13).hex()}" for _ in range(2)]
        for target in self.targets:
            bind(alice.user, GroupEntry(target, True))
        self.groups = Group.objects.count()
        self.answers: dict[bool, tuple[Any, ...]] = {}  # the first one, of the site and of the view

    def attack(self, queries: int) -> None:
        ways: dict[str, Callable[[], Iterator[tuple[bytes, bytes]]]] = {
            "one block": self.single_blocks,
            "cut payload": self.cut_payloads,
            "CBC-R": self.chained,
        }
        forgeries = ways[self.way]()
        for number in range(queries):
            data, iv = next(forgeries)
            self.ask(data, iv, number)

    def ask(self, data: bytes, iv: bytes, number: int) -> None:
        """Send a forgery; fail unless it is refused, byte for byte as the first one was."""
        sent = {"encryptedData": b64encode(data).decode(), "iv": b64encode(iv).decode()}
        whole = number % WHOLE == 0
        try:
            status, headers, body = self.ask_site(sent) if whole else self.ask_view(sent)
        except Exception as error:
            self.piece.fail(f"query {number}: {type(error).__name__}: {error}: {sent}")
            return
        answer = json.loads(body)
        code = answer.get("code", "bound")
        shown = status, {**answer, "requestId": ""}, {**headers, "X-Request-ID": ""}
        self.piece.counts[f"{self.way}: {status} {code}"] += 1
        if code == "not_a_group" and self.way == "cut payload":
            return  # an empty id before the rest of a profile: it opens, and names no group
        if shown != self.answers.setdefault(whole, shown) or code != "session_stale":
            self.piece.fail(f"query {number}: {status} {code}: {sent} under {self.charlie.key}")

    def ask_site(self, sent: dict[str, str]) -> tuple[int, dict[str, str], bytes]:
        return self.site.post("groups/bind", sent, self.charlie.token)

    def ask_view(self, sent: dict[str, str]) -> tuple[int, dict[str, str], bytes]:
        request = self.requests.post("/api/v1/groups/bind", sent, format="json")
        self.authenticate(request, self.charlie.user)
        answer = self.view(request).render()
        return answer.status_code, dict(answer.headers), answer.content

    def envelope(
        self, payload: dict[str, Any], *, marked: bool = True
    ) -> tuple[bytes, bytes, bytes]:
        """Return an envelope that WeChat made for Charlie, and the text in it, which he knows."""
        mark = {"watermark": {"appid": APP_ID, "timestamp": int(time.time())}}
        sealed = self.seal(
            self.charlie.key, payload | (mark if marked else {}), self.chance.randbytes(16)
        )
        data, iv = b64decode(sealed["encryptedData"]), b64decode(sealed["iv"])
        return data, iv, AES.new(b64decode(self.charlie.key), AES.MODE_CBC, iv).decrypt(data)

    def own(self) -> tuple[bytes, bytes, bytes]:
        name = f"tG{self.chance.randbytes(13).hex()}"
        kinds = ({"openGId": name}, {"opengid": name, "chat_type": 3})
        return self.envelope(self.chance.choice(kinds), marked=self.chance.random() < 0.8)

    def single_blocks(self) -> Iterator[tuple[bytes, bytes]]:
        """Open one block of his own to 16 bytes of his choice, which name a group."""
        while True:
            data, iv, text = self.own()
            blocks = len(data) // 16
            for at in self.chance.sample(range(blocks), min(4, blocks)):
                spelling = self.chance.choice(("opengid", "openGId"))
                name = self.chance.choice((*self.targets, "A", "AB", "5", "tG"))
                wanted = f'{{"{spelling}":"{name}'.encode()[:14]
                wanted = padded(wanted[: self.chance.randint(12, 13)] + b'"}')[:16]
                before = data[16 * at - 16 : 16 * at] if at else iv
                one = data[16 * at : 16 * at + 16]
                forged = xor(xor(before, text[16 * at : 16 * at + 16]), wanted)
                # As it is; and twice, of which the second comes out as noise.
                yield (one if self.chance.random() < 0.8 else one + one), forged

    def cut_payloads(self) -> Iterator[tuple[bytes, bytes]]:
        """Begin a payload with a long text of his choice in the middle of that text."""
        for target in self.forever():
            kept = self.chance.randint(0, 4)
            rest = target[kept:]
            chosen = "x" * self.chance.randint(0, 31) + rest + self.ending()
            data, iv, text = self.envelope(self.carrier(chosen), marked=self.chance.random() < 0.9)
            edges = [
                at for at in range(16, len(text), 16) if rest[:8].encode() in text[at : at + 8]
            ]
            at = self.chance.choice(edges or list(range(16, len(text), 16)))
            spelling = self.chance.choice(("opengid", "openGId"))
            start = f'{{"{spelling}":"{target[:kept]}'.encode().rjust(16)[-16:]
            before = data[at - 32 : at - 16] if at >= 32 else iv
            forged = xor(xor(before, text[at - 16 : at]), start)
            end = len(data) - 16 * self.chance.choice((0, 0, 0, 1, 2, 3))
            if end - (at - 16) >= 16:
                yield data[at - 16 : end], forged

    def forever(self) -> Iterator[str]:
        while True:
            yield self.chance.choice(self.targets)

    def ending(self) -> str:
        return self.chance.choice(("", "", '"}', '","watermark":{}}', "\x01", "\x0e" * 14, "\\"))

    def carrier(self, chosen: str) -> dict[str, Any]:
        """Return a payload of WeChat's with text that a person chooses: of those it documents, the
        profile alone has any."""
        profile: dict[str, Any] = {
            "openId": self.charlie.user.openid,
            "nickName": chosen,
            "gender": 1,
            "language": "zh_CN",
            "city": "",
            "province": "",
            "country": "",
            "avatarUrl": "https://thirdwx.qlogo.cn/mmopen/x",
            "unionId": "ocM",
        }
        if self.chance.random() < 0.3:  # the city was a text of one's own once
            return profile | {"nickName": "Charlie", "city": chosen}
        return profile

    def chained(self) -> Iterator[tuple[bytes, bytes]]:
        """Look for an answer that tells padding from the rest, and forge as CBC-R would with it:
        with none, blocks are guessed, altered and shuffled."""
        mark = {"appid": APP_ID, "timestamp": int(time.time())}
        while True:
            wanted = {"openGId": self.chance.choice(self.targets), "watermark": mark}
            text = padded(json.dumps(wanted, separators=(",", ":")).encode())
            data, iv, _text = self.own()
            own = [data[at : at + 16] for at in range(0, len(data), 16)]
            target, place = self.chance.choice(own), self.chance.choice((15, 14))
            for guess in range(256):
                before = bytearray(self.chance.randbytes(16))
                before[place] = guess
                yield target, bytes(before)
                guessed = [self.chance.randbytes(16) for _ in range(len(text) // 16 + 1)]
                yield b"".join(guessed[1:]), guessed[0]
                at = 16 * self.chance.randrange(len(own))
                altered = bytearray(data)
                piece = 16 * self.chance.randrange(len(text) // 16)
                altered[at : at + 16] = xor(data[at : at + 16], text[piece : piece + 16])
                yield bytes(altered), iv
                mixed = self.chance.choices(own, k=len(text) // 16)
                yield b"".join(mixed), self.chance.randbytes(16)

    def check_database(self) -> None:
        from groups.models import Group, Membership

        entered = Membership.objects.filter(user=self.charlie.user).count()
        founded = Group.objects.count() - self.groups
        self.piece.counts["groups entered"] += entered
        self.piece.counts["groups founded"] += founded
        if entered or founded:
            self.piece.fail(f"{entered} groups entered, {founded} founded")


def xor(one: bytes, other: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(one, other, strict=True))


def padded(text: bytes) -> bytes:
    count = 16 - len(text) % 16
    return text + bytes([count]) * count
