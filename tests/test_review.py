"""The page of what awaits review: operators decide about the items, one by one or in bulk."""

import re
import time
from datetime import timedelta
from typing import Any

import pytest
import time_machine
from django.contrib.auth.models import Group as Role
from django.contrib.auth.models import Permission, User
from django.test import Client as Browser
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import override

from accounts.models import AvatarCheck, WeChatUser
from accounts.moderation import approve_nickname
from accounts.review import Reviewed, State
from audit.actors import Actor
from audit.models import AuditEvent
from console import review
from groups.models import Membership, Report, shown_digests
from groups.moderation import reset_alias
from tests.cast import DOUBTFUL, FAMILY, Person, check_of, later, push_verdict, stored_avatars
from tests.query_counts import at_both_sizes, count_queries, make_group, make_members
from tests.settings import APP_ID
from wechat.client import Suggestion

pytestmark = pytest.mark.usefixtures("media")

QUEUE = "/admin/review/"
CHOOSE = "Choose what to decide first."
TOO_LATE = "1 had been decided already; nothing has been changed."
ENGLISH = {"Accept-Language": "en"}


@pytest.fixture
def waiting(alice: Person, bob: Person, group: Any) -> Person:
    """Let Alice's nickname, avatar and name in the family all await review."""
    alice.put("me", {"nickname": DOUBTFUL})
    alice.upload()
    alice.put(f"groups/{FAMILY}/membership", {"alias": f"{DOUBTFUL}二"})
    return alice


def operator_with(*permissions: str, role: str = "") -> Browser:
    operator = User.objects.create_user("otto", is_staff=True)
    operator.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    operator.groups.set(Role.objects.filter(name=role))
    browser = Browser()
    browser.force_login(operator)
    return browser


def shown(operator: Browser, query: str = "") -> list[str]:
    """Return the tokens of the items on a page, in their order."""
    answer = operator.get(QUEUE + query)
    assert answer.status_code == 200
    return re.findall(
        r'<input type="checkbox" name="item" value="([^"]+)"', answer.content.decode()
    )


def kinds(tokens: list[str]) -> list[str]:
    return [token.partition("-")[0] for token in tokens]


def decide(operator: Browser, verdict: str, *tokens: str, reason: str = "") -> list[str]:
    """Decide about items; return the messages of the next page."""
    body = {"verdict": verdict, "item": tokens, "reason": reason}
    answer = operator.post(QUEUE, body, follow=True, headers=ENGLISH)
    assert answer.redirect_chain == [(QUEUE, 302)]
    return [str(message) for message in answer.context["messages"]]


def token(operator: Browser, kind: str) -> str:
    [found] = [each for each in shown(operator) if each.startswith(kind)]
    return found


def propose(record: Reviewed, name: str, value: str) -> None:
    record.propose(name, value)
    record.save(update_fields=record.columns_of(name))


# The wait


def test_a_record_awaits_review_from_its_first_draft_until_the_last_is_decided(
    alice: Person,
) -> None:
    start = time.time()
    with time_machine.travel(start, tick=False):
        alice.put("me", {"nickname": DOUBTFUL})
    since = alice.user.review_since
    with time_machine.travel(start + 3600, tick=False):
        alice.upload()
        alice.put("me", {"nickname": f"{DOUBTFUL}二"})
    assert since and alice.user.review_since == since
    act = Actor(User.objects.create_superuser("olga"))
    approve_nickname(alice.user, act)
    assert alice.user.review_since == since, "the avatar still waits"
    push_verdict(AvatarCheck.objects.get(user=alice.user), Suggestion.PASS)
    assert alice.user.review_since is None


def test_a_return_to_the_approved_name_ends_the_review(alice: Person) -> None:
    alice.put("me", {"nickname": DOUBTFUL})
    alice.put("me", {"nickname": "小明"})
    assert alice.user.review_since is None


def test_my_data_shows_since_when_a_draft_awaits_review(waiting: Person) -> None:
    data = waiting.get("me/data").json()
    assert data["user"]["reviewSince"] and data["memberships"][0]["reviewSince"]


# What is shown


def test_the_item_that_waits_longest_comes_first(make_person: Any, olga: Browser) -> None:
    names = ["小红", "小刚", "小丽"]
    for number, name in enumerate(names):
        with later(hours=3 - number):
            person = make_person(f"person-{number}", name)
            person.put("me", {"nickname": f"{DOUBTFUL}{number}"})
    page = olga.get(QUEUE).content.decode()
    places = [page.index(f"{DOUBTFUL}{number}") for number in (2, 1, 0)]
    assert places == sorted(places)


def test_an_item_without_a_date_comes_first_and_without_an_age(
    alice: Person, bob: Person, olga: Browser
) -> None:
    for person in bob, alice:
        person.put("me", {"nickname": DOUBTFUL})
    WeChatUser.objects.filter(pk=alice.user.pk).update(review_since=None)
    assert [each.split("-")[1] for each in shown(olga)] == [str(alice.user.pk), str(bob.user.pk)]
    assert olga.get(QUEUE).content.decode().count("<time") == 1


def test_items_can_be_filtered_by_kind(waiting: Person, olga: Browser) -> None:
    assert sorted(kinds(shown(olga))) == ["alias", "avatar", "nickname"]
    for kind in review.KINDS:
        assert kinds(shown(olga, f"?kind={kind}")) == [kind]
    assert len(shown(olga, "?kind=nothing")) == 3


def test_an_item_shows_old_and_new_side_by_side(waiting: Person, olga: Browser) -> None:
    user, page = waiting.user, olga.get(QUEUE).content.decode()
    assert f"{user.avatar_draft}-192.webp" in page and user.avatar_path in page
    assert "<bdi>小明</bdi>" in page and f"<bdi>{DOUBTFUL}</bdi>" in page
    assert f"<bdi>{DOUBTFUL}二</bdi>" in page
    assert reverse("group-page", args=[Membership.objects.get(user=user).group_id]) in page


def test_the_verdict_of_wechat_about_an_avatar_is_shown(alice: Person, olga: Browser) -> None:
    check = check_of(alice.upload())
    AvatarCheck.objects.filter(pk=check.pk).update(suggestion="review", label="20002")
    assert "WeChat sees: pornography" in olga.get(QUEUE, headers=ENGLISH).content.decode()


def test_names_are_escaped_on_the_page(alice: Person, olga: Browser) -> None:
    hostile = '"><img src=x onerror=alert(1)>'
    propose(alice.user, "nickname", hostile)
    page = olga.get(QUEUE).content.decode()
    assert hostile not in page and "&quot;&gt;&lt;img" in page


def test_a_page_has_twenty_four_items_and_decided_ones_make_room(olga: Browser, db: None) -> None:
    for user in make_members(30):
        propose(user, "nickname", "新名字")
    first = shown(olga)
    assert len(first) == 24 and len(shown(olga, "?page=2")) == 6
    assert not set(first) & set(shown(olga, "?page=2"))
    assert decide(olga, "approve", *first) == ["24 approved."]
    assert len(shown(olga)) == 6 and shown(olga, "?page=2") == shown(olga)


def test_all_items_of_a_page_can_be_selected_and_decided_once(
    waiting: Person, olga: Browser
) -> None:
    page = f"{QUEUE}?kind=nickname&ticked"
    assert olga.get(page).content.decode().count(" checked>") == 1
    assert olga.get(QUEUE).content.decode().count(" checked>") == 0
    answer = olga.post(page, {"verdict": "approve", "item": shown(olga, "?kind=nickname&ticked")})
    assert answer["Location"] == f"{QUEUE}?kind=nickname"
    assert waiting.user.nickname == DOUBTFUL


def test_ten_names_are_approved_with_one_button_below_them(olga: Browser, db: None) -> None:
    for user in make_members(10):
        propose(user, "nickname", "新名字")
    page = olga.get(QUEUE).content.decode()
    [form] = re.findall(r'<form method="post" class="every">.*?</form>', page, re.DOTALL)
    assert page.index(form) > page.rindex('class="change"'), "below all items"
    assert "通过本页全部 10 项" in form
    sent = re.findall(r'name="item" value="([^"]+)"', form)
    assert sent == shown(olga)
    assert decide(olga, "approve", *sent) == ["10 approved."]
    assert WeChatUser.objects.filter(nickname="新名字").count() == 10


def test_the_page_shows_what_was_decided_last_and_by_whom(
    waiting: Person, bob: Person, olga: Browser
) -> None:
    decide(olga, "approve", token(olga, "nickname"))
    decide(olga, "refuse", token(olga, "avatar"), reason="广告")
    reset_alias(Membership.objects.get(user=bob.user), Actor(None, "无关"))
    page = olga.get(QUEUE)
    first, second = page.context["decided"]
    assert (str(first.label), first.name, first.event.reason) == ("拒绝头像", DOUBTFUL, "广告")
    assert (str(second.label), second.event.operator_name) == ("通过昵称", "olga")
    assert "最近审核" in page.content.decode() and "<bdi>olga</bdi>" in page.content.decode()
    waiting.delete("me")
    [first, _second] = olga.get(QUEUE).context["decided"]
    assert first.name == f"微信用户 #{first.event.member_id}"
    kinds_of = olga.get(f"{QUEUE}?kind=avatar").context["decided"]
    assert [each.event.action for each in kinds_of] == ["refuse_avatar"]


def test_decisions_are_shown_to_readers_of_the_audit_only(waiting: Person, olga: Browser) -> None:
    decide(olga, "approve", token(olga, "nickname"))
    otto = operator_with("change_wechatuser")
    assert otto.get(QUEUE).context["decided"] == []


def test_the_page_says_when_nothing_awaits_review(olga: Browser) -> None:
    assert shown(olga) == []
    assert 'class="nothing"' in olga.get(QUEUE).content.decode()


def test_the_page_takes_the_same_queries_however_many_items(olga: Browser) -> None:
    def measure(rows: int) -> int:
        for membership in make_group(make_members(rows)).memberships.select_related("user"):
            user, key = membership.user, f"{membership.pk:022}"
            propose(user, "nickname", "新")
            propose(user, "avatar", key)
            AvatarCheck.objects.create(app_id=APP_ID, trace_id=key, user=user, avatar=key)
            propose(membership, "alias", "新")
            about = {"membership": membership, "shown": shown_digests(membership)[0]}
            Report.objects.create(user=user, reason="abuse", **about)
        return count_queries(olga, QUEUE)

    assert at_both_sizes(measure) == 2 + 6, "session and operator, and the queue's own"


# Deciding


def test_an_approved_name_is_shown_to_everyone(waiting: Person, bob: Person, olga: Browser) -> None:
    assert decide(olga, "approve", token(olga, "alias")) == ["1 approved."]
    assert bob.sees(waiting)["nickname"] == f"{DOUBTFUL}二"
    assert sorted(kinds(shown(olga))) == ["avatar", "nickname"]


def test_a_refusal_keeps_what_others_saw_and_records_the_reason(
    waiting: Person, bob: Person, olga: Browser
) -> None:
    decide(olga, "refuse", token(olga, "nickname"), reason="广\0告")
    assert bob.sees(waiting)["nickname"] == "小明"
    assert waiting.get("me").json()["nicknameState"] == "refused"
    event = AuditEvent.objects.get()
    assert (event.action, event.reason) == ("refuse_nickname", "广告")
    assert event.member_id == waiting.user.pk


def test_a_reset_deletes_both_the_old_name_and_the_draft(waiting: Person, olga: Browser) -> None:
    decide(olga, "reset", token(olga, "nickname"), reason="冒充")
    assert (waiting.user.nickname, waiting.user.nickname_draft) == ("", "")
    assert AuditEvent.objects.get().action == "reset_nickname"


@pytest.mark.django_db(transaction=True)
def test_a_refused_avatar_leaves_no_file(alice: Person, olga: Browser) -> None:
    alice.upload()
    assert stored_avatars()
    decide(olga, "refuse", token(olga, "avatar"), reason="广告")
    assert stored_avatars() == []


def test_several_items_are_refused_with_one_reason(waiting: Person, olga: Browser) -> None:
    assert decide(olga, "refuse", *shown(olga), reason="广告") == ["3 refused."]
    recorded = set(AuditEvent.objects.values_list("action", "reason"))
    assert recorded == {(f"refuse_{kind}", "广告") for kind in review.KINDS}


@pytest.mark.parametrize("verdict", ["refuse", "reset"])
def test_a_refusal_or_reset_needs_a_reason(waiting: Person, olga: Browser, verdict: str) -> None:
    before = shown(olga)
    assert decide(olga, verdict, *before, reason=" ") == ["Say why; nothing has been changed."]
    assert shown(olga) == before and not AuditEvent.objects.exists()


def test_a_decision_about_no_item_or_nonsense_changes_nothing(
    waiting: Person, olga: Browser
) -> None:
    before = shown(olga)
    assert decide(olga, "approve") == [CHOOSE]
    assert decide(olga, "bless", *before) == [CHOOSE]
    for forged in ("nickname", "nickname-1", "openid-1-0123456789abcdef", f"{before[0]}x"):
        answer = olga.post(QUEUE, {"verdict": "approve", "item": [before[0], forged]})
        assert answer.status_code == 403
    assert shown(olga) == before and not AuditEvent.objects.exists()


def test_the_second_of_two_operators_sees_that_the_items_were_decided(
    waiting: Person, olga: Browser
) -> None:
    seen = token(olga, "nickname")
    decide(olga, "refuse", seen, reason="广告")
    assert decide(olga, "approve", seen) == [TOO_LATE]
    assert waiting.user.nickname == "小明" and AuditEvent.objects.count() == 1


@pytest.mark.parametrize("verdict", review.VERDICTS)
def test_a_draft_that_changed_meanwhile_is_not_decided(
    waiting: Person, olga: Browser, verdict: str
) -> None:
    seen = shown(olga)
    waiting.put("me", {"nickname": f"{DOUBTFUL}换"})
    waiting.upload()
    waiting.put(f"groups/{FAMILY}/membership", {"alias": f"{DOUBTFUL}又换"})
    [message] = decide(olga, verdict, *seen, reason="看过")
    assert message == "3 have been changed by their owners since you saw them: please look again."
    user = waiting.user
    assert (user.nickname, user.nickname_draft) == ("小明", f"{DOUBTFUL}换")
    assert user.avatar_state == State.PENDING and not AuditEvent.objects.exists()


def test_a_decision_about_an_erased_member_causes_no_error(
    waiting: Person, bob: Person, olga: Browser
) -> None:
    bob.put("me", {"nickname": f"{DOUBTFUL}三"})
    seen = shown(olga)
    waiting.delete("me")
    assert decide(olga, "approve", *seen) == ["1 approved.", TOO_LATE.replace("1", "3")]


def test_a_decision_after_the_verdict_of_wechat_changes_nothing(
    alice: Person, olga: Browser
) -> None:
    check = check_of(alice.upload())
    seen = token(olga, "avatar")
    push_verdict(check, Suggestion.PASS)
    assert shown(olga) == []
    assert decide(olga, "refuse", seen, reason="晚了") == [TOO_LATE]
    assert alice.user.avatar and not alice.user.avatar_draft


# Permissions


@pytest.mark.parametrize(
    ("role", "status"), [("", 403), ("viewer", 403), ("moderator", 200), ("manager", 200)]
)
def test_the_page_is_for_operators_who_may_decide(waiting: Person, role: str, status: int) -> None:
    browser = operator_with(role=role)
    assert browser.get(QUEUE).status_code == status
    if status == 403:
        seen = f"nickname-{waiting.user.pk}-{review.draft_digests(DOUBTFUL)[0]}"
        assert browser.post(QUEUE, {"verdict": "approve", "item": [seen]}).status_code == 403
        assert waiting.user.nickname == "小明"


def test_operators_see_and_decide_only_the_kinds_they_may(waiting: Person, olga: Browser) -> None:
    otto = operator_with("change_membership")
    theirs = token(olga, "nickname")
    assert kinds(shown(otto)) == ["alias"]
    answer = otto.post(QUEUE, {"verdict": "approve", "item": [*shown(otto), theirs]})
    assert answer.status_code == 403
    assert len(shown(olga)) == 3
    assert decide(otto, "approve", *shown(otto)) == ["1 approved."]


def test_opening_the_page_changes_nothing(waiting: Person, olga: Browser) -> None:
    before = list(WeChatUser.objects.values()), list(Membership.objects.values())
    shown(olga)
    assert olga.put(QUEUE).status_code == 405
    assert (list(WeChatUser.objects.values()), list(Membership.objects.values())) == before


def test_the_time_that_an_item_waits_is_rounded() -> None:
    now = timezone.now()
    with override("zh-hans"):
        assert review.waiting_time(now - timedelta(hours=3, minutes=20), now) == "3\xa0小时"
    assert review.waiting_time(None, now) == ""
