"""`Group.version`: all that changes what a ranking shows, but scores that are sent, raises it.

Everything that can be done is done once, each time to the same people, and what others, and the
member, can see of a group is compared with its version before and after.
"""

import ast
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import call_command
from django.db import connection, transaction
from django.test import Client as Browser
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts.models import AvatarCheck, WeChatUser
from console.actions import ACTIONS
from console.review import QUEUE, ReviewItem
from groups.models import Group, Membership, Score, ServerKey
from groups.models.groups import PIECE
from groupsite.urls import api
from tests.cast import (
    DOUBTFUL,
    FAMILY,
    Person,
    check_of,
    deliver,
    later,
    push_verdict,
    ticket,
)
from tests.query_counts import make_members
from tests.settings import APP_ID
from tests.transfers import table, take
from wechat.client import Suggestion
from wechat.push import channel_for

ROOT = Path(__file__).resolve().parent.parent
MINE = f"groups/{FAMILY}/membership"

# The functions that write what a ranking shows of members, and operators' corrections of scores.
WRITERS = {
    "accounts/moderation.py: _set_status",
    "accounts/moderation.py: clear",
    "accounts/privacy.py: erase",
    "accounts/services.py: _take_avatar",
    "accounts/services.py: decide",
    "accounts/services.py: register",
    "accounts/services.py: write_name",
    "accounts/withdrawals.py: _drop",
    "groups/moderation.py: _withhold",
    "groups/moderation.py: change_score",
    "groups/moderation.py: remove_score",
    "groups/retention.py: delete",
    "groups/retention.py: delete_memberships",
    "groups/services.py: _renew",
    "groups/services.py: bind",
    "groups/services.py: change_membership",
    "groups/services.py: drop_aliases",
    "groups/services.py: leave",
    "groups/services.py: leave_all",
    "groups/transfer/writers.py: MembershipsWriter.write",
    "groups/transfer/writers.py: PeopleWriter.write",
    "groups/transfer/writers.py: ScoresWriter.write",
}

# Those that write something else.
OTHERS = {
    "accounts/api.py: LogoutView.post",
    "accounts/avatars/drawn.py: default_avatar",
    "accounts/avatars/redraw.py: webp_of",
    "accounts/avatars/storage.py: delete_avatar",
    "accounts/avatars/storage.py: store_avatar",
    "accounts/erasures.py: erase_again",  # by those that do it the first time
    "accounts/examinations.py: examine_storage",
    "accounts/models.py: ErasureManager.put",
    "accounts/models.py: TokenManager.issue",
    "accounts/models.py: TombstoneKeyManager.texts",
    "accounts/models.py: TombstoneManager.replace",
    "accounts/models.py: WeChatUser.count_stale",
    "accounts/models.py: WeChatUser.keep_session",
    "accounts/models.py: WeChatUserManager.meet_all",  # people who are in no group yet
    "accounts/review.py: Reviewed.save_value",  # for its callers
    "accounts/services.py: consent",
    "accounts/services.py: save_verdict",
    "console/admin/boards.py: BoardAdmin.save_model",
    "console/admin/server_keys.py: ServerKeyAdmin.save_model",
    "console/groups.py: label_groups",
    "console/management/commands/reset_totp.py: Command.handle",
    "console/management/commands/sign_in_link.py: Command.make",
    "console/models.py: SecondFactor.enrol",
    "console/models.py: SecondFactor.renew_backup_codes",
    "console/models.py: SecondFactor.throttle_increment",
    "console/paging.py: count_table",
    "console/roles.py: ensure",
    "console/sessions.py: SessionStore.clear_expired",
    "console/sessions.py: SessionStore.load",
    "console/sessions.py: SessionStore.save",
    "console/sessions.py: end_other_sessions",
    "console/sessions.py: end_session",
    "console/totp.py: _renew",
    "groups/apps.py: ensure_active_days",
    "groups/models/groups.py: GroupQuerySet.raise_versions",
    "groups/models/reports.py: ReportQuerySet.settle",
    "groups/models/scores.py: ScoreSheet.save",  # scores that are sent
    "groups/models/server_keys.py: ServerKey.rotate",
    "groups/models/server_keys.py: ServerKey.used",
    "groups/moderation.py: _hide_group",  # read with the group's own row
    "groups/moderation.py: label",
    "groups/moderation.py: revoke",
    "groups/retention.py: OrphanRule.purge",
    "groups/retention.py: ScoreRule.purge",  # of periods that ended 400 days ago
    "groups/services.py: _Memory.save",
    "groups/services.py: _find_or_found",
    "groups/services.py: report",
    "groups/services.py: write_scores",
    "groups/transfer/pieces.py: _Run.write_piece",  # by a writer of transfer/writers.py
    "groups/transfer/pieces.py: forget",
    "groups/transfer/pieces.py: import_file",
    "groups/transfer/writers.py: BoardsWriter.save",
    "groups/transfer/writers.py: BoardsWriter.take",
    "groups/transfer/writers.py: GroupsWriter.write",
}

WRITES = {
    *("save", "save_value", "delete", "create", "get_or_create", "update_or_create"),
    *("update", "bulk_create", "bulk_update", "update_rows", "execute", "executemany"),
}


def functions(path: Path) -> Iterator[tuple[str, ast.AST]]:
    """Yield each function of a file, with its name; what is written in one inside counts as its."""
    tree = ast.parse(path.read_text())
    bodies = [("", tree.body)]
    for name, body in bodies:
        for node in body:
            if isinstance(node, ast.ClassDef):
                bodies.append((f"{name}{node.name}.", node.body))
            elif isinstance(node, ast.FunctionDef):
                yield f"{path.relative_to(ROOT)}: {name}{node.name}", node
            else:
                yield f"{path.relative_to(ROOT)}: {name}<module>", node


def writes(function: ast.AST) -> bool:
    calls = [node.func for node in ast.walk(function) if isinstance(node, ast.Call)]
    return any(getattr(call, "attr", getattr(call, "id", "")) in WRITES for call in calls)


@pytest.mark.no_service
def test_every_function_that_writes_is_known() -> None:
    """A new one belongs to WRITERS, if it changes what a ranking shows, and raises the version."""
    files = [
        path for app in ("accounts", "groups", "console") for path in (ROOT / app).rglob("*.py")
    ]
    found = {
        name
        for path in files
        if "migrations" not in path.parts
        for name, node in functions(path)
        if writes(node)
    }
    assert found == WRITERS | OTHERS


# What can be done


def seen(group: Group, scores: bool) -> Any:
    """Return what the group, and each member of themselves, sees of its members."""
    shown = ("alias", "alias_draft", "hidden", "withheld", "joined_at", "group_openid", "user_id")
    theirs = ("nickname", "nickname_draft", "avatar", "avatar_draft", "avatar_seed")
    members = Membership.objects.current(timezone.now()).filter(group=group).order_by("user")
    people = list(members.values_list(*shown, *(f"user__{name}" for name in theirs)))
    rows = Score.objects.filter(scope__in=[0, group.pk], user__in=members.values("user"))
    return people, scores and list(rows.order_by("pk").values_list("pk", "value", "achieved_at"))


@contextmanager
def writers_noted(found: set[str]) -> Iterator[None]:
    """Note every function of the site that a statement comes from which writes what is shown."""
    tables = [model._meta.db_table for model in (WeChatUser, Membership, Score)]

    def note(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        if sql.startswith(("INSERT", "UPDATE", "DELETE")) and any(t in sql for t in tables):
            frame = sys._getframe()
            while (frame := frame.f_back) is not None:
                path = Path(frame.f_code.co_filename)
                if path.is_relative_to(ROOT):
                    found.add(f"{path.relative_to(ROOT)}: {frame.f_code.co_qualname}")
        return execute(sql, params, many, context)

    with connection.execute_wrapper(note):
        yield


@pytest.fixture
def scene(
    alice: Person, bob: Person, make_person: Any, olga: Browser, make_board: Any, media: Path
) -> dict[str, Any]:
    """Give Alice all that can be changed, in two groups; let others have left, lapsed, been hidden
    or blocked."""
    board = make_board()
    names = ("left", "lapsed", "hidden", "blocked", "newcomer")
    people = {name: make_person(name, f"the {name}") for name in names}
    for person in (alice, bob, *people.values()):
        if person.name != "newcomer":
            person.enter("family")
    alice.enter("office")
    alice.submit(5)
    alice.put(MINE, {"alias": "三班小明"})
    alice.put(MINE, {"alias": f"{DOUBTFUL}二"})
    push_verdict(check_of(alice.upload()), Suggestion.PASS)
    alice.upload()
    alice.put("me", {"nickname": DOUBTFUL})
    purposes = {"version": "1", "purposes": ["nickname", "avatar", "groups"]}
    alice.post("me/consent", purposes)
    assert people["left"].delete(MINE).status_code == 204
    long_ago = timezone.now() - timedelta(days=40)
    theirs = Membership.objects.filter(group__open_gid=FAMILY)
    theirs.filter(user=people["lapsed"].user).update(verified_at=long_ago)
    theirs.filter(user=people["hidden"].user).update(withheld=True)
    WeChatUser.objects.filter(pk=people["blocked"].user.pk).update(status="blocked")
    key, row = ServerKey.objects.issue(APP_ID, "backend", timezone.now())
    assert bob.post(f"groups/{FAMILY}/reports", {"member": str(alice.user.pk), "reason": "abuse"})
    rows = {WeChatUser: alice.user, Membership: theirs.get(user=alice.user), ServerKey: row}
    rows[Group] = theirs[0].group
    rows[User] = User.objects.create_user("otto", is_staff=True)
    Browser().force_login(rows[User])
    rows[Score] = Score.objects.filter(user=alice.user, scope=0).first()
    undone = {"unblock": people["blocked"].user}
    undone["show"] = theirs.get(user=people["hidden"].user)
    server = {"Authorization": f"Key {key}"}
    everyone = {"alice": alice, "bob": bob, **people}
    return {"olga": olga, "board": board, "server": server, "rows": rows, **everyone} | {
        "undone": undone
    }


def pushed(person: Person, name: str, **more: Any) -> Any:
    message = {"MsgType": "event", "Event": name, "OpenID": person.openid, "AppID": APP_ID}
    message |= {"CreateTime": int(timezone.now().timestamp()), "ToUserName": "gh_1", **more}
    return deliver(*channel_for(APP_ID).write(message, safe=True, xml=False))


def days_later(number: int, person: Person) -> Any:
    with later(days=number):
        again = replace(person, token="").log_in()
        return again.post("groups/bind", again.envelope("family"))


def the_calls(scene: dict[str, Any]) -> dict[str, dict[str, Callable[[], Any]]]:
    """Return what each call of the API that writes may do, by its method and route."""
    alice, bob, server = scene["alice"], scene["bob"], scene["server"]
    left, lapsed, newcomer = scene["left"], scene["lapsed"], scene["newcomer"]
    group, member = "groups/<opaque:openGId>", {"member": str(bob.user.pk), "reason": "other"}

    def enter(person: Person) -> Callable[[], Any]:
        return lambda: person.post("groups/bind", person.envelope("family"))

    def redeem() -> Any:
        resolved = newcomer.post("groups/resolve", newcomer.envelope("family")).json()
        return newcomer.post("groups/bind", ticket(resolved))

    def tell_id() -> Any:
        bob.phone.open_card("family")
        return bob.post("groups/bind", bob.phone.group_enter_info(group_openid=True))

    def as_server(path: str, body: Any) -> Callable[[], Any]:
        return lambda: alice.post(path, body, **server)

    score = {"board": "steps", "value": 9}
    sent = {**score, "openid": alice.openid, "idempotencyKey": "1"}
    return {
        "POST login": {"again": lambda: alice.post("login", {"code": alice.phone.login()})},
        "POST logout": {"": lambda: bob.post("logout", {})},
        "PUT me": {
            "another name": lambda: alice.put("me", {"nickname": "韩梅梅"}),
            "a doubtful name": lambda: bob.put("me", {"nickname": DOUBTFUL}),
            "the same name": lambda: bob.put("me", {"nickname": "李雷"}),
            "who left": lambda: left.put("me", {"nickname": "韩梅梅"}),
        },
        "DELETE me": {"": lambda: alice.delete("me"), "who left": lambda: left.delete("me")},
        "POST me/avatar": {"": lambda: bob.upload(), "another": lambda: alice.upload()},
        "POST diagnostics": {
            "": lambda: bob.post("diagnostics", {"where": "login", "code": "wx_fail"})
        },
        "POST me/consent": {
            "": lambda: bob.post("me/consent", {"version": "2", "purposes": ["avatar"]})
        },
        "DELETE me/consent/<slug:purpose>": {
            "nickname": lambda: alice.delete("me/consent/nickname"),
            "avatar": lambda: alice.delete("me/consent/avatar"),
            "groups": lambda: alice.delete("me/consent/groups"),
            "never given": lambda: bob.delete("me/consent/avatar"),
        },
        "POST groups/resolve": {
            "": lambda: newcomer.post("groups/resolve", newcomer.envelope("family"))
        },
        "POST groups/bind": {
            "a newcomer": enter(newcomer),
            "by a ticket": redeem,
            "who had left": enter(left),
            "who had lapsed": enter(lapsed),
            "again": enter(bob),
            "with my id in the group": tell_id,
            "on another day": lambda: days_later(1, bob),
            "a new group": lambda: newcomer.post("groups/bind", newcomer.envelope("club")),
        },
        f"PUT {group}/membership": {
            "alias": lambda: bob.put(MINE, {"alias": "李老师"}),
            "a doubtful alias": lambda: bob.put(MINE, {"alias": DOUBTFUL}),
            "no alias": lambda: alice.put(MINE, {"alias": ""}),
            "hidden": lambda: alice.put(MINE, {"hidden": True, "alias": "别名"}),
            "as it was": lambda: bob.put(MINE, {"hidden": False, "alias": ""}),
        },
        f"DELETE {group}/membership": {"": lambda: alice.delete(MINE)},
        f"POST {group}/link": {"": lambda: alice.post(f"groups/{FAMILY}/link", {})},
        f"POST {group}/reports": {"": lambda: alice.post(f"groups/{FAMILY}/reports", member)},
        "POST scores": {"": lambda: alice.post("scores", score)},
        "POST server/scores": {"": as_server("server/scores", {"scores": [sent]})},
        "POST server/users": {
            "a name": as_server(
                "server/users",
                {
                    "users": [
                        {"openid": alice.openid, "nickname": "韩梅梅"},
                        {"openid": "o-new", "nickname": "新人"},
                        {"openid": bob.openid, "unionid": "u1", "nickname": "李雷"},
                    ]
                },
            ),
            "a unionid": as_server(
                "server/users", {"users": [{"openid": bob.openid, "unionid": "u2"}]}
            ),
        },
        "POST server/sessions": {
            "a name": as_server("server/sessions", {"openid": bob.openid, "nickname": "韩梅梅"}),
            "the same name": as_server(
                "server/sessions", {"openid": bob.openid, "nickname": "李雷"}
            ),
        },
    }


def the_rest(scene: dict[str, Any], settings: Any) -> dict[str, Callable[[], Any]]:
    """Return what WeChat, operators, imports and the daily purge may do."""
    alice, olga, rows = scene["alice"], scene["olga"], scene["rows"]
    check = AvatarCheck.objects.get(user=alice.user, avatar=alice.user.avatar_draft)

    def act(key: str) -> Callable[[], Any]:
        row = scene["undone"].get(key) or rows[ACTIONS[key].model]
        return lambda: olga.post(f"/admin/act/{key}/{row.pk}/", {"reason": "举报属实"})

    def decide(kind: Any, verdict: str) -> Callable[[], Any]:
        item = ReviewItem(kind, rows[kind.model], timezone.now())
        sent = {"verdict": verdict, "item": item.token, "reason": "违规"}
        return lambda: olga.post("/admin/review/", sent)

    def correct(score: Score, value: int) -> Callable[[], Any]:
        sent = {"value": value, "reason": "算错了"}
        return lambda: olga.post(f"/admin/groups/score/{score.pk}/change/", sent)

    def purge(rule: str, proof_days: int) -> Callable[[], Any]:
        def run() -> None:
            settings.MEMBERSHIP_PROOF_DAYS = proof_days
            with later(days=500):
                call_command("purge", rule, verbosity=0)

        return run

    def moved_in(name: str, **row: Any) -> Callable[[], Any]:
        path = table(Path(settings.MEDIA_ROOT).parent / f"{name}.csv", row)

        def run() -> None:
            assert take(path, names_reviewed=True, on_conflict="replace").error == ""

        return run

    own = Score.objects.filter(user=alice.user, scope=rows[Group].pk).first()
    assert own
    bob, newcomer, here = scene["bob"], scene["newcomer"].openid, {"openGId": FAMILY}
    him = bob.openid
    return {
        "import a name": moved_in("name", openid=him, nickname="韩梅梅"),
        "import what is known": moved_in("known", openid=him, nickname=bob.user.nickname),
        "import a membership": moved_in("member", openid=newcomer, **here),
        "import who has left": moved_in("left", openid=scene["left"].openid, **here),
        "import a score of all groups": moved_in("score", openid=him, board="steps", value=3),
        "import a score of one group": moved_in(
            "day", openid=him, board="active-days", value=9, **here
        ),
        "verdict: pass": lambda: push_verdict(check, Suggestion.PASS),
        "verdict: risky": lambda: push_verdict(check, Suggestion.RISKY),
        "withdrawn in WeChat": lambda: pushed(alice, "user_authorization_revoke", RevokeInfo="6"),
        "changed in WeChat": lambda: pushed(alice, "user_info_modified", RevokeInfo="1"),
        "account closed": lambda: pushed(alice, "user_authorization_cancellation"),
        **{f"act {key}": act(key) for key in ACTIONS},
        **{
            f"decide {kind.name} {verdict}": decide(kind, verdict)
            for kind in QUEUE.values()
            for verdict in kind.verdicts
        },
        "correct a score of all groups": correct(rows[Score], 77),
        "correct a score of one group": correct(own, 3),
        "correct nothing": correct(own, own.value),
        "label": lambda: olga.post("/groups/labels/", {"group": rows[Group].pk, "label": "家人"}),
        "purge memberships": purge("memberships", 30),
        "purge memberships that count": purge("memberships", 1000),
    }


# What changes scores alone, as they are sent; and what has changed by itself meanwhile.
SCORES_ALONE = ("POST scores", "POST server/scores", "POST groups/bind")


def test_whatever_changes_what_a_ranking_shows_raises_the_version_and_nothing_else_does(
    scene: dict[str, Any], settings: Any
) -> None:
    calls = the_calls(scene)
    views = {str(route.pattern): route.callback.view_class for route in api}
    writing = {
        f"{method.upper()} {route}"
        for route, view in views.items()
        for method in ("post", "put", "delete")
        if hasattr(view, method)
    }
    assert calls.keys() == writing, "try each call of the API that writes"
    steps = {f"{call}: {how}": act for call, all_of in calls.items() for how, act in all_of.items()}
    steps |= the_rest(scene, settings)
    groups = list(Group.objects.order_by("pk"))
    assert len(groups) == 2
    wrong, found, raised = [], set[str](), 0
    for name, act in steps.items():
        scores = not name.startswith(SCORES_ALONE)
        counts = settings.MEMBERSHIP_PROOF_DAYS
        with transaction.atomic():
            before = [(seen(group, scores), group.version) for group in groups]
            with writers_noted(found):
                answer = act()
            assert answer is None or answer.status_code < 400, (name, answer.content)
            for (was, version), group in zip(before, groups, strict=True):
                group.refresh_from_db(fields=["version"])
                changed, rose = seen(group, scores) != was, group.version > version
                raised += rose
                if changed != rose:
                    wrong.append((name, group.open_gid, "changed" if changed else "as it was"))
                group.version = version
            transaction.set_rollback(True)
        settings.MEMBERSHIP_PROOF_DAYS = counts
    assert wrong == []
    assert raised > 30
    assert found >= WRITERS, WRITERS - found


def test_the_versions_of_many_groups_rise_in_few_statements(db: None) -> None:
    [user], now = make_members(1), timezone.now()
    groups = [Group(app_id=APP_ID, open_gid=f"many-{number}") for number in range(PIECE + 1)]
    Group.objects.bulk_create(groups)
    rows = Group.objects.filter(open_gid__startswith="many-")
    Membership.objects.bulk_create(
        Membership(user=user, group=group, joined_at=now, verified_at=now) for group in rows
    )
    each = 2 if connection.vendor == "postgresql" else 1  # where it has to lock in order first
    with CaptureQueriesContext(connection) as queries:
        user.announce()
    assert len(queries) == 1 + 2 * each
    assert set(rows.values_list("version", flat=True)) == {1}
