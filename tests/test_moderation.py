"""What operators do to members, memberships, scores and groups, and what the audit records."""

from typing import Any

import pytest
from django.contrib.auth.models import Group as Role
from django.core.files.storage import default_storage
from django.core.management import call_command
from django.test import Client as Browser
from django.urls import reverse
from django.utils import timezone
from django.utils.html import escape

from accounts.models import WeChatUser
from audit.models import AuditEvent
from console.actions import ACTIONS, DECISIONS
from groups.models import Group, Membership, Score, ServerKey
from tests.cast import DOUBTFUL, FAMILY, ROLES, Person, browser_of, refused
from tests.settings import APP_ID

RANKING = f"groups/{FAMILY}/ranking"


def do(operator: Browser, key: str, row: Any, reason: str = "举报属实", **values: str) -> Any:
    """Confirm an action on a row; return the answer."""
    return operator.post(reverse("console-act", args=[key, row.pk]), {"reason": reason, **values})


def names(person: Person) -> list[str]:
    return [e["member"]["nickname"] for e in person.get(RANKING).json()["entries"]]


def membership_of(person: Person) -> Membership:
    return Membership.objects.get(user=person.user, group__open_gid=FAMILY)


def last_event() -> AuditEvent:
    return AuditEvent.objects.latest("pk")


def test_a_hidden_member_is_gone_at_once_and_shown_again_after_the_undo(
    alice: Person, bob: Person, group: Group, olga: Browser
) -> None:
    assert names(bob) == ["小明", "李雷"]
    answer = do(olga, "hide", membership_of(alice), next=f"/groups/{group.pk}/")
    assert (answer.status_code, answer["Location"]) == (302, f"/groups/{group.pk}/")
    assert names(bob) == ["李雷"]
    assert do(olga, "show", membership_of(alice)).status_code == 302
    assert names(bob) == ["小明", "李雷"]


def test_a_member_hidden_by_an_operator_cannot_show_themselves(
    alice: Person, bob: Person, group: Group, olga: Browser
) -> None:
    do(olga, "hide", membership_of(alice))
    shown = alice.put(f"groups/{FAMILY}/membership", {"hidden": False}).json()
    assert shown["hidden"] is True
    assert alice.get(RANKING).json()["absent"] == "hidden"
    assert names(bob) == ["李雷"]
    memberships = alice.get("me/data").json()["memberships"]
    assert [row["withheld"] for row in memberships] == [True]


def test_a_member_shown_by_an_operator_stays_hidden_by_their_own_wish(
    alice: Person, bob: Person, group: Group, olga: Browser
) -> None:
    alice.put(f"groups/{FAMILY}/membership", {"hidden": True})
    do(olga, "hide", membership_of(alice))
    do(olga, "show", membership_of(alice))
    assert names(bob) == ["李雷"]


def test_the_audit_says_who_did_what_and_why_without_a_members_name(
    alice: Person, group: Group, olga: Browser
) -> None:
    answer = do(olga, "block", alice.user, reason="刷屏")
    event = AuditEvent.objects.get()
    assert (event.operator_name, event.action, event.reason) == ("olga", "block", "刷屏")
    assert (event.target, event.target_id) == ("wechatuser", alice.user.pk)
    assert event.request_id == answer["X-Request-ID"]
    stored = str(AuditEvent.objects.values())
    assert "小明" not in stored and alice.openid not in stored


def test_an_unblocked_member_reads_again(alice: Person, group: Group, olga: Browser) -> None:
    do(olga, "block", alice.user)
    refused(alice.get("me"), 403, "user_blocked")
    do(olga, "unblock", alice.user)
    assert alice.get(RANKING).status_code == 200


def test_a_reset_deletes_the_nickname_and_the_one_that_awaits_review(
    alice: Person, bob: Person, group: Group, olga: Browser
) -> None:
    assert alice.put("me", {"nickname": DOUBTFUL}).status_code == 200
    do(olga, "reset_nickname", alice.user)
    me = alice.get("me").json()
    assert (me["nickname"], me["nicknameState"]) == ("", "refused")
    assert "小明" not in bob.get(RANKING).content.decode()


@pytest.mark.django_db(transaction=True)
def test_a_reset_deletes_the_files_of_the_avatar(
    alice: Person, olga: Browser, settings: Any
) -> None:
    settings.CONTENT_SAFETY = False
    alice.upload()
    key = alice.user.avatar
    assert default_storage.exists(f"avatars/{key}-96.webp")
    do(olga, "reset_avatar", alice.user)
    assert alice.user.avatar == ""
    assert not default_storage.exists(f"avatars/{key}-96.webp")


def test_a_hidden_group_is_not_found_by_its_members_and_cannot_be_entered(
    alice: Person, bob: Person, group: Group, olga: Browser
) -> None:
    do(olga, "hide_group", group)
    for path in ("", "/ranking", "/ranking/around"):
        refused(alice.get(f"groups/{FAMILY}{path}"), 404, "not_found")
    assert alice.get("groups").json()["groups"] == []
    refused(alice.post("groups/bind", alice.envelope("family")), 404, "not_found")
    do(olga, "show_group", group)
    assert names(alice) == ["小明", "李雷"]


def test_the_removal_of_a_score_leaves_the_others(
    alice: Person, group: Group, olga: Browser
) -> None:
    score = Score.objects.get(user=alice.user, period="all")
    before = Score.objects.count()
    do(olga, "remove_score", score)
    assert Score.objects.count() == before - 1
    assert last_event().details == {"board": "active-days", "period": "all"}


def test_an_erasure_by_an_operator_leaves_only_a_number(
    alice: Person, group: Group, olga: Browser
) -> None:
    user = alice.user
    assert do(olga, "erase", user).status_code == 302
    assert not WeChatUser.objects.filter(pk=user.pk).exists()
    refused(alice.get("me"), 401, "invalid_token")
    assert (last_event().action, last_event().member_id) == ("erase", user.pk)
    assert olga.get(reverse("console-act", args=["erase", user.pk])).status_code == 404


def test_an_action_confirmed_twice_is_done_and_recorded_once(
    alice: Person, group: Group, olga: Browser
) -> None:
    for _ in range(2):
        do(olga, "hide", membership_of(alice))
        do(olga, "hide_group", group)
        do(olga, "block", alice.user)
        do(olga, "reset_nickname", alice.user)
    assert AuditEvent.objects.count() == 4


def test_an_action_without_a_reason_is_not_done(alice: Person, olga: Browser) -> None:
    answer = do(olga, "block", alice.user, reason=" ")
    assert answer.status_code == 200
    assert not alice.user.is_blocked
    assert AuditEvent.objects.count() == 0


@pytest.fixture
def backend(db: None) -> ServerKey:
    return ServerKey.objects.issue(APP_ID, "backend", timezone.now())[1]


@pytest.mark.parametrize("key", ACTIONS)
def test_the_confirmation_page_changes_nothing(
    alice: Person, group: Group, backend: ServerKey, olga: Browser, key: str
) -> None:
    row = ACTIONS[key].model.objects.first()  # type: ignore[attr-defined]
    page = olga.get(reverse("console-act", args=[key, row.pk]))
    assert str(escape(ACTIONS[key].consequence)) in page.content.decode()
    assert AuditEvent.objects.count() == 0


@pytest.mark.parametrize("key", DECISIONS)
def test_nothing_that_awaits_review_can_be_decided_by_an_action(
    alice: Person, group: Group, olga: Browser, key: str
) -> None:
    alice.put("me", {"nickname": DOUBTFUL})
    row = DECISIONS[key].model.objects.first()  # type: ignore[attr-defined]
    assert do(olga, key, row).status_code == 404
    page = olga.get(f"/admin/accounts/wechatuser/{alice.user.pk}/change/").content.decode()
    assert key not in page
    assert AuditEvent.objects.count() == 0


def test_an_erasure_from_the_members_own_page_leads_to_the_list(
    alice: Person, bob: Person, olga: Browser
) -> None:
    pages = [f"/admin/accounts/wechatuser/{person.user.pk}/change/" for person in (alice, bob)]
    answer = do(olga, "erase", alice.user, next=pages[0])
    assert answer["Location"] == "/admin/accounts/wechatuser/"
    assert do(olga, "block", bob.user, next=pages[1])["Location"] == pages[1]


def test_the_page_after_an_action_is_never_on_another_site(alice: Person, olga: Browser) -> None:
    answer = do(olga, "block", alice.user, next="https://evil.example/")
    assert answer["Location"] == "/admin/accounts/wechatuser/"


MAY: dict[str, str] = {
    **dict.fromkeys(ACTIONS, "moderator"),
    "erase": "manager",
    "revoke": "manager",
}


@pytest.mark.parametrize("role", ROLES[:4])
@pytest.mark.parametrize("key", ACTIONS)
def test_each_action_is_allowed_for_its_roles_only(
    alice: Person, group: Group, backend: ServerKey, key: str, role: str
) -> None:
    row = ACTIONS[key].model.objects.first()  # type: ignore[attr-defined]
    allowed = ROLES.index(role) >= ROLES.index(MAY[key])
    assert do(browser_of(role), key, row).status_code == (302 if allowed else 403)
    if not allowed:
        assert AuditEvent.objects.count() == 0


def test_each_migrate_restores_the_roles(db: None) -> None:
    Role.objects.get(name="viewer").permissions.clear()
    call_command("migrate", verbosity=0)
    assert Role.objects.get(name="viewer").permissions.filter(codename="view_group").exists()
