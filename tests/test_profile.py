"""Nicknames, aliases and avatars: what others see, what awaits review, and what is refused."""

from base64 import b64encode
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import pytest
from django.test import Client as Browser
from PIL import Image

from accounts.avatars import pictures
from accounts.models import AvatarCheck, WeChatUser
from accounts.services import save_verdict
from audit.models import AuditEvent
from console.review import KINDS, items_of
from core.gates import Gate
from groups.models import Group, Membership
from tests.cast import (
    API,
    DOUBTFUL,
    FAMILY,
    GREEN,
    RED,
    RISKY,
    YELLOW,
    Person,
    check_of,
    deliver,
    fault,
    later,
    picture,
    push_verdict,
    refused,
    stored_avatars,
    verdict_event,
)
from tests.settings import APP_ID
from wechat.client import Suggestion, Verdict
from wechat.push import MediaVerdict, channel_for
from wechat.sandbox import Sandbox

pytestmark = pytest.mark.usefixtures("media")

COMMITTED = pytest.mark.django_db(transaction=True)  # files are deleted after the commit


@pytest.fixture
def unchecked(settings: Any) -> None:
    settings.CONTENT_SAFETY = False


# Names


def test_a_risky_nickname_is_refused_and_changes_nothing(alice: Person) -> None:
    body = refused(alice.put("me", {"nickname": RISKY}), 400, "invalid")
    assert list(body["fields"]) == ["nickname"]
    assert alice.get("me").json()["nickname"] == "小明"
    assert (alice.user.nickname, alice.user.nickname_draft) == ("小明", "")


def test_a_doubtful_nickname_awaits_review_and_only_its_owner_sees_it(
    alice: Person, bob: Person, group: Group
) -> None:
    answer = alice.put("me", {"nickname": DOUBTFUL}).json()
    assert (answer["nickname"], answer["nicknameState"]) == (DOUBTFUL, "pending")
    assert alice.get("me").json() == answer
    assert alice.sees(alice)["nickname"] == DOUBTFUL
    assert bob.sees(alice)["nickname"] == "小明"
    title = bob.get(f"groups/{FAMILY}").json()["title"]
    assert "小明" in title and DOUBTFUL not in title
    page = Browser().get(urlsplit(bob.post(f"groups/{FAMILY}/link").json()["url"]).path)
    assert DOUBTFUL not in page.content.decode()


def test_a_member_whose_first_name_awaits_review_is_listed_without_a_name(
    make_person: Any, bob: Person
) -> None:
    newcomer = make_person("newcomer")
    newcomer.enter("family")
    bob.enter("family")
    newcomer.put("me", {"nickname": DOUBTFUL})
    assert bob.sees(newcomer)["nickname"] == "微信用户"
    assert newcomer.sees(newcomer)["nickname"] == DOUBTFUL


@pytest.mark.parametrize("asked", ["小明", "李雷"], ids=["the old one", "a good one"])
def test_a_good_nickname_replaces_a_doubtful_one(alice: Person, asked: str) -> None:
    alice.put("me", {"nickname": DOUBTFUL})
    answer = alice.put("me", {"nickname": asked}).json()
    assert (answer["nickname"], answer["nicknameState"]) == (asked, "approved")
    assert (alice.user.nickname, alice.user.nickname_draft) == (asked, "")


def test_an_alias_is_checked_like_a_nickname(alice: Person, bob: Person, group: Group) -> None:
    mine = f"groups/{FAMILY}/membership"
    assert alice.put(mine, {"alias": "三班小明"}).json()["alias"] == "三班小明"
    body = refused(alice.put(mine, {"alias": RISKY, "hidden": True}), 400, "invalid")
    assert list(body["fields"]) == ["alias"]
    assert Membership.objects.filter(hidden=True).count() == 0
    answer = alice.put(mine, {"alias": DOUBTFUL}).json()
    assert (answer["alias"], answer["aliasState"]) == (DOUBTFUL, "pending")
    assert bob.sees(alice)["nickname"] == "三班小明"
    assert alice.sees(alice)["nickname"] == DOUBTFUL
    assert alice.put(mine, {"alias": ""}).json()["aliasState"] == "approved"
    assert alice.sees(alice)["nickname"] == bob.sees(alice)["nickname"] == "小明"


def test_no_nickname_changes_while_wechat_is_unavailable(alice: Person, sandbox: Sandbox) -> None:
    fault(sandbox, path="/wxa/msg_sec_check", times=2, errcode=-1)
    refused(alice.put("me", {"nickname": "新名字"}), 503, "wechat_unavailable")
    assert alice.get("me").json()["nickname"] == "小明"


@pytest.mark.parametrize("errcode", [61010, 40003, 43104])
def test_an_operator_reviews_what_wechat_cannot_check_of_this_person(
    alice: Person, group: Group, sandbox: Sandbox, errcode: int
) -> None:
    """Be long away, or unknown to WeChat: another's openid that a team's server sent."""
    fault(sandbox, path="/wxa/msg_sec_check", times=2, errcode=errcode)
    assert alice.put("me", {"nickname": "新名字"}).json()["nicknameState"] == "pending"
    named = alice.put(f"groups/{FAMILY}/membership", {"alias": "三班小明"})
    assert named.json()["aliasState"] == "pending"
    fault(sandbox, path="/wxa/media_check_async", errcode=errcode)
    assert alice.upload().json()["avatarState"] == "pending"
    assert not AvatarCheck.objects.exists()


def test_what_wechat_calls_risky_by_an_error_is_risky(alice: Person, sandbox: Sandbox) -> None:
    fault(sandbox, path="/wxa/msg_sec_check", errcode=87014)
    body = refused(alice.put("me", {"nickname": "新名字"}), 400, "invalid")
    assert list(body["fields"]) == ["nickname"] and alice.user.nickname == "小明"
    fault(sandbox, path="/wxa/media_check_async", errcode=87014)
    assert alice.upload().json()["avatarState"] == "pending", "an operator looks at it"


@pytest.mark.usefixtures("unchecked")
def test_without_content_safety_nothing_is_checked_and_nothing_awaits_review(
    alice: Person, sandbox: Sandbox
) -> None:
    for path in ("/wxa/msg_sec_check", "/wxa/media_check_async", "/cgi-bin/stable_token"):
        fault(sandbox, path=path, times=9, errcode=-1)
    assert alice.put("me", {"nickname": RISKY}).json()["nicknameState"] == "approved"
    assert alice.upload().json()["avatarState"] == "approved"
    for path in ("/wxa/msg_sec_check", "/wxa/media_check_async", "/cgi-bin/stable_token"):
        fault(sandbox, path=path, times=0)


# Avatars


def test_an_avatar_becomes_two_square_webps_at_an_address_that_needs_no_token(
    alice: Person, media: Path
) -> None:
    before = alice.get("me").json()["avatar"]
    answer = alice.upload().json()
    assert answer["avatar"] != before
    assert answer["avatarState"] == "pending" and answer["profileComplete"]
    files = sorted(path.name for path in (media / "avatars").iterdir())
    assert [name[22:] for name in files] == ["-192.webp", "-96.webp"]
    address = urlsplit(answer["avatar"])
    assert address.scheme and address.netloc and address.path == f"/media/avatars/{files[0]}"
    for name in files:
        got = Browser().get(f"/media/avatars/{name}")
        assert (got.status_code, got["Content-Type"]) == (200, "image/webp")
        shown = Image.open(BytesIO(got.content))
        assert (shown.format, f"-{shown.width}.webp", shown.width) == (
            "WEBP",
            name[22:],
            shown.height,
        )


def test_others_see_an_avatar_after_wechat_approved_it(
    alice: Person, bob: Person, group: Group
) -> None:
    default = bob.sees(alice)["avatar"]
    check = check_of(answer := alice.upload())
    mine = answer.json()["avatar"]
    assert bob.sees(alice)["avatar"] == default
    assert alice.sees(alice)["avatar"] == mine
    push_verdict(check, Suggestion.PASS)
    assert bob.sees(alice)["avatar"] == mine
    assert alice.get("me").json()["avatarState"] == "approved"


@COMMITTED
def test_a_risky_avatar_is_deleted_and_its_owner_sees_that_it_was_refused(
    alice: Person, bob: Person, group: Group
) -> None:
    push_verdict(check_of(alice.upload()), Suggestion.PASS)
    good, files = alice.get("me").json()["avatar"], stored_avatars()
    push_verdict(check_of(alice.upload()), Suggestion.RISKY)
    me = alice.get("me").json()
    assert (me["avatar"], me["avatarState"]) == (good, "refused")
    assert bob.sees(alice)["avatar"] == good
    assert stored_avatars() == files


def test_a_doubtful_avatar_still_awaits_review(alice: Person) -> None:
    push_verdict(check_of(alice.upload()), Suggestion.REVIEW)
    assert alice.get("me").json()["avatarState"] == "pending"
    assert len(stored_avatars()) == 2


@COMMITTED
@pytest.mark.usefixtures("unchecked")
def test_a_new_avatar_leaves_no_file_of_the_old_one(alice: Person) -> None:
    for colour in (RED, YELLOW, GREEN):
        alice.upload(picture(colour))
        assert {name[:22] for name in stored_avatars()} == {alice.user.avatar}


@COMMITTED
def test_a_second_draft_replaces_the_first(alice: Person) -> None:
    first = check_of(alice.upload())
    second = check_of(alice.upload())
    assert {name[:22] for name in stored_avatars()} == {alice.user.avatar_draft}
    push_verdict(first, Suggestion.PASS)
    assert alice.get("me").json()["avatarState"] == "pending", "the verdict is about another one"
    push_verdict(second, Suggestion.PASS)
    assert alice.user.avatar == second.avatar


BAD_UPLOADS: dict[str, tuple[dict[str, Any], int, str]] = {
    "no picture": ({"data": b"<svg onload=alert(1)>"}, 400, "invalid"),
    "an empty file": ({"data": b""}, 400, "invalid"),
    "another name": ({"name": "file"}, 400, "invalid"),
    "an unknown field": ({"hat": "x"}, 400, "invalid"),
    "2 MiB and a byte": ({"data": b"\xff\xd8\xff" + bytes(2 * 1024 * 1024 - 2)}, 413, "too_large"),
    "10 MiB": ({"data": bytes(10 * 1024 * 1024)}, 413, "too_large"),
}


@pytest.mark.parametrize("sent", BAD_UPLOADS.values(), ids=BAD_UPLOADS)
def test_a_bad_upload_is_refused_and_changes_nothing(
    alice: Person, sent: tuple[dict[str, Any], int, str]
) -> None:
    what, status, code = sent
    before = alice.get("me").json()
    refused(alice.upload(**what), status, code)
    assert alice.get("me").json() == before
    assert stored_avatars() == [] and not AvatarCheck.objects.exists()


def test_text_in_place_of_a_file_and_incomplete_forms_are_invalid(alice: Person) -> None:
    headers = {"Authorization": f"Bearer {alice.token}"}
    form = "multipart/form-data; boundary=x"
    for body in (
        b'--x\r\nContent-Disposition: form-data; name="avatar"\r\n\r\ntext\r\n--x--\r\n',
        b"--x\r\nContent-Disposition",
        b"",
    ):
        answer = Browser().post(API + "me/avatar", body, content_type=form, headers=headers)
        refused(answer, 400, "invalid")
    unbounded = Browser().post(
        API + "me/avatar", b"x", content_type="multipart/form-data", headers=headers
    )
    refused(unbounded, 400, "invalid")
    refused(alice.post("me/avatar", {"avatar": "x"}), 400, "invalid")


def test_no_avatar_is_stored_while_wechat_is_unavailable(alice: Person, sandbox: Sandbox) -> None:
    fault(sandbox, path="/wxa/media_check_async", times=2, errcode=-1)
    refused(alice.upload(), 503, "wechat_unavailable")
    assert stored_avatars() == [] and alice.user.avatar_draft == ""


def test_no_avatar_changes_while_the_storage_is_unavailable(
    alice: Person, settings: Any, tmp_path: Path
) -> None:
    (tmp_path / "a file").write_text("in the way")
    settings.MEDIA_ROOT = tmp_path / "a file"
    refused(alice.upload(), 503, "unavailable")
    assert alice.user.avatar_draft == ""


def test_media_holds_avatars_and_nothing_else(media: Path) -> None:
    media.mkdir()
    (media / "secret.webp").write_bytes(b"x")
    for path in ("/media/secret.webp", "/media/avatars/..%2fsecret.webp", "/media/avatars/x.webp"):
        assert Browser().get(path).status_code == 404, path


def test_a_default_avatar_is_drawn_only_for_an_address_that_the_site_made(alice: Person) -> None:
    path = alice.user.avatar_path
    assert Browser().get(path).status_code == 200
    assert Browser().get(path.replace(".webp", "x.webp")).status_code == 404
    assert Browser().get("/avatars/x.webp").status_code == 404
    changed = path.replace(path[10], "A" if path[10] != "A" else "B", 1)
    assert Browser().get(changed).status_code == 404


# Verdicts by push


@pytest.mark.parametrize("safe", [True, False], ids=["safe", "plain"])
@pytest.mark.parametrize("xml", [True, False], ids=["XML", "JSON"])
def test_a_verdict_is_read_in_every_mode_and_format(
    alice: Person, settings: Any, safe: bool, xml: bool
) -> None:
    if not safe:
        [channel] = settings.WECHAT_PUSH.values()
        settings.WECHAT_PUSH = {APP_ID: channel | {"AES_KEY": ""}}
    check = check_of(alice.upload())
    push_verdict(check, Suggestion.PASS, safe=safe, xml=xml)
    assert alice.user.avatar == check.avatar


@pytest.mark.parametrize("xml", [True, False], ids=["XML", "JSON"])
def test_where_there_is_a_key_a_plain_verdict_approves_nothing(alice: Person, xml: bool) -> None:
    """Forge one, as who saw a sealed push's time, nonce and signature could."""
    event = verdict_event(check_of(alice.upload()), Suggestion.PASS)
    channel = channel_for(APP_ID)
    signed, _sealed = channel.write({"Event": "debug_demo"}, safe=True, xml=xml)
    _query, body = channel.write(event, safe=False, xml=xml)
    assert deliver(signed, body).status_code == 403
    assert alice.user.avatar_state == "pending"


def test_a_sealed_verdict_is_taken_for_ten_minutes(alice: Person) -> None:
    event = verdict_event(check_of(alice.upload()), Suggestion.PASS)
    query, body = channel_for(APP_ID).write(event, safe=True, xml=False)
    with later(seconds=610):
        assert deliver(query, body).status_code == 403
    assert alice.user.avatar_state == "pending"
    with later(seconds=590):
        assert deliver(query, body).status_code == 200
    assert alice.user.avatar_state == "approved"


def test_only_the_first_verdict_counts(alice: Person) -> None:
    check = check_of(alice.upload())
    for suggestion in (Suggestion.PASS, Suggestion.PASS, Suggestion.RISKY):
        push_verdict(check, suggestion)
    assert (alice.user.avatar, alice.user.avatar_state) == (check.avatar, "approved")
    assert len(stored_avatars()) == 2


def test_a_verdict_may_come_before_the_upload_is_done(
    alice: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Receive the push first: it and WeChat's answer travel separately."""

    def quick(client: Any, openid: str, media_url: str) -> str:
        save_verdict(APP_ID, MediaVerdict("quick-1", Verdict(Suggestion.PASS, "100")))
        return "quick-1"

    monkeypatch.setattr("wechat.client.Client.check_media", quick)
    assert alice.upload().json()["avatarState"] == "approved"


def test_a_verdict_about_an_unknown_check_is_acknowledged(db: None) -> None:
    push_verdict(AvatarCheck(trace_id="of-an-erased-member"), Suggestion.PASS)
    assert not WeChatUser.objects.exists()


def test_other_events_are_acknowledged_and_not_stored(db: None) -> None:
    message = {"MsgType": "text", "Content": "你好", "FromUserName": "o1"}
    query, body = channel_for(APP_ID).write(message, safe=True, xml=True)
    assert deliver(query, body).content == b"success"
    assert not AvatarCheck.objects.exists()


def test_forged_pushes_are_refused(alice: Person) -> None:
    check = check_of(alice.upload())
    query, body = channel_for(APP_ID).write(
        verdict_event(check, Suggestion.PASS), safe=True, xml=False
    )
    for altered in (
        {**query, "msg_signature": "0" * 40, "signature": "0" * 40},
        {**query, "nonce": "1"},
        {},
    ):
        assert deliver(altered, body).status_code == 403
    assert deliver(query, body.replace(b'"Encrypt": "', b'"Encrypt": "A')).status_code == 403
    assert deliver(query, body, "wxunknown").status_code == 404
    assert deliver(query, b"x" * 300_000).status_code == 400
    assert alice.user.avatar_state == "pending"


def test_wechat_verifies_the_push_address_with_a_get(db: None) -> None:
    query, _body = channel_for(APP_ID).write({}, safe=False, xml=False)
    path = f"/wechat/push/{APP_ID}/?{urlencode({**query, 'echostr': '1234567890'})}"
    answer = Browser().get(path)
    assert (answer.status_code, answer.content) == (200, b"1234567890")
    assert answer["Content-Type"].startswith("text/plain")
    assert Browser().get(path.replace("nonce=", "nonce=1")).status_code == 403


# Operators


@COMMITTED
def test_an_operator_approves_or_refuses_what_awaits_review(
    alice: Person, bob: Person, group: Group, olga: Browser
) -> None:
    for person in (alice, bob):
        person.put("me", {"nickname": DOUBTFUL})
        person.upload()
        person.put(f"groups/{FAMILY}/membership", {"alias": f"{DOUBTFUL}二"})
    for verdict, user in (("approve", alice.user), ("refuse", bob.user)):
        items = [item.token for item in items_of(KINDS.values()) if item.user.pk == user.pk]
        assert len(items) == 3
        olga.post("/admin/review/", {"verdict": verdict, "reason": "不合适", "item": items})
    assert bob.sees(alice)["nickname"] == f"{DOUBTFUL}二"
    assert alice.get("me").json()["nickname"] == DOUBTFUL
    assert alice.sees(bob)["nickname"] == bob.sees(bob)["nickname"] == "李雷"
    states = [person.get("me").json()["avatarState"] for person in (alice, bob)]
    assert states == ["approved", "refused"]
    assert {name[:22] for name in stored_avatars()} == {alice.user.avatar}


def test_what_an_operator_changed_is_logged_without_the_name(alice: Person, olga: Browser) -> None:
    alice.put("me", {"nickname": DOUBTFUL})
    [item] = items_of(KINDS.values())
    decided = olga.post("/admin/review/", {"verdict": "approve", "item": item.token})
    assert decided.status_code == 302
    event = AuditEvent.objects.get()
    found = (event.operator_name, event.action, event.member_id)
    assert found == ("olga", "approve_nickname", alice.user.pk)
    stored = str(AuditEvent.objects.values())
    assert DOUBTFUL not in stored and "小明" not in stored and alice.openid not in stored


def test_those_who_cannot_wait_for_a_picture_hear_so_at_once(
    alice: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Decoding queued without bound: sixty pictures held every thread of a server."""
    gate = Gate(lambda: 1, patience=10, waiting=0)
    monkeypatch.setattr(pictures, "_gate", gate)
    with gate.place():
        answer = alice.upload()
    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
    assert answer["Retry-After"] == "3"
    assert alice.upload().status_code == 200


@pytest.mark.parametrize("name", ["x" * 101, "x" * 300, "x" * 5000])
def test_an_avatar_of_any_name_is_not_there(name: str, alice: Person) -> None:
    assert alice.browser.get(f"/media/avatars/{name}.webp").status_code == 404
    assert alice.browser.get(f"/avatars/{name}.webp").status_code == 404
    assert alice.browser.get(f"/avatars/96/{name}.webp").status_code == 404


# Other bodies than a form


def send_picture(person: Person, body: Any, kind: str) -> Any:
    headers = {"Authorization": f"Bearer {person.token}"}
    return person.browser.post(API + "me/avatar", body, content_type=kind, headers=headers)


@pytest.mark.parametrize("kind", ["image/png", "image/jpeg", "image/*; q=1", "image/x-anything"])
def test_a_picture_may_be_the_body_itself(alice: Person, media: Path, kind: str) -> None:
    answer = send_picture(alice, picture(), kind)
    assert answer.status_code == 200, answer.content
    assert answer.json()["avatar"] == alice.get("me").json()["avatar"]
    assert len(stored_avatars()) == 2


def test_a_picture_may_be_base64_in_json(alice: Person, media: Path) -> None:
    answer = alice.post("me/avatar", {"avatar": b64encode(picture()).decode(), "errMsg": "ok"})
    assert answer.status_code == 200, answer.content
    assert answer.json().keys() == alice.get("me").json().keys()
    assert len(stored_avatars()) == 2


@pytest.mark.parametrize(
    ("body", "kind", "status", "code"),
    [
        (b"<svg onload=alert(1)>", "image/svg+xml", 400, "invalid"),
        (b"", "image/png", 400, "invalid"),
        (b"\xff\xd8\xff" + bytes(2 * 1024 * 1024 - 2), "image/jpeg", 413, "too_large"),
        (b"x", "application/octet-stream", 415, "unsupported_media_type"),
        ({}, "application/json", 400, "invalid"),
        ({"avatar": ""}, "application/json", 400, "invalid"),
        ({"avatar": "QR=="}, "application/json", 400, "invalid"),
        ({"avatar": "data:image/png;base64,QUJD"}, "application/json", 400, "invalid"),
        ({"avatar": "QUJD\n"}, "application/json", 400, "invalid"),
        ({"avatar": "QUJD"}, "application/json", 400, "invalid"),
        ({"avatar": 5}, "application/json", 400, "invalid"),
        ({"avatar": "QUJD", "hat": 1}, "application/json", 400, "invalid"),
        ({"avatar": "A" * 256 * 1024}, "application/json", 413, "too_large"),
    ],
)
def test_other_bodies_have_the_checks_of_a_form(
    alice: Person, body: Any, kind: str, status: int, code: str
) -> None:
    refused(send_picture(alice, body, kind), status, code)
    assert stored_avatars() == [] and not AvatarCheck.objects.exists()


def test_base64_in_a_form_is_no_picture(alice: Person) -> None:
    form = "multipart/form-data; boundary=x"
    head = b'--x\r\nContent-Disposition: form-data; name="avatar"\r\n\r\n'
    body = head + b64encode(picture()) + b"\r\n--x--\r\n"
    refused(send_picture(alice, body, form), 400, "invalid")
