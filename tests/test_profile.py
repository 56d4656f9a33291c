"""Nicknames, aliases and avatars: what others see, what waits, and what is refused."""

from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import pytest
from django.core.files.storage import default_storage
from django.test import Client as Browser
from PIL import Image

from accounts.models import AvatarCheck, WeChatUser
from accounts.services import save_verdict
from audit.models import AuditEvent
from console.review import KINDS, items_of
from groups.models import Group, Membership
from tests.conftest import API, Person, refused
from tests.settings import APP_ID
from tests.test_bind import FAMILY
from tests.test_login import fault
from wechat.client import Suggestion, Verdict
from wechat.push import MediaVerdict, channel_for
from wechat.sandbox import Sandbox

RISKY, DOUBTFUL = "违规小店", "存疑小店"
RED, YELLOW, GREEN = (220, 20, 20), (230, 220, 30), (20, 160, 60)  # as the sandbox judges

COMMITTED = pytest.mark.django_db(transaction=True)  # files are deleted after the commit


def picture(colour: tuple[int, int, int] = GREEN, size: int = 300) -> bytes:
    out = BytesIO()
    Image.new("RGB", (size, size), colour).save(out, "PNG")
    return out.getvalue()


def send(person: Person, data: bytes | None = None, name: str = "avatar", **more: Any) -> Any:
    """One upload, as `wx.uploadFile` does it."""
    file = BytesIO(picture() if data is None else data)
    file.name = "tmp_a1b2.png"
    headers = {"Authorization": f"Bearer {person.token}"}
    return person.browser.post(API + "me/avatar", {name: file, **more}, headers=headers)


def stored() -> list[str]:
    """The files that the storage holds."""
    try:
        return sorted(default_storage.listdir("avatars")[1])
    except FileNotFoundError:
        return []


@pytest.fixture(autouse=True)
def media(settings: Any, tmp_path: Path) -> Path:
    settings.MEDIA_ROOT = tmp_path / "media"
    return tmp_path / "media"


@pytest.fixture
def unchecked(settings: Any) -> None:
    settings.CONTENT_SAFETY = False


def as_seen_by(viewer: Person, whom: Person) -> dict[str, Any]:
    """Somebody's face in the family's ranking."""
    entries = viewer.get(f"groups/{FAMILY}/ranking").json()["entries"]
    [member] = [e["member"] for e in entries if e["member"]["id"] == whom.body["user"]["id"]]
    return dict(member)


# Names


def test_a_risky_nickname_is_refused_and_changes_nothing(alice: Person) -> None:
    body = refused(alice.put("me", {"nickname": RISKY}), 400, "invalid")
    assert list(body["fields"]) == ["nickname"]
    assert alice.get("me").json()["nickname"] == "小明"
    assert (alice.user.nickname, alice.user.nickname_draft) == ("小明", "")


def test_a_doubtful_nickname_waits_and_its_owner_alone_sees_it(
    alice: Person, bob: Person, group: Group
) -> None:
    answer = alice.put("me", {"nickname": DOUBTFUL}).json()
    assert (answer["nickname"], answer["nicknameState"]) == (DOUBTFUL, "pending")
    assert alice.get("me").json() == answer
    assert as_seen_by(alice, alice)["nickname"] == DOUBTFUL
    assert as_seen_by(bob, alice)["nickname"] == "小明"
    title = bob.get(f"groups/{FAMILY}").json()["title"]
    assert "小明" in title and DOUBTFUL not in title
    page = Browser().get(urlsplit(bob.post(f"groups/{FAMILY}/link").json()["url"]).path)
    assert DOUBTFUL not in page.content.decode()


def test_who_had_no_name_yet_stays_listed_while_the_first_one_waits(
    somebody: Any, bob: Person
) -> None:
    newcomer = somebody("newcomer")
    newcomer.enter("family")
    bob.enter("family")
    newcomer.put("me", {"nickname": DOUBTFUL})
    assert as_seen_by(bob, newcomer)["nickname"] == "微信用户"
    assert as_seen_by(newcomer, newcomer)["nickname"] == DOUBTFUL


@pytest.mark.parametrize("asked", ["小明", "李雷"], ids=["the old one", "a good one"])
def test_a_good_name_takes_a_doubtful_ones_place(alice: Person, asked: str) -> None:
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
    assert as_seen_by(bob, alice)["nickname"] == "三班小明"
    assert as_seen_by(alice, alice)["nickname"] == DOUBTFUL
    assert alice.put(mine, {"alias": ""}).json()["aliasState"] == "approved"
    assert as_seen_by(alice, alice)["nickname"] == as_seen_by(bob, alice)["nickname"] == "小明"


def test_while_wechat_is_away_no_name_changes(alice: Person, sandbox: Sandbox) -> None:
    fault(sandbox, path="/wxa/msg_sec_check", times=2, errcode=-1)
    refused(alice.put("me", {"nickname": "新名字"}), 503, "wechat_unavailable")
    assert alice.get("me").json()["nickname"] == "小明"


def test_whom_wechat_has_not_seen_for_two_hours_an_operator_looks_at(
    alice: Person, sandbox: Sandbox
) -> None:
    fault(sandbox, path="/wxa/msg_sec_check", errcode=61010)
    assert alice.put("me", {"nickname": "新名字"}).json()["nicknameState"] == "pending"
    fault(sandbox, path="/wxa/media_check_async", errcode=61010)
    assert send(alice).json()["avatarState"] == "pending"
    assert not AvatarCheck.objects.exists()


@pytest.mark.usefixtures("unchecked")
def test_without_content_safety_nothing_is_asked_and_nothing_waits(
    alice: Person, sandbox: Sandbox
) -> None:
    for path in ("/wxa/msg_sec_check", "/wxa/media_check_async", "/cgi-bin/stable_token"):
        fault(sandbox, path=path, times=9, errcode=-1)
    assert alice.put("me", {"nickname": RISKY}).json()["nicknameState"] == "approved"
    assert send(alice).json()["avatarState"] == "approved"
    for path in ("/wxa/msg_sec_check", "/wxa/media_check_async", "/cgi-bin/stable_token"):
        fault(sandbox, path=path, times=0)


# Avatars


def test_an_avatar_becomes_two_square_webps_at_an_address_that_needs_no_token(
    alice: Person, media: Path
) -> None:
    before = alice.get("me").json()["avatar"]
    answer = send(alice).json()
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


def test_others_see_an_avatar_once_wechat_has_passed_it(
    alice: Person, bob: Person, group: Group
) -> None:
    default = as_seen_by(bob, alice)["avatar"]
    mine = send(alice).json()["avatar"]
    assert as_seen_by(bob, alice)["avatar"] == default
    assert as_seen_by(alice, alice)["avatar"] == mine
    push(the_check(), Suggestion.PASS)
    assert as_seen_by(bob, alice)["avatar"] == mine
    assert alice.get("me").json()["avatarState"] == "approved"


@COMMITTED
def test_a_risky_avatar_disappears_and_its_owner_is_told(
    alice: Person, bob: Person, group: Group
) -> None:
    good = send(alice).json()["avatar"]
    push(the_check(), Suggestion.PASS)
    files = stored()
    send(alice)
    push(the_check(), Suggestion.RISKY)
    me = alice.get("me").json()
    assert (me["avatar"], me["avatarState"]) == (good, "refused")
    assert as_seen_by(bob, alice)["avatar"] == good
    assert stored() == files


def test_a_doubtful_avatar_goes_on_waiting(alice: Person) -> None:
    send(alice)
    push(the_check(), Suggestion.REVIEW)
    assert alice.get("me").json()["avatarState"] == "pending"
    assert len(stored()) == 2


@COMMITTED
@pytest.mark.usefixtures("unchecked")
def test_a_new_avatar_leaves_no_file_of_the_old_one(alice: Person) -> None:
    for colour in (RED, YELLOW, GREEN):
        send(alice, picture(colour))
        assert {name[:22] for name in stored()} == {alice.user.avatar}


@COMMITTED
def test_a_second_draft_replaces_the_first(alice: Person) -> None:
    first = the_check_of(send(alice))
    second = the_check_of(send(alice))
    assert {name[:22] for name in stored()} == {alice.user.avatar_draft}
    push(first, Suggestion.PASS)
    assert alice.get("me").json()["avatarState"] == "pending", "the verdict is about another one"
    push(second, Suggestion.PASS)
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
    refused(send(alice, **what), status, code)
    assert alice.get("me").json() == before
    assert stored() == [] and not AvatarCheck.objects.exists()


def test_text_in_place_of_a_file_and_forms_cut_short_are_invalid(alice: Person) -> None:
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
    refused(alice.post("me/avatar", {"avatar": "x"}), 415, "unsupported_media_type")


def test_while_wechat_is_away_no_avatar_is_kept(alice: Person, sandbox: Sandbox) -> None:
    fault(sandbox, path="/wxa/media_check_async", times=2, errcode=-1)
    refused(send(alice), 503, "wechat_unavailable")
    assert stored() == [] and alice.user.avatar_draft == ""


def test_while_the_storage_is_away_no_avatar_changes(
    alice: Person, settings: Any, tmp_path: Path
) -> None:
    (tmp_path / "a file").write_text("in the way")
    settings.MEDIA_ROOT = tmp_path / "a file"
    refused(send(alice), 503, "unavailable")
    assert alice.user.avatar_draft == ""


def test_media_holds_avatars_and_nothing_else(media: Path) -> None:
    media.mkdir()
    (media / "secret.webp").write_bytes(b"x")
    for path in ("/media/secret.webp", "/media/avatars/..%2fsecret.webp", "/media/avatars/x.webp"):
        assert Browser().get(path).status_code == 404, path


def test_a_default_avatar_is_drawn_for_addresses_of_ours_only(alice: Person) -> None:
    path = alice.user.avatar_path
    assert Browser().get(path).status_code == 200
    assert Browser().get(path.replace(".webp", "x.webp")).status_code == 404
    assert Browser().get("/avatars/x.webp").status_code == 404
    changed = path.replace(path[10], "A" if path[10] != "A" else "B", 1)
    assert Browser().get(changed).status_code == 404


# Verdicts by push


def the_check() -> AvatarCheck:
    return AvatarCheck.objects.latest("pk")


def the_check_of(answer: Any) -> AvatarCheck:
    assert answer.status_code == 200, answer.content
    return the_check()


def event(check: AvatarCheck, suggestion: Suggestion) -> dict[str, Any]:
    """What WeChat pushes about a picture (mediaCheckAsync, version 2)."""
    return {
        "ToUserName": "gh_1",
        "FromUserName": "o1",
        "CreateTime": 1763870000,
        "MsgType": "event",
        "Event": "wxa_media_check",
        "appid": APP_ID,
        "trace_id": check.trace_id,
        "version": 2,
        "detail": [{"strategy": "content_model", "errcode": 0, "suggest": suggestion.value}],
        "errcode": 0,
        "errmsg": "ok",
        "result": {"suggest": suggestion.value, "label": 100},
    }


def push(
    check: AvatarCheck, suggestion: Suggestion, *, safe: bool = True, xml: bool = False
) -> None:
    query, body = channel_for(APP_ID).write(event(check, suggestion), safe=safe, xml=xml)
    assert deliver(query, body).content == b"success"


def deliver(query: dict[str, str], body: bytes, app_id: str = APP_ID) -> Any:
    path = f"/wechat/push/{app_id}/?{urlencode(query)}"
    return Browser(enforce_csrf_checks=True).post(path, body, content_type="text/xml")


@pytest.mark.parametrize("safe", [True, False], ids=["safe", "plain"])
@pytest.mark.parametrize("xml", [True, False], ids=["XML", "JSON"])
def test_a_verdict_arrives_in_every_mode_and_spelling(alice: Person, safe: bool, xml: bool) -> None:
    check = the_check_of(send(alice))
    push(check, Suggestion.PASS, safe=safe, xml=xml)
    assert alice.user.avatar == check.avatar


def test_the_first_verdict_counts_however_often_one_comes(alice: Person) -> None:
    check = the_check_of(send(alice))
    for suggestion in (Suggestion.PASS, Suggestion.PASS, Suggestion.RISKY):
        push(check, suggestion)
    assert (alice.user.avatar, alice.user.avatar_state) == (check.avatar, "approved")
    assert len(stored()) == 2


def test_a_verdict_may_come_before_the_upload_is_done(
    alice: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    """WeChat's answer and its push travel separately."""

    def quick(client: Any, openid: str, media_url: str) -> str:
        save_verdict(APP_ID, MediaVerdict("quick-1", Verdict(Suggestion.PASS, "100")))
        return "quick-1"

    monkeypatch.setattr("wechat.client.Client.check_media", quick)
    assert send(alice).json()["avatarState"] == "approved"


def test_a_verdict_about_nobody_we_know_is_acknowledged(db: None) -> None:
    push(AvatarCheck(trace_id="of-somebody-erased"), Suggestion.PASS)
    assert not WeChatUser.objects.exists()


def test_other_events_are_acknowledged_and_forgotten(db: None) -> None:
    message = {"MsgType": "text", "Content": "你好", "FromUserName": "o1"}
    query, body = channel_for(APP_ID).write(message, safe=True, xml=True)
    assert deliver(query, body).content == b"success"
    assert not AvatarCheck.objects.exists()


def test_forged_pushes_are_refused(alice: Person) -> None:
    check = the_check_of(send(alice))
    query, body = channel_for(APP_ID).write(event(check, Suggestion.PASS), safe=True, xml=False)
    for altered in (
        {**query, "msg_signature": "0" * 40, "signature": "0" * 40},
        {**query, "nonce": "1"},
        {},
    ):
        assert deliver(altered, body).status_code == 403
    assert deliver(query, body.replace(b'"Encrypt": "', b'"Encrypt": "A')).status_code == 403
    assert deliver(query, body, "wxnobody").status_code == 404
    assert deliver(query, b"x" * 300_000).status_code == 400
    assert alice.user.avatar_state == "pending"


def test_the_console_of_wechat_proves_the_address_with_a_get(db: None) -> None:
    query, _body = channel_for(APP_ID).write({}, safe=False, xml=False)
    path = f"/wechat/push/{APP_ID}/?{urlencode({**query, 'echostr': '1234567890'})}"
    answer = Browser().get(path)
    assert (answer.status_code, answer.content) == (200, b"1234567890")
    assert answer["Content-Type"].startswith("text/plain")
    assert Browser().get(path.replace("nonce=", "nonce=1")).status_code == 403


# Operators


@COMMITTED
def test_an_operator_approves_or_refuses_what_waits(
    alice: Person, bob: Person, group: Group, olga: Browser
) -> None:
    for person in (alice, bob):
        person.put("me", {"nickname": DOUBTFUL})
        send(person)
        person.put(f"groups/{FAMILY}/membership", {"alias": f"{DOUBTFUL}二"})
    for verdict, user in (("approve", alice.user), ("refuse", bob.user)):
        items = [item.token for item in items_of(KINDS.values()) if item.user.pk == user.pk]
        assert len(items) == 3
        olga.post("/admin/review/", {"verdict": verdict, "reason": "不合适", "item": items})
    assert as_seen_by(bob, alice)["nickname"] == f"{DOUBTFUL}二"
    assert alice.get("me").json()["nickname"] == DOUBTFUL
    assert as_seen_by(alice, bob)["nickname"] == as_seen_by(bob, bob)["nickname"] == "李雷"
    states = [person.get("me").json()["avatarState"] for person in (alice, bob)]
    assert states == ["approved", "refused"]
    assert {name[:22] for name in stored()} == {alice.user.avatar}


def test_what_an_operator_changed_is_logged_without_the_name(alice: Person, olga: Browser) -> None:
    alice.put("me", {"nickname": DOUBTFUL})
    [item] = items_of(KINDS.values())
    decided = olga.post("/admin/review/", {"verdict": "approve", "item": item.token})
    assert decided.status_code == 302
    event = AuditEvent.objects.get()
    found = (event.operator_name, event.action, event.member_id)
    assert found == ("olga", "approve_nickname", alice.user.pk)
    told = str(AuditEvent.objects.values())
    assert DOUBTFUL not in told and "小明" not in told and alice.openid not in told
