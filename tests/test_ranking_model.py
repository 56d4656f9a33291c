"""Rankings against a second one (tests/ranking_oracle.py), seen through the calls themselves.

People, a team's server, operators and the clock do anything in any order; what each call answers
is compared with what the contract says. Each world has nine of the 36 kinds of boards and begins
with empty tables; four worlds have all of them.

`MODEL_STEPS` is how many steps are taken, `MODEL_SEED` which ones. A disagreement prints the seed,
and the fewest steps of its world that were found to lead to it.
"""

import logging
import os
import re
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import time_machine
from django.test import Client as Browser

from accounts import moderation as accounts_moderation
from accounts.models import AvatarCheck, WeChatUser
from audit.actors import Actor
from core.vault import decrypt
from groups import moderation, ranking
from groups.models import Board, Group, Membership, Score, ServerKey
from tests.cast import (
    CHINESE,
    DOUBTFUL,
    RISKY,
    Person,
    check_of,
    picture,
    push_verdict,
    refused,
)
from tests.ranking_oracle import (
    NOT_FOUND,
    SETTLED_AFTER,
    SHANGHAI,
    STATUS,
    WINDOWS,
    BoardRules,
    Oracle,
    RefusedError,
    Soul,
    Span,
    day_in_shanghai,
)
from tests.ranking_steps import (
    BOARDS,
    DAY,
    GROUPS,
    KINDS,
    PEOPLE,
    STEPS_A_WORLD,
    Dice,
    Plan,
    Step,
    draw_plan,
    draw_steps,
)
from tests.settings import APP_ID, OTHER_APP_ID
from wechat.client import Suggestion
from wechat.crypto import seal
from wechat.sandbox import Phone, Sandbox, open_gid_of

STEPS = int(os.environ.get("MODEL_STEPS", "3000"))
SEED = int(os.environ.get("MODEL_SEED", "0")) or time.time_ns() % 1_000_000
SHRINKING = float(os.environ.get("MODEL_SHRINKING", "60"))  # seconds, 0 for not at all
LANGUAGES = ("zh-CN", "en")
ACTOR = Actor(None, "because")
TOKEN_AGE, VISIT_AGE = timedelta(days=25), timedelta(hours=1)


# How it is compared


class Disagreement(AssertionError):  # it is found, not made
    """The product and the oracle say different things."""


def agree(found: Any, expected: Any, where: str = "") -> None:
    """Check that all that is expected is found; objects may have further keys."""
    if isinstance(expected, dict) and isinstance(found, dict):
        for key in expected:
            if key not in found:
                raise Disagreement(f"{where}.{key} is missing")
            agree(found[key], expected[key], f"{where}.{key}")
    elif isinstance(expected, list) and isinstance(found, list) and len(found) == len(expected):
        for number, each in enumerate(expected):
            agree(found[number], each, f"{where}[{number}]")
    elif found != expected or type(found) is not type(expected):
        raise Disagreement(f"{where.lstrip('.')} is {brief(found)}, not {brief(expected)}")


def brief(value: Any) -> str:
    if isinstance(value, list) and value and isinstance(value[0], dict):
        people = [each.get("member", {}).get("id") for each in value]
        return f"a list of {people}"
    return repr(value)


def claim(holds: bool, sentence: str) -> None:
    if not holds:
        raise Disagreement(sentence)


@dataclass
class Stroll:
    """A walk through a ranking during which other things happen."""

    viewer: int
    group: str
    board: BoardRules
    span: Span
    limit: int
    cursor: str | None = None
    seen: Counter[int] = field(default_factory=Counter)
    # From whom to their places: who stood still so far, and who never fell, disappeared or came.
    still: dict[int, Any] = field(default_factory=dict)
    steady: dict[int, Any] = field(default_factory=dict)

    def watch(self, oracle: Oracle) -> None:
        """Note who has moved since the last time."""
        rows = oracle.listed(self.group, self.board, self.span)
        now = {row[-1]: row for row in rows}
        if not self.seen:
            self.still, self.steady = dict(now), dict(now)
        self.still = {who: row for who, row in self.still.items() if now.get(who) == row}
        self.steady = {
            who: now[who] for who, row in self.steady.items() if who in now and now[who] <= row
        }

    def check(self) -> None:
        for who in self.steady:
            claim(self.seen[who] <= 1, f"a walk showed {who} {self.seen[who]} times")
        for who in self.still:
            claim(self.seen[who] == 1, f"a walk did not show {who}, who stood still")


@dataclass
class Player:
    """Someone of a world; `since` is their last log-in, `check` WeChat's review of a face."""

    phone: Person
    since: datetime
    who: int = 0
    session_key: str = ""
    check: AvatarCheck | None = None


LATE = timedelta(seconds=2)  # by which scores of others may show
LOOKS = {"look", "watch", "walk", "look_around", "stray", "odd_sizes", "stroll", "stroll_on"}


class World:
    """The product and the oracle, to which the same things happen."""

    def __init__(self, plan: Plan, clock: Any, sandbox: Sandbox, settings: Any) -> None:
        self.plan, self.clock, self.sandbox = plan, clock, sandbox
        self.now = plan.start
        ranking.recent.clear()
        settings.MEMBERSHIP_PROOF_DAYS = plan.proof_days
        for model in (Score, Membership, Group, WeChatUser, ServerKey):
            model.objects.all().delete()
        Board.objects.exclude(pk=Board.objects.active_days().pk).delete()
        self.rules = [self.make_board(number, how) for number, how in enumerate(plan.boards)]
        boards = {rules.key: rules for rules in [BoardRules("active-days"), *self.rules]}
        self.oracle = Oracle(self.now, boards, proof=timedelta(days=plan.proof_days))
        if plan.default is not None:
            self.oracle.default = self.rules[plan.default].key
        self.groups = [open_gid_of(APP_ID, f"{plan.serial}-{n}") for n in range(GROUPS)]
        self.browser = Browser()  # one for all: each loads the middleware
        self.server = self.make_server(APP_ID)
        self.foreign_server = self.make_server(OTHER_APP_ID)
        self.phones = count()
        self.players = [self.make_player() for _ in range(PEOPLE)]
        for person in range(PEOPLE):
            self.log_in(person)
        self.winner_ids: dict[tuple[Any, ...], str] = {}
        self.strolls: list[Stroll] = []
        self.moved: dict[int | None, datetime] = {}  # when whose score moved; None: the clock

    def make_board(self, number: int, how: dict[str, Any]) -> BoardRules:
        begins, ends = (
            None if hours is None else self.now + timedelta(hours=hours) for hours in how["active"]
        )
        facts = {
            "order": how["order"],
            "policy": how["policy"],
            "scope": how["scope"],
            "rank_style": how["style"],
            "windows": ",".join(how["windows"]),
            "default_window": how["default_window"],
            "min_value": how["low"],
            "max_value": how["high"],
            "writer": how["writer"],
            "active_from": begins,
            "active_to": ends,
            "decimals": how["decimals"],
            "title_zh": how["title"][0],
            "title_en": how["title"][1],
            "unit_zh": how["unit"][0],
            "unit_en": how["unit"][1],
        }
        where = "" if how["of_every_app"] else APP_ID
        board = Board(app_id=where, key=how["key"], **facts)
        board.default_for = APP_ID if number == self.plan.default else None
        board.full_clean()
        board.save()
        other = {"title_zh": "别处", "title_en": "Elsewhere", "writer": "client", "scope": "app"}
        Board.objects.create(app_id=OTHER_APP_ID, key=f"elsewhere-{number}", **other)
        if how["is_shadowing"] and where:
            Board.objects.create(app_id="", key=how["key"], **other)
        plain = ("key", "order", "policy", "scope", "style", "windows", "default_window")
        more = ("low", "high", "writer", "decimals", "title", "unit")
        given = {name: how[name] for name in (*plain, *more)}
        return BoardRules(**given, active_from=begins, active_to=ends)

    # The clock

    def let_scores_show(self, viewers: set[int]) -> None:
        """Wait for the scores of others and for those who lapse, which may show two seconds late.

        My own score may not, nor what people and operators do.
        """
        late = [at for person, at in self.moved.items() if {person} != viewers]
        # Any of them: after the clock went back, the latest may be still to come.
        if any(timedelta() <= self.now - at < LATE for at in late):
            self.set_clock(self.now + LATE)

    def set_clock(self, moment: datetime) -> None:
        if abs(moment - self.now) < LATE:  # someone may lapse
            self.moved[None] = moment
        self.now = self.oracle.now = moment
        self.clock.move_to(moment.timestamp())

    def wait(self, seconds: float) -> None:
        self.set_clock(self.now + timedelta(seconds=seconds))

    def wait_long(self, days: int) -> None:
        self.wait(days * DAY)

    def wait_for_end(self, window: str, seconds: float) -> None:
        """Wait until shortly before or after the end of the present period."""
        end = Span.around(window, day_in_shanghai(self.now)).end
        if end + timedelta(seconds=seconds) > self.now:
            self.set_clock(end + timedelta(seconds=seconds))

    def wait_for_lapse(self, person: int, group: int, seconds: float) -> None:
        """Wait until the last moment of someone's membership, or the one after it."""
        place = self.oracle.places.get((self.groups[group], self.players[person].who))
        if place and place.verified + self.oracle.proof > self.now:
            self.set_clock(place.verified + self.oracle.proof + timedelta(seconds=seconds))

    def clock_goes_back(self, seconds: int) -> None:
        self.set_clock(self.now - timedelta(seconds=seconds))

    # People and their calls

    def make_player(self) -> Player:
        name = f"w{self.plan.serial}-{next(self.phones)}"
        phone = Phone(self.sandbox.url, name, APP_ID)
        return Player(Person(name, phone, self.browser), self.now)

    def make_server(self, app_id: str) -> Callable[..., Any]:
        """Return how a team's own server calls, with the key of its mini-program."""
        key, _row = ServerKey.objects.issue(app_id, "server", self.now)
        server = Person("server", Phone("", ""), self.browser)  # it uses no phone
        return partial(server.call, Authorization=f"Key {key}")

    def log_in(self, person: int) -> None:
        """Log in, as someone does who is new or has been away for long."""
        player = self.players[person]
        player.phone.token = ""
        user = player.phone.log_in().body["user"]
        row = player.phone.user
        player.since, player.session_key = self.now, decrypt(row.session_key) or ""
        if player.who != row.pk:
            agree(user, {"id": str(row.pk), "nickname": ""}, "user")
            player.who = row.pk
            self.oracle.souls[row.pk] = Soul(row.openid, user["avatar"])

    def is_ready(self, person: int, age: timedelta = TOKEN_AGE) -> bool:
        """Tell whether someone's token is valid; log in where it is too old, if they may."""
        away = self.now - self.players[person].since
        if away > age and not self.soul(person).blocked:
            self.log_in(person)
            return True
        return away <= TOKEN_AGE

    def soul(self, person: int) -> Soul:
        return self.oracle.souls[self.players[person].who]

    def user(self, person: int) -> WeChatUser:
        return WeChatUser.objects.get(pk=self.players[person].who)

    def ask(self, person: int | None, path: str, language: int = 0, **query: Any) -> Any:
        """GET as a member, or with the server key."""
        call = self.server if person is None else self.players[person].phone.call
        asked = {name: value for name, value in query.items() if value is not None}
        return call("GET", path, asked or None, **{"Accept-Language": LANGUAGES[language]})

    def compare(
        self,
        answer: Any,
        say: Callable[[], Any],
        language: int = 0,
        code: int = 200,
    ) -> bool:
        """Compare an answer with what the oracle says; return whether it was no refusal."""
        try:
            expected = say()
        except RefusedError as refusal:
            self.compare_refusal(answer, refusal, language)
            return False
        said = answer.content.decode()[:300]
        claim(answer.status_code == code, f"{answer.status_code} {said}, not {code}")
        if expected is not None:
            agree(answer.json(), expected)
        return True

    def compare_refusal(self, answer: Any, refusal: RefusedError, language: int = 0) -> Any:
        """Check that a call was refused for one of these reasons, in this language."""
        said, fields = answer.content.decode()[:300], {}
        claim(answer.status_code >= 400, f"{said[:80]}… where {refusal} was due")
        code = answer.json()["code"]
        if code == "invalid":
            fields = answer.json()["fields"]
        fits = [name for each, name in refusal.reasons if each == code]
        claim(bool(fits) and answer.status_code == STATUS[code], f"{said}, not {refusal}")
        claim(not fields or set(fields) <= set(fits), f"{said}, not {refusal}")
        body = refused(answer, STATUS[code], code)
        chinese = bool(CHINESE.search(body["detail"]))
        claim(chinese == (language == 0), f"{body['detail']} in language {language}")
        return fields

    # Groups

    def enter(self, people: list[int], group: int, how: str) -> None:
        for person in people:
            self.enter_one(person, self.groups[group], how)

    def enter_one(self, person: int, group: str, how: str) -> None:
        if not self.is_ready(person):
            return
        mark = {"watermark": {"appid": APP_ID, "timestamp": int(self.now.timestamp())}}
        payload = {"opengid": group} if how == "launch" else {"openGId": group, **mark}
        envelope = seal(self.players[person].session_key, payload)
        them, who = self.players[person].phone, self.players[person].who
        self.moved[person] = self.now
        if how == "ticket" and not self.soul(person).blocked:
            resolved = them.post("groups/resolve", envelope)
            claim(resolved.status_code == 200, f"groups/resolve: {resolved.content!r}")
            envelope = {key: resolved.json()[key] for key in ("openGId", "openid", "ticket")}
        answer = them.post("groups/bind", envelope)
        try:
            created = self.oracle.enter(who, group)
        except RefusedError as refusal:
            self.compare_refusal(answer, refusal)
            return
        membership = self.oracle.membership(group, who)
        expected = {
            "created": created,
            "openGId": group,
            "group": self.oracle.head(group, 0) | {"membership": membership},
            "membership": membership,
            "user": self.me(person),
        }
        self.compare(answer, lambda: expected, code=201 if created else 200)

    def me(self, person: int) -> dict[str, Any]:
        soul = self.soul(person)
        face = soul.face.own or soul.drawn
        return {"id": str(self.players[person].who), "nickname": soul.name.own, "avatar": face}

    def leave(self, person: int, group: int) -> None:
        if self.is_ready(person):
            answer = self.players[person].phone.delete(f"groups/{self.groups[group]}/membership")
            who, where = self.players[person].who, self.groups[group]
            self.compare(answer, lambda: self.oracle.leave(who, where), code=204)

    def come_back(self, person: int, group: int, hidden: bool) -> None:
        """Leave a group and come back at once, hidden or not, and look whether the day counts."""
        self.hide(person, group, hidden)
        self.leave(person, group)
        self.enter_one(person, self.groups[group], "card")
        if self.is_ready(person):
            self.look_as(person, group, None, "day", 0)

    def change(self, person: int, group: int, body: dict[str, Any], apply: Any) -> None:
        answer = self.players[person].phone.put(f"groups/{self.groups[group]}/membership", body)

        def say() -> Any:
            apply(self.oracle.place(self.players[person].who, self.groups[group]))
            return self.oracle.membership(self.groups[group], self.players[person].who)

        self.compare(answer, say)

    def hide(self, person: int, group: int, hidden: bool) -> None:
        if self.is_ready(person):
            body = {"hidden": hidden}
            self.change(person, group, body, lambda place: setattr(place, "hidden", hidden))

    def call_oneself(self, person: int, group: int, alias: str) -> None:
        if self.is_ready(person, VISIT_AGE):
            self.change(
                person,
                group,
                {"alias": alias},
                lambda place: self.write(place.alias, alias, "alias"),
            )

    @staticmethod
    def write(known: Any, name: str, what: str) -> None:
        """Do as WeChat judges a name; what others see already is not judged again."""
        if name == RISKY:
            raise RefusedError({("invalid", what)})
        known.write(name, doubted=name.startswith(DOUBTFUL) and name != known.shown)

    # Names and faces

    def rename(self, person: int, name: str) -> None:
        if not self.is_ready(person, VISIT_AGE):
            return
        answer = self.players[person].phone.put("me", {"nickname": name})

        def say() -> Any:
            self.oracle.refuse_blocked(self.players[person].who)
            self.write(self.soul(person).name, name, "nickname")
            return self.me(person)

        self.compare(answer, say)

    def server_renames(self, person: int, name: str) -> None:
        row = {"openid": self.soul(person).openid, "nickname": name}
        answer = self.server("POST", "server/users", {"users": [row]})
        [found] = answer.json()["results"]
        if self.soul(person).blocked:
            agree(found, {"code": "user_blocked"})
        else:
            self.oracle.server_names(self.players[person].who, name)
            agree(found["user"], self.me(person))

    def upload(self, person: int) -> None:
        if self.soul(person).blocked or not self.is_ready(person, VISIT_AGE):
            return
        answer = self.players[person].phone.upload(picture(size=40))
        claim(answer.status_code == 200, f"me/avatar: {answer.content!r}")
        face = self.soul(person).face
        face.write(answer.json()["avatar"], doubted=True)
        self.players[person].check = check_of(answer)

    def settle(self, person: int, group: int, what: str, approved: bool, by_wechat: bool) -> None:
        """Decide what waits for review: an operator, or WeChat about a face."""
        person = self.one_who_waits(person, group, what)
        user = self.user(person)
        if what == "alias":
            where = Membership.objects.filter(user=user, group__open_gid=self.groups[group]).first()
            if where:
                act = moderation.approve_alias if approved else moderation.refuse_alias
                waits = self.place(person, group).alias
                claim(act(where, ACTOR) == bool(waits.draft), "the review of an alias")
                waits.settle(approved=approved)
            return
        soul = self.soul(person)
        waits = soul.name if what == "name" else soul.face
        if what == "face" and by_wechat:
            if (check := self.players[person].check) is not None:
                push_verdict(check, Suggestion.PASS if approved else Suggestion.RISKY)
                self.players[person].check = None
                waits.settle(approved=approved)
            return
        verb = f"{'approve' if approved else 'refuse'}_{'nickname' if what == 'name' else 'avatar'}"
        done = getattr(accounts_moderation, verb)(user, ACTOR)
        claim(done == bool(waits.draft), f"the review of a {what}")
        waits.settle(approved=approved)

    def one_who_waits(self, person: int, group: int, what: str) -> int:
        """Return the first from `person` on with something to review, or else `person`."""

        def waits(each: int) -> bool:
            if what == "alias":
                place = self.oracle.places.get((self.groups[group], self.players[each].who))
                return place is not None and bool(place.alias.draft)
            soul = self.soul(each)
            return bool((soul.name if what == "name" else soul.face).draft)

        circle = [(person + number) % PEOPLE for number in range(PEOPLE)]
        return next(filter(waits, circle), person)

    def place(self, person: int, group: int) -> Any:
        return self.oracle.places[self.groups[group], self.players[person].who]

    def reset(self, person: int, group: int, what: str) -> None:
        """Delete a name or face, as an operator does."""
        user = self.user(person)
        if what == "alias":
            where = Membership.objects.filter(user=user, group__open_gid=self.groups[group]).first()
            if where:
                moderation.reset_alias(where, ACTOR)
                self.place(person, group).alias.reset()
        elif what == "name":
            accounts_moderation.reset_nickname(user, ACTOR)
            self.soul(person).name.reset()
        else:
            accounts_moderation.reset_avatar(user, ACTOR)
            self.soul(person).face.reset()

    # Operators, and what takes people away

    def withhold(self, person: int, group: int, withheld: bool) -> None:
        where = Membership.objects.filter(
            user=self.players[person].who, group__open_gid=self.groups[group]
        ).first()
        if where:
            (moderation.hide if withheld else moderation.show)(where, ACTOR)
            self.place(person, group).withheld = withheld

    def block(self, person: int, blocked: bool) -> None:
        act = accounts_moderation.block if blocked else accounts_moderation.unblock
        act(self.user(person), ACTOR)
        self.soul(person).blocked = blocked

    def erase(self, person: int) -> None:
        """Erase someone; they come back as someone new, or someone else does if they may not."""
        if not self.is_ready(person):
            return
        blocked = self.soul(person).blocked
        answer = self.players[person].phone.delete("me")
        self.compare(answer, lambda: self.oracle.erase(self.players[person].who), code=204)
        if blocked:
            self.players[person] = self.make_player()
        self.log_in(person)

    def withdraw(self, person: int, purpose: str) -> None:
        if not self.is_ready(person):
            return
        answer = self.players[person].phone.delete(f"me/consent/{purpose}")
        claim(answer.status_code == 200, f"me/consent: {answer.content!r}")
        who, soul = self.players[person].who, self.soul(person)
        places = [place for (_group, whose), place in self.oracle.places.items() if whose == who]
        if purpose == "nickname":
            soul.name.reset()
        elif purpose == "avatar":
            soul.face.reset()
        for place in places:
            if purpose == "nickname":
                place.alias.reset()
            elif purpose == "groups" and place.joined <= self.now:
                place.left = True

    def label(self, group: int, label: str) -> None:
        if (found := self.row_of(group)) is not None:
            moderation.label([found], label, ACTOR)
            self.oracle.chats[self.groups[group]].label = label

    def hide_group(self, group: int, hidden: bool) -> None:
        if (found := self.row_of(group)) is not None:
            (moderation.hide_group if hidden else moderation.show_group)(found, ACTOR)
            self.oracle.chats[self.groups[group]].hidden = hidden

    def row_of(self, group: int) -> Group | None:
        return Group.objects.filter(open_gid=self.groups[group]).first()

    # Scores

    def key_of(self, board: int | None) -> str:
        if board is None:
            return "active-days"
        return self.rules[board].key if board >= 0 else "elsewhere-0"

    def group_for(self, row: dict[str, Any]) -> str | None:
        """Return the group that a submission names."""
        rules = self.oracle.boards.get(self.key_of(row["board"]))
        grouped = rules is None or rules.scope == "group"
        return self.groups[row["group"]] if grouped == row["fits"] else None

    def submit(self, **row: Any) -> None:
        person, value, group = row["person"], row["value"], self.group_for(row)
        if not self.is_ready(person):
            return
        key, who = self.key_of(row["board"]), self.players[person].who
        self.moved[person] = self.now
        # Often without a key: the server needs one, a phone does not.
        name = None if row["key"].endswith(("1", "3", "5")) else row["key"]
        body = {"board": key, "value": value, "openGId": group, "idempotencyKey": name}
        sent = {name: each for name, each in body.items() if each is not None}
        answer = self.players[person].phone.post("scores", sent)

        def say() -> Any:
            periods = self.oracle.submit("client", who, key, value, group, name)
            return {"board": key, "periods": periods}

        self.compare(answer, say)

    def batch(self, rows: list[dict[str, Any]]) -> None:
        """Send scores with the server key, some for people who are not there."""
        sent, due = [], []
        for row in rows:
            key, group = self.key_of(row["board"]), self.group_for(row)
            self.moved[row["person"]] = self.now
            body = {"openid": self.soul(row["person"]).openid, "board": key, "value": row["value"]}
            body |= {"idempotencyKey": row["key"]} | ({"openGId": group} if group else {})
            if row["key"].endswith("99"):
                body["openid"] = "a-stranger"
            sent.append(body)
        answer = self.server("POST", "server/scores", {"scores": sent})
        claim(answer.status_code == 200, f"server/scores: {answer.content.decode()[:300]}")
        for row, body in zip(rows, sent, strict=True):
            due.append(self.say_row(row, body))
        results = answer.json()["results"]
        claim(len(results) == len(rows), f"{len(results)} results of {len(rows)}")
        for number, (found, expected) in enumerate(zip(results, due, strict=True)):
            self.compare_row(found, expected, f"results[{number}]")

    def stumble(self, row: dict[str, Any], again: dict[str, Any]) -> None:
        """Let the clock go back to the day before, between two scores of someone on a board."""
        self.wait_for_end("day", 1)
        self.batch([row])
        self.clock_goes_back(2)
        self.batch([row | {"value": again["value"], "key": again["key"]}])

    def say_row(self, row: dict[str, Any], body: dict[str, Any]) -> Any:
        try:
            if body["openid"] == "a-stranger":
                raise RefusedError({("not_found", "openid"), ("not_found", "board")})
            who = self.players[row["person"]].who
            sent = (body["board"], body["value"], body.get("openGId"), body["idempotencyKey"])
            return {"board": body["board"], "periods": self.oracle.submit("server", who, *sent)}
        except RefusedError as refusal:
            return refusal

    @staticmethod
    def compare_row(found: dict[str, Any], expected: Any, where: str) -> None:
        if not isinstance(expected, RefusedError):
            claim("code" not in found, f"{where} is {found}, not {expected}")
            agree(found, expected, where)
            return
        fields = found.get("fields", {"": []})
        named = {(found.get("code"), name) for name in fields}
        claim(bool(named & expected.reasons), f"{where} is {found}, not {expected}")

    def correct(
        self, person: int, group: int, board: int | None, nth: int, value: int | None
    ) -> None:
        """Change or delete a score of any period, as an operator does."""
        rules = self.oracle.boards.get(self.key_of(board))
        if rules is None:
            return
        marks = self.oracle.marks_of(self.players[person].who, rules, self.groups[group])
        if not marks:
            return
        period = sorted(marks)[nth % len(marks)]
        scores = Score.objects.filter(
            user=self.players[person].who, board__key=rules.key, period=period
        )
        if rules.scope == "group":
            scores = scores.filter(scope=Group.objects.get(open_gid=self.groups[group]).pk)
        score = scores.get()
        if value is None:
            moderation.remove_score(score, ACTOR)
            del marks[period]
        else:
            moderation.change_score(score, value, ACTOR)
            marks[period].value = value

    # What people see

    def text_of(self, board: int | None, period: Any) -> str | None:
        """Return the period that a call about a board asks for."""
        if period is None or isinstance(period, str):
            return period
        window, number = period
        if isinstance(window, int):
            rules = self.oracle.boards.get(self.key_of(board))
            counted = rules.windows if rules else WINDOWS
            window = counted[window % len(counted)]
        if number is None or window == "all":
            return str(window)
        span = Span.around(window, day_in_shanghai(self.now))
        for _ in range(abs(number)):
            span = span.before if number < 0 else span.after
        return span.key

    def say_ranking(
        self,
        viewer: int | None,
        group: int,
        board: int | None,
        text: str | None,
        language: int,
    ) -> dict[str, Any]:
        """Return the whole ranking, as a member sees it or as the server does."""
        where, who = self.groups[group], None if viewer is None else self.players[viewer].who
        if who is not None:
            self.oracle.place(who, where)
        elif where not in self.oracle.chats:
            raise RefusedError(NOT_FOUND)
        rules = self.oracle.chosen(self.named(board))
        span = self.oracle.period(rules, text)
        return self.oracle.ranking(where, rules, span, who, language)

    def named(self, board: int | None) -> str | None:
        """Return the board that a call names: none at all for the one that counts days, where that
        is the default."""
        key = self.key_of(board)
        return None if key == self.oracle.default else key

    def look(
        self, person: int, group: int, board: int | None, period: Any, language: int, other: int
    ) -> None:
        """Let two members look at one ranking at the same moment, in two languages."""
        text = self.text_of(board, period)
        for viewer, speaks in ((person, language), (other, 1 - language)):
            if self.is_ready(viewer):
                self.look_as(viewer, group, board, text, speaks)

    def watch(self, other: int, row: dict[str, Any], **looked: Any) -> None:
        """Look at a ranking before and after someone else's score in it."""
        where = {"group": looked["group"], "board": looked["board"], "fits": True}
        self.look(**looked, other=other)
        self.batch([{**row, **where, "person": other}])
        self.let_scores_show({looked["person"]})
        self.look(**looked, other=other)

    def look_as(
        self, viewer: int, group: int, board: int | None, text: str | None, language: int
    ) -> None:
        asked = {"board": self.named(board), "period": text, "limit": 100}
        answer = self.ask(viewer, f"groups/{self.groups[group]}/ranking", language, **asked)
        try:
            expected = self.say_ranking(viewer, group, board, text, language)
        except RefusedError as refusal:
            fields = self.compare_refusal(answer, refusal, language)
            if "period" in fields:
                self.compare_counted(fields["period"][0], self.oracle.chosen(self.named(board)))
            return
        self.compare(answer, lambda: expected, language)

    @staticmethod
    def compare_counted(sentence: str, rules: BoardRules) -> None:
        """Check that the sentence names the windows that a board counts, and no others."""
        named = {window for window in WINDOWS if re.search(rf"\b{window}\b", sentence, re.ASCII)}
        claim(named == set(rules.windows), f"{sentence!r} of {rules.windows}")

    def walk(
        self,
        person: int,
        group: int,
        board: int | None,
        period: Any,
        language: int,
        other: int,
        limit: int,
        names_period: bool,
    ) -> None:
        """Walk through a ranking page by page; a cursor belongs to no viewer."""
        text = self.text_of(board, period)
        viewers = [each for each in (person, other) if self.is_ready(each)]
        viewers = [
            each for each in viewers if self.oracle.sees(self.groups[group], self.players[each].who)
        ]
        cursor, done = None, 0
        for number in range(PEOPLE + 1):
            if not viewers:
                return
            viewer = viewers[number % len(viewers)]
            asked = {"board": self.named(board), "limit": limit, "cursor": cursor}
            if cursor is None or names_period:
                asked["period"] = text
            answer = self.ask(viewer, f"groups/{self.groups[group]}/ranking", language, **asked)
            try:
                whole = self.say_ranking(viewer, group, board, text, language)
            except RefusedError as refusal:
                self.compare_refusal(answer, refusal, language)
                return
            cursor = self.compare_page(answer, whole, done, limit)
            done += limit
            if cursor is None:
                return

    def compare_page(self, answer: Any, whole: dict[str, Any], done: int, limit: int) -> str | None:
        rows = whole["entries"]
        part = whole | {"entries": rows[done : done + limit]}
        del part["next"]
        self.compare(answer, lambda: part)
        cursor: str | None = answer.json()["next"]
        more = len(rows) > done + limit
        claim((cursor is not None) == more, f"next is {cursor} after {done + limit} of {len(rows)}")
        return cursor

    def look_around(
        self, person: int, group: int, board: int | None, period: Any, language: int, size: int
    ) -> None:
        if not self.is_ready(person):
            return
        text = self.text_of(board, period)
        asked = {"board": self.named(board), "period": text, "size": size}
        answer = self.ask(person, f"groups/{self.groups[group]}/ranking/around", language, **asked)

        def say() -> Any:
            whole = self.say_ranking(person, group, board, text, language)
            rows = whole["entries"]
            mine = [number for number, row in enumerate(rows) if row["isMe"]]
            part = rows[max(0, mine[0] - size) : mine[0] + size + 1] if mine else []
            del whole["next"]
            return whole | {"entries": part}

        self.compare(answer, say, language)

    def server_looks(
        self, person: int, group: int, board: int | None, period: Any, language: int, limit: int
    ) -> None:
        """Walk with the server key, which has no place of its own, also where members may not."""
        text, cursor, done = self.text_of(board, period), None, 0
        path = f"server/groups/{self.groups[group]}/ranking"
        foreign = self.foreign_server("GET", path)
        claim(foreign.status_code == 404, "a key of another mini-program sees the group")
        for _ in range(PEOPLE + 1):
            asked = {"board": self.named(board), "period": text, "limit": limit, "cursor": cursor}
            answer = self.ask(None, path, language, **asked)
            try:
                whole = self.say_ranking(None, group, board, text, language)
            except RefusedError as refusal:
                self.compare_refusal(answer, refusal, language)
                return
            cursor = self.compare_page(answer, whole, done, limit)
            done += limit
            if cursor is None:
                return

    def ask_winners(
        self,
        person: int,
        group: int,
        board: int | None,
        period: Any,
        language: int,
        places: int | None,
    ) -> None:
        text, where = self.text_of(board, period) or "week", self.groups[group]
        asked = {"board": self.named(board), "period": text, "places": places}
        answer = self.ask(None, f"server/groups/{where}/winners", language, **asked)

        def say() -> Any:
            if where not in self.oracle.chats:
                raise RefusedError(NOT_FOUND)
            rules = self.oracle.chosen(self.named(board))
            span = self.oracle.settled_period(rules, text)
            return self.oracle.winners(where, rules, span, places or 3, language)

        if self.compare(answer, say, language):
            for winner in answer.json()["winners"]:
                self.compare_winner(answer.json(), winner)
        elif answer.status_code == 400:
            self.compare_moment(answer.json()["fields"]["period"][0], board, text)

    def end_period(
        self,
        person: int,
        group: int,
        rows: list[dict[str, Any]],
        board: int | None,
        language: int,
        nth: int,
        seconds: float,
        places: int,
    ) -> None:
        """Wait for the end of a period; look at it, and ask for its winners in each group, and once
        more while an operator hides the first of them.
        """
        rules = self.oracle.boards.get(self.key_of(board))
        windows = [window for window in rules.windows if window != "all"] if rules else []
        if rules is None or not windows:
            return
        self.batch(rows)
        span = Span.around(windows[nth % len(windows)], day_in_shanghai(self.now))
        self.wait_for_end(span.window, seconds)
        if self.is_ready(person):
            self.look_as(person, group, board, span.key, language)
        for each in range(GROUPS):
            self.ask_winners(person, each, board, span.key, language, places)
        if self.groups[group] not in self.oracle.chats:
            return
        first = next(iter(self.oracle.ranks(self.groups[group], rules, span)), None)
        if first is not None:
            winner = next(n for n, player in enumerate(self.players) if player.who == first)
            self.withhold(winner, group, True)
            self.ask_winners(person, group, board, span.key, language, places)
            self.withhold(winner, group, False)

    def compare_winner(self, body: dict[str, Any], winner: dict[str, Any]) -> None:
        """Check that an id is always that of this prize, and of no other."""
        heads = (body["group"]["openGId"], body["board"]["key"], body["period"]["key"])
        prize = (*heads, winner["member"]["id"])
        known = self.winner_ids.setdefault(prize, winner["id"])
        claim(known == winner["id"], f"the id of a winner was {known} and is {winner['id']}")
        others = [each for each, name in self.winner_ids.items() if name == known]
        claim(others == [prize], f"{known} is the id of {others}")

    def compare_moment(self, sentence: str, board: int | None, text: str) -> None:
        """Check that the sentence names the moment from which the winners are known."""
        with suppress(RefusedError):
            rules = self.oracle.chosen(self.named(board))
            span = self.oracle.period(rules, text, begun=False)
            if span.window != "all":
                known = (span.end + SETTLED_AFTER).astimezone(SHANGHAI)
                claim(f"{known:%Y-%m-%d %H:%M}" in sentence, f"{sentence!r} does not name {known}")

    def stray(
        self,
        person: int,
        group: int,
        board: int | None,
        period: Any,
        language: int,
        other_group: int,
        other_board: int,
        other_period: Any,
    ) -> None:
        """Take a cursor to another group, board or period, and change a letter of it."""
        text = self.text_of(board, period)
        if not self.is_ready(person):
            return
        try:
            whole = self.say_ranking(person, group, board, text, language)
        except RefusedError:
            return
        path, key = f"groups/{self.groups[group]}/ranking", self.named(board)
        first = self.ask(person, path, language, board=key, period=text, limit=1).json()
        cursor = first["next"]
        if cursor is None:
            return
        bad = RefusedError({("invalid", "cursor")})
        rules = self.oracle.chosen(self.named(other_board))
        if other_group != group and self.oracle.sees(
            self.groups[other_group], self.players[person].who
        ):
            elsewhere = f"groups/{self.groups[other_group]}/ranking"
            answer = self.ask(person, elsewhere, language, board=key, cursor=cursor)
            self.compare_refusal(answer, bad, language)
        if rules.key != whole["board"]["key"]:
            other = self.ask(person, path, language, board=rules.key, cursor=cursor)
            self.compare_refusal(other, bad, language)
        self.stray_period(person, path, language, cursor, whole, self.text_of(board, other_period))
        altered = cursor[:-1] + ("A" if cursor[-1] != "A" else "B")
        answer = self.ask(person, path, language, board=key, cursor=altered)
        self.compare_refusal(answer, bad, language)

    def stray_period(
        self,
        person: int,
        path: str,
        language: int,
        cursor: str,
        whole: dict[str, Any],
        text: str | None,
    ) -> None:
        """Take a cursor to another period; with its window's name it stays in its own, so that a
        walk can go on over midnight."""
        key, span = whole["board"]["key"], whole["period"]
        try:
            asked = self.oracle.period(self.oracle.chosen(key), text)
        except RefusedError:
            return
        answer = self.ask(person, path, language, board=key, period=text, cursor=cursor)
        if text not in {None, span["window"], span["key"]} and asked.key != span["key"]:
            refusal = RefusedError({("invalid", "cursor")})
            self.compare_refusal(answer, refusal, language)
        else:
            claim(answer.status_code == 200, f"a cursor with {text}: {answer.content!r}")
            agree(answer.json()["period"]["key"], span["key"], "period.key")

    def odd_sizes(self, person: int, group: int, language: int) -> None:
        """Ask for more, or fewer, than there may be on a page."""
        path, who = f"groups/{self.groups[group]}/ranking", self.players[person].who
        if not self.is_ready(person) or not self.oracle.sees(self.groups[group], who):
            return
        for where, name, most in ((path, "limit", 100), (f"{path}/around", "size", 25)):
            for size in ("0", str(most + 1), "-1", "x", "1.0"):
                answer = self.ask(person, where, language, **{name: size})
                self.compare_refusal(answer, RefusedError({("invalid", name)}), language)

    def list_groups(self, person: int, group: int, language: int) -> None:
        if not self.is_ready(person):
            return
        where, who = self.groups[group], self.players[person].who
        one = self.ask(person, f"groups/{where}", language)

        def say_one() -> Any:
            membership = self.oracle.place(who, where) and self.oracle.membership(where, who)
            return self.oracle.head(where, language) | {"membership": membership}

        self.compare(one, say_one, language)
        mine = self.ask(person, "groups", language)

        def say_all() -> Any:
            self.oracle.refuse_blocked(who)
            return None

        if self.compare(mine, say_all, language):
            self.compare_groups(mine, who, language)
        theirs = self.ask(None, f"server/users/{self.soul(person).openid}/groups", language)
        self.compare_groups(theirs, who, language)

    def compare_groups(self, answer: Any, who: int, language: int) -> None:
        found = answer.json()["groups"]
        visits = [each["membership"]["verifiedAt"] for each in found]
        claim(visits == sorted(visits, reverse=True), f"visits are in the order of {visits}")
        due = {each["openGId"]: each for each in self.oracle.groups_of(who, language)}
        agree(sorted(each["openGId"] for each in found), sorted(due), "groups")
        for each in found:
            agree(each, due[each["openGId"]], "groups")

    def list_boards(self, person: int, language: int) -> None:
        if self.is_ready(person) and not self.soul(person).blocked:
            found = self.ask(person, "boards", language).json()["boards"]
            due = [self.oracle.board_json(rules, language) for rules in self.oracle.boards.values()]
            agree(sorted(found, key=board_key), sorted(due, key=board_key), "boards")

    # Walks during which other things happen

    def stroll(
        self, person: int, group: int, board: int | None, period: Any, language: int, limit: int
    ) -> None:
        text, where, who = self.text_of(board, period), self.groups[group], self.players[person].who
        with suppress(RefusedError):
            self.oracle.place(who, where)
            rules = self.oracle.chosen(self.named(board))
            span = self.oracle.period(rules, text)
            self.strolls.append(Stroll(person, where, rules, span, limit))
            self.stroll_on()

    def stroll_on(self) -> None:
        """Read the next page of the walk that began last."""
        if not self.strolls:
            return
        walk = self.strolls[-1]
        who = self.players[walk.viewer].who
        if not self.is_ready(walk.viewer) or not self.oracle.sees(walk.group, who):
            self.strolls.pop()
            return
        walk.watch(self.oracle)
        asked = {"board": walk.board.key, "limit": walk.limit, "cursor": walk.cursor}
        if walk.cursor is None:
            asked["period"] = walk.span.key
        answer = self.ask(walk.viewer, f"groups/{walk.group}/ranking", **asked)
        span_begun = walk.span.window == "all" or walk.span.start <= self.now
        if not span_begun:  # the clock went back
            self.strolls.pop()
            return
        claim(answer.status_code == 200, f"a walk's page: {answer.content.decode()[:300]}")
        page = answer.json()
        agree(page["period"]["key"], walk.span.key, "a walk's period")
        walk.seen.update(int(entry["member"]["id"]) for entry in page["entries"])
        walk.cursor = page["next"]
        if walk.cursor is None:
            walk.check()
            self.strolls.pop()

    def one_of(self, group: str, person: int) -> int:
        """Return the first member of a group from `person` on, or else `person`."""
        circle = [(person + number) % PEOPLE for number in range(PEOPLE)]
        return next(
            (each for each in circle if self.oracle.sees(group, self.players[each].who)), person
        )

    def take(self, step: Step) -> None:
        verb, arguments = step[0], dict(step[1])
        if arguments.pop("in_it", False):
            group = self.groups[arguments["group"]]
            for name in {"person", "other"} & arguments.keys():
                arguments[name] = self.one_of(group, arguments[name])
        viewers = {arguments[name] for name in ("person", "other") if name in arguments}
        if verb == "stroll_on" and self.strolls:
            viewers = {self.strolls[-1].viewer}
        if verb in LOOKS:
            self.let_scores_show(viewers)
        getattr(self, verb)(**arguments)
        for walk in self.strolls:
            walk.watch(self.oracle)


def board_key(board: dict[str, Any]) -> str:
    return str(board["key"])


# Runs


@dataclass(frozen=True)
class Found:
    """What disagreed first in a world, at which of its steps."""

    number: int
    what: str


@dataclass
class Runner:
    sandbox: Sandbox
    settings: Any

    def run(self, plan: Plan, steps: list[Step]) -> Found | None:
        """Let a world go through its steps; return what disagrees first."""
        number = -1
        try:
            with time_machine.travel(plan.start.timestamp(), tick=False) as clock:
                world = World(plan, clock, self.sandbox, self.settings)
                for number, step in enumerate(steps):  # noqa: B007  # read where it failed
                    world.take(step)
        except Disagreement as error:
            return Found(number, str(error))
        except Exception as error:
            logging.disable(logging.NOTSET)
            logging.getLogger(__name__).exception("a step failed")
            logging.disable(logging.CRITICAL)
            return Found(number, f"{type(error).__name__}: {error}")
        return None

    def shrink(self, plan: Plan, steps: list[Step]) -> list[Step]:
        """Leave out what is not needed for a disagreement, as long as there is time."""
        until, size = time.monotonic() + SHRINKING, len(steps) // 2
        while size and time.monotonic() < until:
            start = 0
            while start < len(steps) and time.monotonic() < until:
                fewer = steps[:start] + steps[start + size :]
                if found := self.run(plan, fewer):
                    steps = fewer[: found.number + 1]
                else:
                    start += size
            size //= 2
        return steps


def written(step: Step) -> str:
    name, arguments = step
    return f"    {name}({', '.join(f'{key}={value!r}' for key, value in arguments.items())})"


@pytest.mark.django_db(transaction=True)
def test_what_people_see_is_what_the_contract_says(
    sandbox: Sandbox, settings: Any, media: Path, capsys: Any
) -> None:
    settings.THROTTLES = "off"
    dice, runner, kinds = Dice(SEED), Runner(sandbox, settings), list[tuple[str, ...]]()
    taken, serial = 0, 0
    logging.disable(logging.CRITICAL)  # a line for each of thousands of calls
    try:
        while taken < STEPS:
            if not kinds:
                kinds = dice.sample(KINDS, len(KINDS))
            plan = draw_plan(dice, serial, [kinds.pop() for _ in range(BOARDS)])
            steps = draw_steps(dice, STEPS_A_WORLD)[: max(STEPS - taken, 1)]
            if found := runner.run(plan, steps):
                few = runner.shrink(plan, steps[: found.number + 1])
                again = runner.run(plan, few) or found
                lines = "\n".join(written(step) for step in few)
                pytest.fail(
                    f"disagreement: {again.what}\nat step {taken + found.number} of "
                    f"MODEL_SEED={SEED} MODEL_STEPS={STEPS}, in world {serial}:\n{plan}\n{lines}",
                    pytrace=False,
                )
            taken, serial = taken + len(steps), serial + 1
    finally:
        logging.disable(logging.NOTSET)
    with capsys.disabled():
        sys.stdout.write(f"\n{taken} steps in {serial} worlds, MODEL_SEED={SEED}\n")
