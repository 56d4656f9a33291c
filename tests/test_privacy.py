"""What members may do about their data: see it, consent to it, erase it; and its retention."""

import re
import time
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import time_machine
from django.apps import apps
from django.core.management import CommandError, call_command
from django.db import connection
from django.test import Client as Browser
from django.utils import timezone

from accounts.models import Consent, Erasure, Token, Tombstone, WeChatUser
from audit.models import Watch
from groups.models import Board, Group, Membership, Score
from groups.periods import Period, Window
from groups.services import FOUNDING_LIMIT
from groupsite.logs import EXTRAS
from tests.cast import (
    DOUBTFUL,
    FAMILY,
    GARBAGE,
    Person,
    check_of,
    everything_stored,
    later,
    push_verdict,
    refused,
    stored_avatars,
    ticket,
)
from tests.settings import APP_ID
from wechat.client import Suggestion

pytestmark = pytest.mark.usefixtures("media")

PRIVACY = Path(__file__).resolve().parent.parent / "docs" / "privacy.md"


@pytest.fixture
def lived_in(alice: Person, bob: Person, group: Group) -> Person:
    """Give Alice something in every table."""
    check = check_of(alice.upload())
    push_verdict(check, Suggestion.PASS)
    alice.upload()
    alice.put("me", {"nickname": DOUBTFUL})
    alice.put(f"groups/{FAMILY}/membership", {"alias": "三班小明"})
    alice.put(f"groups/{FAMILY}/membership", {"alias": f"{DOUBTFUL}二"})
    alice.post("me/consent", {"version": "2026-11", "purposes": ["nickname", "groups"]})
    alice.post("groups/resolve", GARBAGE)
    Watch.objects.begin(APP_ID, alice.user.pk)
    Board.objects.create(app_id=APP_ID, key="steps", scope="app", writer="client", windows="all")
    steps = {"board": "steps", "value": 9781, "idempotencyKey": "level-1"}
    assert alice.post("scores", steps).status_code == 200
    report = {"member": bob.body["user"]["id"], "reason": "abuse"}
    assert alice.post(f"groups/{FAMILY}/reports", report).status_code == 204
    return alice


# Seeing


def test_my_data_is_complete_and_readable(lived_in: Person) -> None:
    user = lived_in.user
    data = lived_in.get("me/data").json()
    assert data["user"]["openid"] == user.openid
    assert (data["user"]["nickname"], data["user"]["shownNickname"]) == (DOUBTFUL, "小明")
    assert data["user"]["avatar"] != data["user"]["shownAvatar"]
    [membership] = data["memberships"]
    assert membership["openGId"] == FAMILY and membership["founded"] is True
    assert (membership["alias"], membership["shownAlias"]) == (f"{DOUBTFUL}二", "三班小明")
    assert {c["purpose"] for c in data["consents"]} == {"nickname", "groups"}
    assert [c["suggestion"] for c in data["avatarChecks"]] == ["pass", ""]
    scores = {(s["board"], s["period"], s["openGId"]): s["value"] for s in data["scores"]}
    assert scores["steps", "all", None] == 9781
    assert scores["active-days", "all", FAMILY] == 1
    assert len(scores) == 1 + len(Window)
    assert len(data["tokens"]) == 1


def test_my_data_has_nothing_of_other_members(lived_in: Person, bob: Person) -> None:
    data = bob.get("me/data").content.decode()
    assert "小明" not in data and lived_in.openid not in data and DOUBTFUL not in data


# What is not in me/data, and why.
UNTOLD = {
    "session_key": "a secret of WeChat's",
    "previous_session_key": "a secret of WeChat's",
    "digest": "of a secret of the person's",
    "avatar_seed": "stands in the picture's address",
    "user": "is me",
    "id": "a number of ours",
    "app_id": "shown once, with the user",
    "avatar": "stands in the picture's address",
    "avatar_draft": "stands in the picture's address",
    "board": "shown by its key",
    "group": "shown by its openGId",
    "scope": "shown by its openGId",
    "steps": "would tell a forger what an envelope failed at",
    "cause": "would tell a forger what an envelope failed at",
    "everyone": "is about no one person",
    "window": "follows from the period",
    "membership": "shown by its group and member",
    "shown": "is a digest of what another member showed",
    "outcome": "is about another member",
    "settled_at": "is about another member",
}


def personal() -> dict[Any, list[Any]]:
    """Return the models about a person, with their columns."""
    models = [m for m in apps.get_models() if m._meta.app_label in {"accounts", "audit", "groups"}]
    about = [
        model
        for model in models
        if model is WeChatUser
        or any(f.name == "user" and f.related_model is WeChatUser for f in model._meta.fields)
    ]
    assert {m.__name__ for m in about} >= {"WeChatUser", "Token", "Consent", "Membership", "Score"}
    return {model: list(model._meta.fields) for model in about}


def test_every_personal_column_is_in_my_data_or_has_a_reason(lived_in: Person) -> None:
    data = lived_in.get("me/data").content.decode()
    keys = set(re.findall(r'"(\w+)":', data))
    spelt = {"created_at": {"firstSeen", "createdAt", "sentAt"}, "session_key_at": {"sessionSince"}}
    spelt |= {"stale_count": {"staleEnvelopes"}, "nickname_draft": {"nickname"}}
    spelt |= {"group_openid": {"groupOpenId"}}
    spelt |= {"alias_draft": {"alias"}, "nickname": {"shownNickname"}, "alias": {"shownAlias"}}
    for model, fields in personal().items():
        for field in fields:
            camel = re.sub("_([a-z])", lambda hit: hit[1].upper(), field.name)
            names = spelt.get(field.name, {camel, field.name.replace("_", "")})
            assert keys & names or field.name in UNTOLD, f"{model.__name__}.{field.name}"


def test_every_personal_column_is_in_the_privacy_notes() -> None:
    text = PRIVACY.read_text()
    rows = {line.split("|")[1] for line in text.splitlines() if line.startswith("| `")}
    outliving = {model: list(model._meta.fields) for model in (Tombstone, Erasure)}
    for model, fields in {**personal(), **outliving}.items():
        mine = " ".join(row for row in rows if f"`{model.__name__.lower()}." in row)
        for field in fields:
            if field.name not in {"id", "user"}:
                assert re.search(rf"[`.]{field.name}`", mine), f"{model.__name__}.{field.name}"


def test_what_logs_hold_of_people_is_in_the_privacy_notes() -> None:
    logged = re.findall(r"^\| log: `(\w+)` \|", PRIVACY.read_text(), re.MULTILINE)
    assert logged == ["client", "userId", "operator"]
    nothing_of_people = {
        *("method", "route", "status", "ms", "bytes"),
        *("alarm", "errcode", "rid", "address", "way"),
    }
    assert set(EXTRAS) - nothing_of_people == {"client", "operator"}
    assert "six months" in PRIVACY.read_text() and "六个月" in PRIVACY.read_text()


# Agreeing


def test_consent_is_recorded_with_its_purposes_time_and_version(alice: Person) -> None:
    asked = {"version": "2026-11", "purposes": ["nickname", "avatar"]}
    first = alice.post("me/consent", asked).json()["consents"]
    assert [(c["purpose"], c["version"]) for c in first] == [
        ("nickname", "2026-11"),
        ("avatar", "2026-11"),
    ]
    with later(hours=1):
        assert alice.post("me/consent", asked).json()["consents"] == first, "the first time counts"
        newer = alice.post("me/consent", {**asked, "version": "2026-12"}).json()["consents"]
    assert len(newer) == 4 and newer[:2] == first
    assert Consent.objects.filter(user=alice.user).count() == 4


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"version": "1"},
        {"version": "", "purposes": ["nickname"]},
        {"version": "x" * 33, "purposes": ["nickname"]},
        {"version": "1", "purposes": []},
        {"version": "1", "purposes": ["everything"]},
        {"version": "1", "purposes": "nickname"},
        {"version": 1, "purposes": ["nickname"]},
    ],
)
def test_a_consent_without_purposes_or_version_is_invalid(alice: Person, body: Any) -> None:
    refused(alice.post("me/consent", body), 400, "invalid")
    assert not Consent.objects.exists()


# Erasing


def test_an_erasure_leaves_no_row_no_file_and_no_name(
    lived_in: Person, bob: Person, olga: Browser
) -> None:
    for key in ("block", "unblock"):
        olga.post(f"/admin/act/{key}/{lived_in.user.pk}/", {"reason": "举报"})
    user, picture = lived_in.user, urlsplit(lived_in.get("me").json()["avatar"]).path
    page = urlsplit(lived_in.post(f"groups/{FAMILY}/link").json()["url"]).path
    assert lived_in.delete("me").status_code == 204
    kept = str(everything_stored())
    for canary in (user.openid, user.unionid, "小明", DOUBTFUL, "三班小明"):
        assert canary not in kept, canary
    for key in (user.avatar, user.avatar_draft, user.avatar_seed):
        assert key and key not in kept
    assert stored_avatars() == []
    assert Browser().get(picture).status_code == 404
    refused(lived_in.get("me"), 401, "invalid_token")
    assert Browser().get(page).status_code == 404
    ranking = bob.get(f"groups/{FAMILY}/ranking").json()
    assert [e["member"]["nickname"] for e in ranking["entries"]] == ["李雷"]
    assert ranking["total"] == ranking["group"]["memberCount"] == 1
    assert not Tombstone.objects.filter(blocked=True).exists()


def test_an_erased_member_who_comes_back_is_new(lived_in: Person) -> None:
    before = lived_in.body["user"]["id"]
    lived_in.delete("me")
    lived_in.token = ""
    lived_in.log_in()
    assert lived_in.body["user"]["id"] != before
    assert lived_in.body["user"]["nickname"] == ""
    assert lived_in.get("groups").json()["groups"] == []


def test_an_erasure_leaves_the_data_of_others(lived_in: Person, bob: Person) -> None:
    before = bob.get("me/data").json()
    lived_in.delete("me")
    assert bob.get("me/data").json() == before


def test_no_member_is_erased_in_part_while_the_storage_is_unavailable(
    lived_in: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(name: str) -> None:
        raise OSError("no route to the storage")

    with monkeypatch.context() as patch:
        patch.setattr("accounts.avatars.storage.default_storage.delete", away)
        refused(lived_in.delete("me"), 503, "unavailable")
    assert lived_in.get("me").status_code == 200
    assert lived_in.delete("me").status_code == 204


def block(person: Person, status: str = "blocked") -> None:
    WeChatUser.objects.filter(pk=person.user.pk).update(status=status)


def test_a_block_outlives_an_erasure(lived_in: Person) -> None:
    block(lived_in)
    refused(lived_in.get("me"), 403, "user_blocked")
    assert lived_in.get("me/data").json()["user"]["status"] == "blocked"
    openid = lived_in.user.openid
    assert lived_in.delete("me").status_code == 204
    assert openid not in str(everything_stored())
    refused(lived_in.post("login", {"code": lived_in.phone.login()}), 403, "user_blocked")
    comer = WeChatUser.objects.get(openid=openid)
    WeChatUser.objects.filter(pk=comer.pk).update(status="active")
    lived_in.token = ""
    lived_in.log_in()
    assert lived_in.delete("me").status_code == 204
    lived_in.token = ""
    assert lived_in.log_in().get("me").status_code == 200, "an operator's pardon outlives it too"


def test_a_blocked_member_may_only_see_and_erase_their_data(lived_in: Person) -> None:
    block(lived_in)
    for method, path in (
        ("GET", "groups"),
        ("PUT", "me"),
        ("POST", "me/avatar"),
        ("POST", "me/consent"),
        ("POST", "logout"),
        ("GET", f"groups/{FAMILY}/ranking"),
    ):
        refused(lived_in.call(method, path), 403, "user_blocked")


def test_a_lock_of_binding_outlives_an_erasure(alice: Person) -> None:
    for _ in range(10):
        refused(alice.post("groups/bind", GARBAGE), 409, "session_stale")
    alice.delete("me")
    alice.token = ""
    alice.log_in()
    refused(alice.post("groups/bind", alice.envelope("family")), 429, "bind_locked")
    with later(hours=1, minutes=1):
        alice.enter("family")


def test_the_daily_limit_of_new_groups_outlives_an_erasure(alice: Person) -> None:
    now = timezone.now()
    Group.objects.bulk_create(
        Group(app_id=APP_ID, open_gid=f"g{n}", founded_by=alice.user, created_at=now)
        for n in range(FOUNDING_LIMIT - 1)
    )
    for _ in range(2):
        alice.delete("me")
        alice.token = ""
        alice.log_in()
    alice.enter("the hundredth")
    refused(alice.post("groups/bind", alice.envelope("one more")), 429, "throttled")
    with later(days=1, minutes=1):
        alice.enter("tomorrow")


def test_a_tombstone_is_found_under_every_key(lived_in: Person, settings: Any) -> None:
    block(lived_in)
    openid = lived_in.user.openid
    lived_in.delete("me")
    first = Tombstone.objects.get().digest
    settings.FIELD_KEYS = ["bmV3LWtleS1vZi10aGlydHktdHdvLWJ5dGVzLWhlcmU=", *settings.FIELD_KEYS]
    kept = Tombstone.objects.of(APP_ID, openid)
    assert kept and kept.digest == first and kept.blocked
    settings.FIELD_KEYS = settings.FIELD_KEYS[:1]
    assert Tombstone.objects.of(APP_ID, openid) is None


# Erased while something else is under way


LATE = {
    "renaming": ("PUT", "me", {"nickname": "新名字"}),
    "agreeing": ("POST", "me/consent", {"version": "1", "purposes": ["groups"]}),
    "an envelope that does not open": ("POST", "groups/bind", GARBAGE),
    "erasing": ("DELETE", "me", None),
}


@pytest.mark.parametrize(("method", "path", "body"), LATE.values(), ids=LATE)
def test_a_call_during_an_erasure_answers_invalid_token(
    alice: Person, monkeypatch: pytest.MonkeyPatch, method: str, path: str, body: Any
) -> None:
    overtake(monkeypatch, alice)
    refused(alice.call(method, path, body), 401, "invalid_token")
    assert not WeChatUser.objects.exists()


def test_a_bind_and_an_upload_during_an_erasure_store_nothing(
    alice: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    sealed = alice.envelope("family")
    proof = ticket(alice.post("groups/resolve", sealed).json())
    overtake(monkeypatch, alice)
    for answer in (alice.post("groups/bind", proof),):
        refused(answer, 401, "invalid_token")
    assert not Membership.objects.exists() and not Group.objects.exists()


def test_an_upload_during_an_erasure_leaves_no_file(
    alice: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    overtake(monkeypatch, alice)
    refused(alice.upload(), 401, "invalid_token")
    assert stored_avatars() == []


def overtake(monkeypatch: pytest.MonkeyPatch, person: Person) -> None:
    """Erase the person between the call's authentication and its work."""
    valid = Token.objects.valid

    def and_gone(*args: Any) -> Any:
        row = valid(*args)
        WeChatUser.objects.filter(pk=row.user_id).delete()
        return row

    monkeypatch.setattr("accounts.models.TokenManager.valid", lambda self, *args: and_gone(*args))


# Retention


@pytest.fixture
def long_ago(lived_in: Person, bob: Person) -> Any:
    """Make everything of Alice's and Bob's 440 days old; Bob has come again since."""
    travel = time_machine.travel(time.time() + timedelta(days=440).total_seconds(), tick=True)
    travel.start()
    bob.token = ""
    bob.log_in().enter("family")
    yield
    travel.stop()


def purge(*rules: str, **options: Any) -> str:
    from io import StringIO

    out = StringIO()
    call_command("purge", *rules, stdout=out, **options)
    return out.getvalue()


@pytest.mark.usefixtures("long_ago")
def test_a_dry_run_counts_and_deletes_nothing() -> None:
    before = everything_stored()
    output = purge(dry_run=True)
    assert everything_stored() == before
    assert "memberships: 1 would go" in output and "scores: 6 would go" in output


@pytest.mark.usefixtures("long_ago")
def test_a_purge_deletes_what_has_expired_and_nothing_else(bob: Person) -> None:
    alice_pk = WeChatUser.objects.get(nickname="小明").pk
    output = purge()
    assert not WeChatUser.objects.filter(pk=alice_pk).exists()
    assert stored_avatars() == []
    assert Membership.objects.get().user == bob.user
    assert {s.period for s in Score.objects.all()} >= {"all"} and all(
        score.user_id == bob.user.pk for score in Score.objects.all()
    )
    assert bob.get(f"groups/{FAMILY}/ranking?period=all").json()["me"]["score"] == 2
    assert Token.objects.get().user == bob.user
    assert "memberships: 1 gone" in output and "people: 1 gone" in output
    assert "0 would go" in purge("people", dry_run=True)


def test_scores_of_old_periods_are_deleted_and_those_of_all_time_stay(
    alice: Person, group: Group
) -> None:
    board, now = Board.objects.active_days(), timezone.now()
    keys = {"2024-02-29": 0, "2024-W09": 0, "2024-02": 0, "all": 1, "2025-11-23": 1}
    Score.objects.all().delete()
    with time_machine.travel("2026-11-25T12:00:00+08:00", tick=False):
        edge = ["2025-10-20", "2025-10-21", "2025-W42", "2025-W43", "2025-09", "2025-10"]
        for key in (*keys, *edge):
            window = Period.parse(key, timezone.now()).window
            Score.objects.create(
                board=board,
                window=window,
                period=key,
                scope=group.pk,
                user=alice.user,
                value=1,
                achieved_at=now,
            )
        purge("scores")
        kept = set(Score.objects.values_list("period", flat=True))
    assert kept == {"all", "2025-11-23", "2025-10-21", "2025-W43", "2025-10"}


def test_a_purge_deletes_in_batches_and_reports_its_progress(
    alice: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("groups.retention.BATCH", 2)
    user, then = alice.user, timezone.now() - timedelta(days=40)
    Token.objects.bulk_create(
        Token(user=user, digest=str(n), created_at=then, expires_at=then) for n in range(5)
    )
    output = purge("tokens")
    assert output.splitlines() == [
        "tokens: 2/5",
        "tokens: 4/5",
        "tokens: 5/5",
        "tokens: 5 gone",
    ]
    assert alice.get("me").status_code == 200


def test_files_that_no_row_names_are_deleted_after_an_hour(alice: Person, media: Path) -> None:
    alice.upload()
    mine = stored_avatars()
    (media / "avatars" / f"{'x' * 22}-96.webp").write_bytes(b"cut short")
    assert "files: 0 gone" in purge("files")
    with later(hours=2):
        assert "files: 1 gone" in purge("files")
    assert stored_avatars() == mine


def test_an_unknown_rule_is_refused_by_name() -> None:
    with pytest.raises(CommandError, match="holidays"):
        purge("holidays")


def test_a_membership_that_is_proven_again_during_a_purge_stays(
    alice: Person, group: Group, monkeypatch: pytest.MonkeyPatch
) -> None:
    from groups import retention

    def overtaken(rows: Any) -> int:
        Membership.objects.update(verified_at=timezone.now())
        return delete(rows)

    delete = retention.delete_memberships
    rule = retention.Rule(retention.stale_memberships, overtaken)
    monkeypatch.setitem(retention.RULES, "memberships", rule)
    Membership.objects.update(verified_at=timezone.now() - timedelta(days=500))
    purge("memberships")
    assert Membership.objects.count() == 2
    assert Score.objects.count() == 2 * len(Window)


def test_every_table_about_members_has_its_end(db: None) -> None:
    """List how the rows of each table end; a new table about members is added here."""
    ends = {
        *("accounts_wechatuser", "accounts_token", "accounts_avatarcheck", "accounts_tombstone"),
        "accounts_erasure",  # once no backup can be older
        *("groups_membership", "groups_score", "groups_idempotencykey", "groups_report"),
        "accounts_consent",  # with the person
        *("audit_attempt", "audit_watch"),  # within a day, or with the person
        "audit_phonefailure",  # within a day, and about no member
        *("groups_group", "groups_board", "groups_serverkey"),  # about no member
        *("groups_verificationfile", "accounts_tombstonekey", "groups_transfer"),  # nor are these
        "audit_auditevent",  # names members by a number that ends with them
    }
    tables = {
        t
        for t in connection.introspection.table_names()
        if t.startswith(("accounts_", "audit_", "groups_"))
    }
    assert tables == ends
