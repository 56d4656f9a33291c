"""Each call stays with one member or one group, however many others there are: by the statements
that it runs, and by what the database reads for them. And none looks into another mini-program.

So a site can be split by mini-program, and a sharded database can keep what a call needs in one
place: docs/scaling.md.
"""

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import cache
from typing import Any

import pytest
from django.apps import apps
from django.db import connection, transaction
from django.test import Client as Browser
from django.utils import timezone

from accounts.avatars.storage import SMALL as SMALLER
from accounts.models import (
    AvatarCheck,
    Consent,
    Erasure,
    Token,
    Tombstone,
    WeChatUser,
)
from audit.models import Attempt
from core.vault import digest_of
from groups import ranking
from groups.models import (
    Board,
    Group,
    IdempotencyKey,
    Membership,
    Report,
    Score,
    ScoreSource,
    ServerKey,
)
from groups.periods import DATED, Period, Window
from groups.retention import RULES
from tests.cast import FAMILY, TIME, Person, check_of, push_verdict, ticket
from tests.settings import APP_ID, OTHER_APP_ID
from tests.site_map import routes
from tests.statements import aliases_in, mentions, places, unbound
from wechat.client import Suggestion
from wechat.push import channel_for

pytestmark = pytest.mark.django_db

# The tables that grow with people, and what makes their rows those of one member, group or request.
KEYS: dict[str, list[set[str]]] = {
    "accounts_wechatuser": [{"id"}, {"app_id", "openid"}],
    "accounts_token": [{"id"}, {"user_id"}, {"digest"}],
    "accounts_consent": [{"id"}, {"user_id"}],
    "accounts_avatarcheck": [{"id"}, {"user_id"}, {"app_id", "trace_id"}],
    "accounts_tombstone": [{"id"}, {"digest"}],
    "accounts_erasure": [{"id"}, {"digest"}],
    "audit_attempt": [{"id"}, {"user_id"}],
    "groups_group": [{"id"}, {"app_id", "open_gid"}, {"founded_by_id"}],
    "groups_membership": [{"id"}, {"group_id"}, {"user_id"}],
    # A group's scope alone would do, but scope 0 is all of an app-wide board.
    "groups_score": [{"id"}, {"user_id"}],
    "groups_idempotencykey": [{"id"}, {"user_id"}],
    "groups_report": [{"id"}, {"user_id"}, {"membership_id"}],
}
# The others, and why they stay small: they are copied to every part of a site that is split.
SMALL = {
    "accounts_tombstonekey": "one row",
    "audit_auditevent": "of operators; members' calls only insert",
    "audit_phonefailure": "at most 500 rows an hour, kept for a day",
    "audit_watch": "what operators watch at the moment",
    "console_operatorsession": "of operators",
    "console_secondfactor": "of operators",
    "groups_board": "of a mini-program",
    "groups_serverkey": "of a mini-program",
    "groups_transfer": "imports under way",
    "groups_verificationfile": "of the domain",
}
# Statements that narrow a table otherwise: by a bound of their own.
BOUNDED = {
    "audit_attempt": "ORDER BY audit_attempt.id ASC LIMIT 20",  # the oldest, to be deleted
}

OTHERS, GROUPS = 300, 300  # of each mini-program
MOST = 120  # rows of one table that a statement may read: the family, a batch, and what is mine


def bulk(model: Any, rows: Any) -> list[Any]:
    """Insert rows and return them with their ids, which MariaDB does not tell."""
    last = model.objects.order_by("pk").values_list("pk", flat=True).last() or 0
    model.objects.bulk_create(rows)
    return list(model.objects.filter(pk__gt=last).order_by("pk"))


def crowd(app_id: str) -> None:
    """Make people of a mini-program who have a row of everything."""
    now = timezone.now()
    people = bulk(
        WeChatUser,
        [
            WeChatUser(app_id=app_id, openid=f"o-{app_id}-{number}", nickname=f"Person {number}")
            for number in range(OTHERS)
        ],
    )
    groups = bulk(
        Group,
        [
            Group(app_id=app_id, open_gid=f"tG-{app_id}-{number}", founded_by=people[number])
            for number in range(GROUPS)
        ],
    )
    members = bulk(
        Membership,
        [
            Membership(
                group=groups[(n + step) % GROUPS], user=person, joined_at=now, verified_at=now
            )
            for n, person in enumerate(people)
            for step in range(5)
        ],
    )
    boards = [Board.objects.active_days(), *Board.objects.filter(app_id=app_id, scope="app")]
    places_of: dict[int, list[int]] = {person.pk: [] for person in people}
    for member in members:
        places_of[member.user_id].append(member.group_id)
    facts = {"achieved_at": now, "value": 7}
    Score.objects.bulk_create(
        Score(
            board=board,
            window=window,
            period=Period.current(window, moment).key,
            scope=scope,
            user=person,
            **facts,
        )
        for person in people
        for board in boards
        for scope in ([0] if board.scope == "app" else places_of[person.pk][:2])
        for window in Window
        for moment in ([now] if window == "all" else [now, now - timedelta(days=32)])
    )
    made: dict[Any, list[Any]] = {}
    for number, person in enumerate(people):
        text = f"{app_id}-{number}"
        digest = digest_of(text)
        first = members[5 * number]
        answered = {"source": ScoreSource.CLIENT, "key": "k-1", "digest": digest, "answer": []}
        rows: dict[Any, dict[str, Any]] = {
            Token: {"digest": digest, "created_at": now, "expires_at": now + timedelta(days=9)},
            Consent: {"purpose": "avatar", "version": "1", "given_at": now},
            AvatarCheck: {"app_id": app_id, "trace_id": text},
            Attempt: {"app_id": app_id, "kind": "bind", "outcome": "x", "request_id": text},
            IdempotencyKey: {**answered, "created_at": now},
            Report: {"membership": first, "reason": "advert", "shown": digest[:32]},
        }
        for model, fields in rows.items():
            made.setdefault(model, []).append(model(user=person, **fields))
        tombstone = {"blocked": False, "stale_count": 0, "expires_at": now}
        made.setdefault(Tombstone, []).append(Tombstone(digest=digest, **tombstone))
        made.setdefault(Erasure, []).append(Erasure(digest=digest, at=now))
    for model, rows_of in made.items():
        model.objects.bulk_create(rows_of)


@pytest.fixture
def site(alice: Person, bob: Person, group: Group, make_board: Any, media: Any) -> "Site":
    """Make two mini-programs with hundreds of people each, and the family in the first."""
    make_board()
    make_board(app_id=OTHER_APP_ID)
    make_board(key="laps", scope=Board.Scope.GROUP)
    for app_id in (APP_ID, OTHER_APP_ID):
        crowd(app_id)
    alice.submit(5, idempotencyKey="k-1")
    bob.submit(3)
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("ANALYZE")
    key, _row = ServerKey.objects.issue(APP_ID, "backend", timezone.now())
    return Site(alice, bob, key)


# What is called


class Site:
    """A member, another of the same group, and the key of the team's server."""

    def __init__(self, me: Person, other: Person, key: str) -> None:
        self.me, self.other, self.key = me, other, key
        push_verdict(check_of(me.upload()), Suggestion.PASS)
        self.picture = me.user.avatar_path

    def server(self, method: str, path: str, body: Any = None) -> Any:
        caller = Person("server", self.me.phone)
        headers = {"Authorization": f"Key {self.key}"}
        return caller.call(method, f"server/{path}", body, **headers)

    def push(self, **facts: Any) -> Any:
        event = {"ToUserName": "gh_1", "FromUserName": self.me.openid, "MsgType": "event", **facts}
        query, body = channel_for(APP_ID).write(event, safe=True, xml=False)
        path = f"/wechat/push/{APP_ID}/?" + "&".join(f"{k}={v}" for k, v in query.items())
        return Browser().post(path, body, content_type="text/xml")

    def resolved(self) -> dict[str, Any]:
        return ticket(self.me.post("groups/resolve", self.me.envelope("family")).json())

    def scores(self, *, in_group: bool) -> dict[str, Any]:
        people = [self.me.openid, self.other.openid, f"o-{APP_ID}-1"]
        where = {"board": "laps", "openGId": FAMILY} if in_group else {"board": "steps"}
        rows = [{**where, "openid": each, "value": 9, "idempotencyKey": "k"} for each in people]
        return {"scores": rows}

    def last_month(self) -> str:
        return str(Period.current(Window.MONTH, timezone.now() - timedelta(days=32)).key)

    def pages(self, path: str) -> Any:
        """Ask for a list and for what follows its first page."""
        answer = self.me.get(path)
        cursor = answer.json()["next"]
        return (
            self.me.get(f"{path}{'&' if '?' in path else '?'}cursor={cursor}") if cursor else answer
        )


GROUP = f"groups/{FAMILY}"
Ask = Callable[[Site], Any]
# By route and method: what is asked there; what prepares it is not looked at.
CALLS: dict[tuple[str, str], list[Ask]] = {
    ("logout", "post"): [
        lambda s: s.me.post("logout", {}),
        lambda s: s.me.post("logout", {"everywhere": True}),
    ],
    ("me", "get"): [lambda s: s.me.get("me")],
    ("me", "put"): [lambda s: s.me.put("me", {"nickname": "小红"})],
    ("me", "delete"): [lambda s: s.me.delete("me")],
    ("me/avatar", "post"): [lambda s: s.me.upload()],
    ("me/consent", "get"): [lambda s: s.me.get("me/consent")],
    ("me/consent", "post"): [
        lambda s: s.me.post("me/consent", {"purposes": ["nickname", "groups"], "version": "2"})
    ],
    ("me/consent/<slug:purpose>", "delete"): [
        lambda s: s.me.delete("me/consent/nickname"),
        lambda s: s.me.delete("me/consent/avatar"),
        lambda s: s.me.delete("me/consent/groups"),
    ],
    ("me/data", "get"): [lambda s: s.me.get("me/data")],
    ("groups", "get"): [lambda s: s.pages("groups")],
    ("groups/resolve", "post"): [
        lambda s: s.me.post("groups/resolve", s.me.envelope("family")),
    ],
    ("groups/bind", "post"): [
        lambda s: s.me.post("groups/bind", s.me.envelope("family")),
        lambda s: s.me.post("groups/bind", s.me.envelope("a new group")),
        lambda s: s.me.post("groups/bind", s.resolved()),
    ],
    ("groups/<opaque:openGId>", "get"): [lambda s: s.me.get(GROUP)],
    ("groups/<opaque:openGId>/membership", "put"): [
        lambda s: s.me.put(f"{GROUP}/membership", {"hidden": True, "alias": "队长"})
    ],
    ("groups/<opaque:openGId>/membership", "delete"): [
        lambda s: s.me.delete(f"{GROUP}/membership")
    ],
    ("groups/<opaque:openGId>/ranking", "get"): [
        lambda s: s.pages(f"{GROUP}/ranking?limit=1"),
        lambda s: s.me.get(f"{GROUP}/ranking?board=steps&period=month"),
    ],
    ("groups/<opaque:openGId>/ranking/around", "get"): [
        lambda s: s.me.get(f"{GROUP}/ranking/around?board=steps")
    ],
    ("groups/<opaque:openGId>/link", "post"): [lambda s: s.me.post(f"{GROUP}/link", {})],
    ("groups/<opaque:openGId>/reports", "post"): [
        lambda s: s.me.post(
            f"{GROUP}/reports", {"member": s.other.body["user"]["id"], "reason": "advert"}
        )
    ],
    ("diagnostics", "post"): [
        lambda s: s.me.post("diagnostics", {"where": "enter", "code": "no_card"})
    ],
    ("boards", "get"): [lambda s: s.me.get("boards")],
    ("scores", "post"): [
        lambda s: s.me.submit(9, idempotencyKey="k-2"),
        lambda s: s.me.submit(5, idempotencyKey="k-1"),
        lambda s: s.me.post("scores", {"board": "laps", "value": 2, "openGId": FAMILY}),
    ],
    ("server/scores", "post"): [
        lambda s: s.server("post", "scores", s.scores(in_group=False)),
        lambda s: s.server("post", "scores", s.scores(in_group=True)),
    ],
    ("server/sessions", "post"): [
        lambda s: s.server("post", "sessions", {"openid": s.me.openid, "nickname": "小红"}),
        lambda s: s.server("post", "sessions", {"openid": "someone-new"}),
    ],
    ("server/users", "post"): [
        lambda s: s.server(
            "post",
            "users",
            {"users": [{"openid": s.me.openid, "nickname": "小红"}, {"openid": "x"}]},
        )
    ],
    ("server/users/<opaque:openid>/groups", "get"): [
        lambda s: s.server("get", f"users/{s.me.openid}/groups")
    ],
    ("server/groups/<opaque:openGId>/ranking", "get"): [
        lambda s: s.server("get", f"{GROUP}/ranking?board=steps")
    ],
    ("server/groups/<opaque:openGId>/winners", "get"): [
        lambda s: s.server("get", f"{GROUP}/winners?board=steps&period={s.last_month()}")
    ],
    # At the end: the phone keeps the key that the database forgets.
    ("login", "post"): [lambda s: s.me.post("login", {"code": s.me.phone.login()})],
}
# Beside the API: the members' page, pictures, and what WeChat tells.
PAGES: dict[str, Ask] = {
    "g/<str:signed>/": lambda s: Browser().get(s.me.post(f"{GROUP}/link", {}).json()["url"]),
    "avatars/<slug:signed>.webp": lambda s: Browser().get(s.other.user.avatar_path),
    f"avatars/{SMALLER}/<slug:signed>.webp": lambda s: Browser().get(
        s.other.user.small_avatar_path
    ),
    "media/avatars/<slug:name>.webp": lambda s: Browser().get(s.picture),
    "wechat/push/<opaque:appid>/": lambda s: s.push(
        Event="user_authorization_revoke",
        OpenID=s.me.openid,
        RevokeInfo="6",
        CreateTime=4102444800,
    ),
}
# Not of members: operators' pages, files of the code, probes, and one name more of the push.
OPERATORS = ("admin/", "groups/", "sign-in/")
OTHER = ("api/schema", "api/docs", "^api/", "wechat/push/<opaque:appid>", "<path:name>.md")
PROBES = ("livez", "readyz", "metrics", "favicon.ico", "llms.txt", "<slug:name>.txt")


def api_calls() -> set[tuple[str, str]]:
    """Return every route of the API with each of its methods, as the URL map has them."""
    return {
        (route.removeprefix("api/v1/"), method)
        for route, pattern in routes()
        if route.startswith("api/v1/")
        for method in ("get", "post", "put", "delete", "patch")
        if hasattr(pattern.callback.cls, method)
    }


def test_every_call_of_the_api_is_looked_at() -> None:
    assert set(CALLS) == api_calls()


def test_every_other_route_is_looked_at_or_not_of_members() -> None:
    found = {route for route, _pattern in routes() if route and not route.startswith("api/v1/")}
    assert set(PAGES) <= found
    left = {each for each in found - PAGES.keys() if not each.startswith(OPERATORS)}
    assert {each for each in left if not each.startswith((*OTHER, *PROBES))} == set()


def test_every_table_grows_with_people_or_says_why_it_does_not() -> None:
    ours = ("accounts", "audit", "groups", "console")
    models = [each for app in ours for each in apps.get_app_config(app).get_models()]
    assert {model._meta.db_table for model in models} == KEYS.keys() | SMALL.keys()
    for model in models:
        columns = {field.column for field in model._meta.concrete_fields}
        assert all(key <= columns for key in KEYS.get(model._meta.db_table, []))


# Looking at statements


class Watch:
    """What the statements of a call do that they should not."""

    def __init__(self) -> None:
        self.faults: list[str] = []
        self.statements = 0
        self._busy = False

    def __call__(self, execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        if not self._busy and (named := [each for each in KEYS if mentions(sql, each)]):
            self._busy = True
            try:
                self.statements += 1
                self.look(sql, params, named)
            finally:
                self._busy = False
        return execute(sql, params, many, context)

    def look(self, sql: str, params: Any, named: list[str]) -> None:
        if sql.startswith("INSERT"):
            return
        found = [place.table for place in places(sql)]
        unread = [table for table in named if found.count(table) < mentions(sql, table)]
        loose = {
            table
            for table in unbound(sql, KEYS)
            if table not in BOUNDED or BOUNDED[table] not in sql.replace('"', "").replace("`", "")
        }
        for table in sorted({*unread, *loose}):
            self.faults.append(f"{table} is not narrowed: {sql}")
        if not loose:
            self.faults += [f"{what}: {sql}" for what in READ[connection.vendor](sql, params)]


def explained(prefix: str, sql: str, params: Any) -> list[Any]:
    """Return what a database says of a statement, which leaves everything as it was."""
    with transaction.atomic(), connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            # However small the tables are: what a table of a billion rows would do.
            for way in ("seqscan", "mergejoin", "hashjoin"):
                cursor.execute(f"SET LOCAL enable_{way} = off")
        cursor.execute(f"{prefix} {sql}", params)
        rows = list(cursor.fetchall())
        transaction.set_rollback(True)
    return rows


def read_by_postgresql(sql: str, params: Any) -> Iterator[str]:
    """Yield the tables of which too many rows are read, and how many."""
    [[[found]]] = explained("EXPLAIN (ANALYZE, FORMAT JSON)", sql, params)
    yield from _read_by(found["Plan"])


def _read_by(node: dict[str, Any]) -> Iterator[str]:
    parts = ("Actual Rows", "Rows Removed by Filter", "Rows Removed by Index Recheck")
    rows = sum(node.get(part, 0) for part in parts) * node.get("Actual Loops", 1)
    if node.get("Relation Name") in KEYS and rows > MOST:
        yield f"{rows} rows of {node['Relation Name']} are read"
    table, column = table_of(node["Index Name"]) if "Index Name" in node else ("", "")
    # Without its first column all of an index is read, though few rows are found.
    if table in KEYS and not re.search(rf"\b{column}\b", node.get("Index Cond", "")):
        yield f"all of {node['Index Name']} of {table} is read"
    for inner in node.get("Plans", ()):
        yield from _read_by(inner)


@cache
def table_of(index: str) -> tuple[str, str]:
    """Return the table of an index of PostgreSQL, and the first of its columns."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT t.relname, a.attname FROM pg_index i"
            " JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_class t ON t.oid = i.indrelid"
            " JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum = i.indkey[0]"
            " WHERE c.relname = %s",
            [index],
        )
        [(table, column)] = cursor.fetchall()
    return table, column


def read_by_sqlite(sql: str, params: Any) -> Iterator[str]:
    aliases = aliases_in(sql)
    for *_ids, detail in explained("EXPLAIN QUERY PLAN", sql, params):
        verb, name, *_how = detail.split()
        if verb == "SCAN" and aliases.get(name) in KEYS:
            yield f"{detail} of {aliases[name]}"


def read_by_mariadb(sql: str, params: Any) -> Iterator[str]:
    aliases = aliases_in(sql)
    with connection.cursor() as cursor:
        cursor.execute("SET SESSION max_seeks_for_key = 1")  # however small the table is
    for row in explained("EXPLAIN", sql, params):
        name, how = row[2], row[3]
        if how in {"ALL", "index"} and aliases.get(name) in KEYS:
            yield f"{how} of {aliases[name]}"


READ = {
    "postgresql": read_by_postgresql,
    "sqlite": read_by_sqlite,
    "mysql": read_by_mariadb,
}


@contextmanager
def rolled_back() -> Iterator[None]:
    with transaction.atomic():
        yield
        transaction.set_rollback(True)


def asks() -> dict[str, Ask]:
    """Return everything that is asked, by what to call it."""
    numbered = {
        f"{method.upper()} {route} #{number}": ask
        for (route, method), asks_of in CALLS.items()
        for number, ask in enumerate(asks_of, 1)
    }
    return PAGES | numbered


def test_each_statement_is_of_one_member_or_one_group(site: Site) -> None:
    faults: dict[str, list[str]] = {}
    quiet = {"GET boards #1", "POST diagnostics #1", *(page for page in PAGES if "avatars" in page)}
    for name, ask in asks().items():
        watch, token = Watch(), site.me.token
        with rolled_back(), connection.execute_wrapper(watch):
            answer = ask(site)
        site.me.token = token
        assert answer.status_code < 300, (name, answer.status_code, getattr(answer, "content", ""))
        assert watch.statements or name in quiet, name
        if watch.faults:
            faults[name] = sorted(set(watch.faults))
    assert faults == {}, json.dumps(faults, indent=1, ensure_ascii=False)


def test_housekeeping_reads_no_score_that_stays(site: Site) -> None:
    now, user = timezone.now(), site.me.user
    for window in DATED:
        for days in (405, 500, 800):
            at = now - timedelta(days=days + 31)
            period = Period.current(window, at).key
            facts = {"window": window, "period": period, "achieved_at": at, "value": 1}
            Score.objects.create(board=Board.objects.active_days(), user=user, **facts)
    faults: list[str] = []

    def look(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        if mentions(sql, "groups_score") and "EXPLAIN" not in sql:
            faults.extend(READ[connection.vendor](sql, params))
        return execute(sql, params, many, context)

    rule = RULES["scores"]
    with connection.execute_wrapper(look):
        assert rule.count(now) == 9 == sum(rule.purge(now))
    assert faults == []


def test_no_answer_changes_when_another_mini_program_is_gone(site: Site) -> None:
    twin = WeChatUser.objects.create(app_id=OTHER_APP_ID, openid=site.me.openid, nickname="Twin")
    now = timezone.now()
    family = Group.objects.create(app_id=OTHER_APP_ID, open_gid=FAMILY)
    Membership.objects.create(group=family, user=twin, joined_at=now, verified_at=now)
    readings = {name: ask for name, ask in asks().items() if name.startswith(("GET", "g/"))}

    def answers() -> dict[str, Any]:
        ranking.recent.clear()
        return {name: plain(ask(site)) for name, ask in readings.items()}

    before = answers()
    for model in (Report, Membership, Score):
        model.objects.filter(user__app_id=OTHER_APP_ID).delete()
    Group.objects.filter(app_id=OTHER_APP_ID).delete()
    WeChatUser.objects.filter(app_id=OTHER_APP_ID).delete()
    assert len(before) > 10
    assert before == answers()


def plain(answer: Any) -> str:
    """Return an answer without the times of this moment."""
    assert answer.status_code == 200, answer.content
    return TIME.sub("…", answer.content.decode())


# The reading of statements itself

MEMBERS = "groups_membership m JOIN accounts_wechatuser u ON u.id = m.user_id"


@pytest.mark.parametrize(
    ("sql", "loose"),
    {
        f"SELECT 1 FROM {MEMBERS} WHERE m.group_id = %s": [],
        f"SELECT 1 FROM {MEMBERS} WHERE m.verified_at > %s": [
            "groups_membership",
            "accounts_wechatuser",
        ],
        f"SELECT 1 FROM {MEMBERS} WHERE m.group_id = %s OR m.hidden": [
            "groups_membership",
            "accounts_wechatuser",
        ],
        "SELECT 1 FROM groups_membership WHERE NOT (group_id = %s)": ["groups_membership"],
        "SELECT 1 FROM groups_membership WHERE (group_id IN (%s, %s) AND hidden)": [],
        "SELECT 1 FROM groups_membership WHERE group_id IN (SELECT id FROM groups_group)": [
            "groups_group"
        ],
        "SELECT 1 FROM groups_score WHERE board_id = %s AND scope = %s": ["groups_score"],
        "SELECT 1 FROM accounts_wechatuser WHERE openid = %s": ["accounts_wechatuser"],
        'UPDATE "accounts_token" SET "user_id" = %s WHERE "accounts_token"."expires_at" < %s': [
            "accounts_token"
        ],
        "DELETE FROM accounts_token WHERE digest = %(digest)s": [],
        "SELECT 1 FROM groups_group LIMIT 1": ["groups_group"],
        "SELECT 1 FROM groups_group g WHERE g.id = 1 UNION ALL SELECT 1 FROM groups_group": [
            "groups_group"
        ],
    }.items(),
)
def test_only_what_surely_narrows_a_table_counts(sql: str, loose: list[str]) -> None:
    assert unbound(sql, KEYS) == loose
