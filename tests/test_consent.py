"""Consent withdrawn, by the person or by WeChat's push; accounts closed; logged out everywhere."""

import csv
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.core.management import call_command
from django.test import Client as Browser
from django.utils import timezone

from accounts.models import AvatarCheck, Consent, WeChatUser
from accounts.withdrawals import obey
from audit.models import AuditEvent
from groups.models import Group, Membership, Score
from tests.cast import (
    DOUBTFUL,
    FAMILY,
    Person,
    check_of,
    deliver,
    everything_stored,
    later,
    push_verdict,
    refused,
    stored_avatars,
)
from tests.settings import APP_ID, OTHER_APP_ID
from wechat.client import Suggestion
from wechat.push import Withdrawal, channel_for
from wechat.sandbox import Sandbox

pytestmark = pytest.mark.usefixtures("media")

COMMITTED = pytest.mark.django_db(transaction=True)  # files are deleted after the commit

REVOKE, MODIFIED, CANCELLED = (
    "user_authorization_revoke",
    "user_info_modified",
    "user_authorization_cancellation",
)
NAMES, PICTURES = {"nickname"}, {"avatar"}
INFO = {"6": NAMES | PICTURES, "14": PICTURES, "19": NAMES, "20": PICTURES, "12": set()}


def event(person: Person, name: str, at: float | None = None, **more: Any) -> dict[str, Any]:
    """Return what WeChat pushes about a person."""
    return {
        "ToUserName": "gh_870882ca4b1",
        "FromUserName": "o_of_wechat_itself",
        "CreateTime": int(time.time() if at is None else at),
        "MsgType": "event",
        "Event": name,
        "OpenID": person.openid,
        "AppID": APP_ID,
        **more,
    }


def push(message: dict[str, Any], *, safe: bool = True, xml: bool = False) -> Any:
    query, body = channel_for(APP_ID).write(message, safe=safe, xml=xml)
    return deliver(query, body)


def obeyed(message: dict[str, Any], **how: bool) -> None:
    answer = push(message, **how)
    assert (answer.status_code, answer.content) == (200, b"success")


@pytest.fixture
def seen(alice: Person, group: Group) -> Person:
    """Give Alice names and pictures, shown and awaiting review, and consents to all of it."""
    push_verdict(check_of(alice.upload()), Suggestion.PASS)
    alice.upload()
    alice.put("me", {"nickname": DOUBTFUL})
    mine = f"groups/{FAMILY}/membership"
    alice.put(mine, {"alias": "三班小明"})
    alice.put(mine, {"alias": f"{DOUBTFUL}二"})
    for version in ("2026-10", "2026-11"):
        purposes = ["nickname", "avatar", "groups"]
        alice.post("me/consent", {"version": version, "purposes": purposes})
    return alice


def kept(person: Person) -> dict[str, Any]:
    """Return what is there of what consent is given for, by purpose."""
    user = person.user
    [membership] = user.memberships.all()
    consents = {consent.purpose for consent in user.consents.all()}
    names = (user.nickname, user.nickname_draft, membership.alias, membership.alias_draft)
    pictures = (user.avatar, user.avatar_draft, *user.avatar_checks.values_list("avatar"))
    return {
        "nickname": (any(names), "nickname" in consents),
        "avatar": (any(pictures), "avatar" in consents),
        "groups": (membership.left_at is None, "groups" in consents),
    }


ALL = {"nickname": (True, True), "avatar": (True, True), "groups": (True, True)}
NONE = (False, False)


def audited() -> list[tuple[str, str, str]]:
    """Return what the audit says of withdrawals: action, who, purpose."""
    events = AuditEvent.objects.filter(action__in=["withdraw_consent", "close_account"])
    return [
        (each.action, each.operator_name, each.details.get("purpose", ""))
        for each in events.order_by("pk")
    ]


# By the person


@COMMITTED
@pytest.mark.parametrize("purpose", ALL)
def test_a_withdrawal_deletes_at_once_what_it_was_for_and_nothing_else(
    seen: Person, bob: Person, purpose: str
) -> None:
    assert kept(seen) == ALL
    answer = seen.delete(f"me/consent/{purpose}")
    assert answer.status_code == 200
    left = answer.json()["consents"]
    assert [each["purpose"] for each in left] == [p for p in ALL if p != purpose] * 2
    assert seen.get("me/consent").json() == answer.json()
    assert kept(seen) == ALL | {purpose: NONE}
    assert audited() == [("withdraw_consent", "member", purpose)]
    assert bool(stored_avatars()) is (purpose != "avatar")
    before = everything_stored()
    assert seen.delete(f"me/consent/{purpose}").json() == answer.json(), "twice changes once"
    assert everything_stored() == before


def test_others_see_no_withdrawn_name_and_picture(seen: Person, bob: Person) -> None:
    picture = bob.sees(seen)["avatar"]
    assert bob.sees(seen)["nickname"] == "三班小明"
    seen.delete("me/consent/nickname")
    assert bob.sees(seen)["nickname"] == "微信用户"
    seen.delete("me/consent/avatar")
    assert bob.sees(seen)["avatar"] != picture
    me = seen.get("me").json()
    assert (me["nickname"], me["nicknameState"], me["avatarState"]) == ("", "approved", "approved")
    assert WeChatUser.objects.filter(review_since=None, pk=seen.user.pk).exists()
    seen.rename("小明")
    assert bob.sees(seen)["nickname"] == "小明", "they may set another"


def test_who_withdraws_groups_has_left_them_and_may_come_back(seen: Person, bob: Person) -> None:
    scores = Score.objects.filter(user=seen.user).count()
    seen.delete("me/consent/groups")
    assert seen.get("groups").json()["groups"] == []
    refused(seen.get(f"groups/{FAMILY}"), 404, "not_found")
    assert bob.get(f"groups/{FAMILY}").json()["memberCount"] == 1
    assert Score.objects.filter(user=seen.user).count() == scores
    answer = seen.post("groups/bind", seen.envelope("family"))
    assert (answer.status_code, answer.json()["created"]) == (201, True)


def test_my_consents_are_listed_the_oldest_first(alice: Person) -> None:
    assert alice.get("me/consent").json() == {"consents": []}
    given = alice.post("me/consent", {"version": "1", "purposes": ["groups"]}).json()
    with later(hours=1):
        given = alice.post("me/consent", {"version": "1", "purposes": ["avatar"]}).json()
    assert alice.get("me/consent").json() == given
    assert [each["purpose"] for each in given["consents"]] == ["groups", "avatar"]


@pytest.mark.parametrize("purpose", ["everything", "Avatar", "steps", "nickname%20", "1"])
def test_an_unknown_purpose_is_not_found_and_changes_nothing(seen: Person, purpose: str) -> None:
    refused(seen.delete(f"me/consent/{purpose}"), 404, "not_found")
    assert kept(seen) == ALL and audited() == []


def test_a_body_beside_the_purpose_is_refused(seen: Person) -> None:
    refused(seen.call("DELETE", "me/consent/avatar", {"version": "1"}), 400, "invalid")
    assert kept(seen) == ALL


def test_a_blocked_member_may_read_and_withdraw_but_not_agree(seen: Person) -> None:
    seen.user.__class__.objects.filter(pk=seen.user.pk).update(status="blocked")
    assert seen.get("me/consent").status_code == 200
    assert seen.delete("me/consent/avatar").status_code == 200
    assert kept(seen)["avatar"] == NONE
    body = {"version": "9", "purposes": ["avatar"]}
    refused(seen.post("me/consent", body), 403, "user_blocked")


def test_my_data_shows_what_is_left_and_since_when(seen: Person) -> None:
    data = seen.get("me/data").json()
    for name in ("nicknameAt", "nicknameDraftAt", "avatarAt", "avatarDraftAt"):
        assert data["user"][name], name
    [membership] = data["memberships"]
    assert membership["aliasAt"] and membership["aliasDraftAt"]
    for purpose in ("nickname", "avatar"):
        seen.delete(f"me/consent/{purpose}")
    data = seen.get("me/data").json()
    for name in ("nicknameAt", "nicknameDraftAt", "avatarAt", "avatarDraftAt"):
        assert data["user"][name] is None, name
    assert data["memberships"][0]["aliasAt"] is data["memberships"][0]["aliasDraftAt"] is None
    assert data["avatarChecks"] == []
    assert {each["purpose"] for each in data["consents"]} == {"groups"}


# By WeChat's push


@COMMITTED
@pytest.mark.parametrize("xml", [True, False], ids=["XML", "JSON"])
@pytest.mark.parametrize("info", INFO)
def test_a_pushed_withdrawal_clears_what_its_number_concerns(
    seen: Person, info: str, xml: bool
) -> None:
    obeyed(event(seen, REVOKE, RevokeInfo=info), xml=xml)
    cleared = INFO[info]
    assert kept(seen) == ALL | dict.fromkeys(cleared, NONE)
    assert audited() == [("withdraw_consent", "WeChat", purpose) for purpose in sorted(cleared)]
    assert bool(stored_avatars()) is ("avatar" not in cleared)


@pytest.mark.parametrize("xml", [True, False], ids=["XML", "JSON"])
def test_a_profile_changed_in_wechat_clears_name_and_picture(seen: Person, xml: bool) -> None:
    obeyed(event(seen, MODIFIED), xml=xml)
    assert kept(seen) == ALL | {"nickname": NONE, "avatar": NONE}


@pytest.mark.parametrize("xml", [True, False], ids=["XML", "JSON"])
def test_a_closed_account_is_erased(seen: Person, bob: Person, xml: bool) -> None:
    openid = seen.openid
    obeyed(event(seen, CANCELLED), xml=xml)
    refused(seen.get("me"), 401, "invalid_token")
    assert not WeChatUser.objects.filter(openid=openid).exists()
    assert stored_avatars() == []
    assert audited() == [("close_account", "WeChat", "")]
    stored = str(everything_stored())
    assert openid not in stored and DOUBTFUL not in stored
    assert bob.get(f"groups/{FAMILY}").json()["memberCount"] == 1


def test_closing_an_account_sheds_no_block(seen: Person) -> None:
    WeChatUser.objects.filter(pk=seen.user.pk).update(status="blocked")
    obeyed(event(seen, CANCELLED))
    refused(seen.post("login", {"code": seen.phone.login()}), 403, "user_blocked")


@pytest.mark.parametrize("name", [REVOKE, MODIFIED, CANCELLED])
def test_a_repetition_and_a_push_about_strangers_change_nothing(seen: Person, name: str) -> None:
    message = event(seen, name, RevokeInfo="6")
    obeyed(event(seen, name, RevokeInfo="6") | {"OpenID": "o_of_a_stranger"})
    assert kept(seen) == ALL
    obeyed(message)
    before = everything_stored()
    for xml in (True, False):
        obeyed(message, xml=xml)
    assert everything_stored() == before


def test_a_late_repetition_clears_nothing_newer(seen: Person, bob: Person) -> None:
    message = event(seen, REVOKE, RevokeInfo="6")
    obeyed(message)
    with later(seconds=5):
        seen.rename("新名字")
        push_verdict(check_of(seen.upload()), Suggestion.PASS)
        seen.put(f"groups/{FAMILY}/membership", {"alias": "新别名"})
        seen.post("me/consent", {"version": "2026-11", "purposes": ["nickname", "avatar"]})
        now = kept(seen)
        for _ in range(2):
            obeyed(message)
        assert kept(seen) == now == ALL
        assert bob.sees(seen)["nickname"] == "新别名"


def test_a_push_that_comes_late_clears_what_is_older_and_keeps_what_is_newer(
    alice: Person, group: Group, make_person: Any
) -> None:
    """Set a doubtful name before the event and another after; then an avatar likewise."""
    alice.put("me", {"nickname": DOUBTFUL})
    push_verdict(check_of(alice.upload()), Suggestion.PASS)
    at = time.time()
    with later(seconds=5):
        alice.put("me", {"nickname": f"{DOUBTFUL}二"})
        newer = check_of(alice.upload()).avatar
        obeyed(event(alice, REVOKE, at, RevokeInfo="6"))
        user = alice.user
        assert (user.nickname, user.nickname_draft) == ("", f"{DOUBTFUL}二")
        assert (user.avatar, user.avatar_draft, user.avatar_state) == ("", newer, "pending")
        assert user.review_since


def test_a_draft_approved_after_the_event_is_as_old_as_when_it_was_sent(
    alice: Person, group: Group
) -> None:
    check = check_of(alice.upload())
    at = time.time() + 1
    with later(seconds=60):
        push_verdict(check, Suggestion.PASS)
        assert alice.user.avatar == check.avatar
        obeyed(event(alice, REVOKE, at, RevokeInfo="20"))
        assert alice.user.avatar == ""


@pytest.mark.parametrize(("second", "cleared"), [(-1, False), (0, True), (1, True)])
def test_what_was_set_up_to_the_second_of_the_event_is_cleared(
    make_person: Any, second: int, cleared: bool
) -> None:
    dana = make_person("dana", "丹娜")
    at = dana.user.nickname_at
    assert isinstance(at, datetime)
    obeyed(event(dana, REVOKE, int(at.timestamp()) + second, RevokeInfo="19"))
    assert (dana.user.nickname == "") is cleared


def test_what_was_set_before_times_were_kept_is_cleared(seen: Person) -> None:
    WeChatUser.objects.update(nickname_at=None, nickname_draft_at=None)
    Membership.objects.update(alias_at=None, alias_draft_at=None)
    obeyed(event(seen, REVOKE, RevokeInfo="19"))
    assert kept(seen)["nickname"] == NONE


def test_an_account_that_began_after_the_old_one_was_closed_stays(make_person: Any) -> None:
    dana = make_person("dana", "丹娜")
    message = event(dana, CANCELLED, dana.user.created_at.timestamp() - 1)
    obeyed(message)
    assert dana.user.nickname == "丹娜" and audited() == []


def test_a_withdrawal_of_another_mini_program_does_not_concern_its_namesake(
    seen: Person, settings: Any
) -> None:
    obey(OTHER_APP_ID, Withdrawal(seen.openid, int(time.time()), frozenset({"nickname"})))
    assert kept(seen) == ALL


@pytest.mark.parametrize("name", [REVOKE, MODIFIED, CANCELLED])
def test_plain_pushes_withdraw_nothing(seen: Person, settings: Any, name: str) -> None:
    message = event(seen, name, RevokeInfo="6")
    assert push(message, safe=False).status_code == 403, "where there is an EncodingAESKey"
    [channel] = settings.WECHAT_PUSH.values()
    settings.WECHAT_PUSH = {APP_ID: channel | {"AES_KEY": ""}}
    obeyed(message, safe=False)
    assert kept(seen) == ALL and audited() == [], "acknowledged and ignored: it proves nothing"


def test_a_push_without_an_openid_or_a_time_is_refused(seen: Person) -> None:
    for wrong in ({"OpenID": ""}, {"CreateTime": "soon"}):
        assert push(event(seen, REVOKE, RevokeInfo="6") | wrong).status_code == 403
    assert kept(seen) == ALL


@pytest.mark.parametrize("path", [f"/wechat/push/{APP_ID}", f"/wechat/push/{APP_ID}/"])
def test_the_push_address_is_good_with_and_without_its_final_slash(seen: Person, path: str) -> None:
    query, body = channel_for(APP_ID).write(event(seen, MODIFIED), safe=True, xml=True)
    browser = Browser(enforce_csrf_checks=True)
    answer = browser.post(path, body, content_type="text/xml", query_params=query)
    assert (answer.status_code, answer.content) == (200, b"success")
    assert browser.get(path, {**query, "echostr": "hello"}).content == b"hello"
    assert kept(seen)["nickname"] == NONE


def test_the_storage_being_away_lets_wechat_push_again(
    seen: Person, settings: Any, tmp_path: Any
) -> None:
    (tmp_path / "a file").write_text("in the way")
    media, settings.MEDIA_ROOT = settings.MEDIA_ROOT, tmp_path / "a file"
    message = event(seen, CANCELLED)
    assert push(message).status_code == 503
    assert seen.user and audited() == []
    settings.MEDIA_ROOT = media
    obeyed(message)
    assert audited() == [("close_account", "WeChat", "")]


def test_a_withdrawal_that_an_erasure_overtakes_is_done(
    seen: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in (REVOKE, CANCELLED):
        message = event(seen, name, RevokeInfo="6")
        monkeypatch.setattr("accounts.models.WeChatUserManager.lock", gone)
        obeyed(message)


def gone(*args: Any) -> None:
    raise WeChatUser.DoesNotExist


def test_a_verdict_on_a_withdrawn_picture_does_not_bring_it_back(seen: Person) -> None:
    check = AvatarCheck.objects.get(suggestion="")
    obeyed(event(seen, REVOKE, RevokeInfo="14"))
    push_verdict(check, Suggestion.PASS)
    assert (seen.user.avatar, seen.user.avatar_draft) == ("", "")


@pytest.mark.parametrize(
    ("act", "cleared"),
    [
        (lambda phone: phone.revoke_authorization("20"), PICTURES),
        (lambda phone: phone.modify_user_info(), NAMES | PICTURES),
    ],
)
def test_the_sandbox_pushes_what_the_site_obeys(
    seen: Person, sandbox: Sandbox, monkeypatch: Any, act: Callable[[Any], None], cleared: set[str]
) -> None:
    """Hand over what the sandbox would send: a test client has no port."""
    sent: list[Any] = []
    monkeypatch.setattr(sandbox.state.outbox, "put", sent.append)
    act(seen.phone)
    [item] = sent
    obeyed(item.fields)
    assert kept(seen) == ALL | dict.fromkeys(cleared, NONE)


# In the console


def test_the_audit_says_who_withdrew_what_without_a_name(seen: Person, olga: Browser) -> None:
    seen.delete("me/consent/nickname")
    obeyed(event(seen, REVOKE, RevokeInfo="14"))
    number = seen.user.pk
    stored = str(list(AuditEvent.objects.values()))
    assert seen.openid not in stored and "小明" not in stored and DOUBTFUL not in stored
    page = olga.get("/admin/audit/auditevent/").content.decode()
    assert page.count("撤回同意") >= 2 and "成员本人" in page and ">微信<" in page
    shown = olga.get("/admin/audit/auditevent/", headers={"Accept-Language": "en"})
    assert "Withdraw a consent" in shown.content.decode()
    assert "the member" in shown.content.decode()
    event_page = AuditEvent.objects.latest("pk")
    assert olga.get(f"/admin/audit/auditevent/{event_page.pk}/change/").status_code == 200
    assert olga.get(f"/admin/accounts/wechatuser/{number}/change/").status_code == 200
    exported = b"".join(olga.get("/admin/export/audit.csv")).decode("utf-8-sig")
    rows = [row for row in csv.reader(exported.splitlines()) if "撤回同意" in row]
    assert sorted(row[1] for row in rows) == ["微信", "成员本人"]


# What goes on as before


def test_an_erasure_and_the_purge_take_consents_with_them(seen: Person) -> None:
    seen.delete("me/consent/nickname")
    call_command("purge", verbosity=0)
    assert Consent.objects.filter(user=seen.user).count() == 4
    assert seen.delete("me").status_code == 204
    assert not Consent.objects.exists()


# Logging out


def test_a_log_out_everywhere_ends_all_my_tokens_and_no_others(alice: Person, bob: Person) -> None:
    other_phone = Person("alice", alice.phone).log_in()
    answer = alice.post("logout", {"everywhere": True})
    assert (answer.status_code, answer.content) == (204, b"")
    for phone in (alice, other_phone):
        refused(phone.get("me"), 401, "invalid_token")
    assert bob.get("me").status_code == 200
    assert alice.log_in().get("me").json()["nickname"] == "小明"


@pytest.mark.parametrize("body", [None, {}, {"everywhere": False}], ids=str)
def test_a_plain_log_out_ends_this_token_alone(alice: Person, body: Any) -> None:
    other_phone = Person("alice", alice.phone).log_in()
    assert alice.post("logout", body).status_code == 204
    refused(alice.get("me"), 401, "invalid_token")
    assert other_phone.get("me").status_code == 200


@pytest.mark.parametrize("wrong", [{"everywhere": "yes"}, {"everywhere": None}, {"all": True}])
def test_a_log_out_that_cannot_be_read_ends_nothing(alice: Person, wrong: Any) -> None:
    refused(alice.post("logout", wrong), 400, "invalid")
    assert alice.get("me").status_code == 200


def test_times_are_kept_of_what_is_set(alice: Person, group: Group) -> None:
    alice.put(f"groups/{FAMILY}/membership", {"alias": "三班小明"})
    push_verdict(check_of(alice.upload()), Suggestion.PASS)
    user = alice.user
    [membership] = user.memberships.all()
    for at in (user.nickname_at, user.avatar_at, membership.alias_at):
        assert at is not None and timezone.now() - at < timedelta(minutes=1)
    assert (user.nickname_draft_at, user.avatar_draft_at, membership.alias_draft_at) == (None,) * 3
