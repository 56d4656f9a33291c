"""What members report of each other, and what operators make of it in the review queue."""

import re
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.core.management import call_command
from django.test import Client as Browser
from django.utils import timezone

from accounts.models import WeChatUser
from audit.models import AuditEvent
from groups.models import Group, Membership, Report
from groups.services import REPORT_LIMIT
from tests.cast import DOUBTFUL, FAMILY, Person, later, refused
from tests.query_counts import at_both_sizes, count_queries, make_group, make_members

pytestmark = pytest.mark.usefixtures("media")

QUEUE = "/admin/review/"
ENGLISH = {"Accept-Language": "en"}


def report(
    person: Person, member: Person | int | str, reason: Any = "abuse", chat: str = FAMILY
) -> Any:
    meant = member.body["user"]["id"] if isinstance(member, Person) else str(member)
    return person.post(f"groups/{chat}/reports", {"member": meant, "reason": reason})


def reported(operator: Browser) -> list[str]:
    """Return the tokens of the items about reports, in their order."""
    page = operator.get(f"{QUEUE}?kind=report").content.decode()
    return list(dict.fromkeys(re.findall(r'value="(report-[^"]+)"', page)))


def decide(operator: Browser, verdict: str, *tokens: str, reason: str = "") -> list[str]:
    """Decide about items; return the messages of the next page."""
    body = {"verdict": verdict, "item": tokens, "reason": reason}
    answer = operator.post(QUEUE, body, follow=True, headers=ENGLISH)
    return [str(message) for message in answer.context["messages"]]


def operator_with(*permissions: str) -> Browser:
    operator = User.objects.create_user("otto", is_staff=True)
    operator.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    browser = Browser()
    browser.force_login(operator)
    return browser


# Reporting


def test_a_report_is_kept_once_a_reporter_and_thing(alice: Person, bob: Person, group: Any) -> None:
    for reason in ("abuse", "advert", "abuse"):
        assert report(alice, bob, reason).status_code == 204
    row = Report.objects.get()
    assert (row.user, row.membership.user, row.reason) == (alice.user, bob.user, "abuse")
    bob.rename("李四")
    assert report(alice, bob).status_code == 204
    assert Report.objects.count() == 2, "a new name is another thing"
    bob.put(f"groups/{FAMILY}/membership", {"alias": "班长"})
    report(alice, bob)
    WeChatUser.objects.filter(pk=bob.user.pk).update(avatar="x" * 22)
    report(alice, bob)
    assert Report.objects.count() == 4
    bob.rename("李五")
    report(alice, bob)
    assert Report.objects.count() == 4, "the group sees the alias"


def test_what_others_do_not_see_is_not_another_thing(
    alice: Person, bob: Person, group: Any
) -> None:
    report(alice, bob)
    bob.put("me", {"nickname": DOUBTFUL})
    bob.upload()
    report(alice, bob)
    assert Report.objects.count() == 1


def test_the_answer_is_the_same_whatever_is_meant(
    alice: Person, bob: Person, charlie: Person, make_person: Any, group: Group
) -> None:
    people = {name: make_person(name, name) for name in ("left", "hidden", "withheld", "blocked")}
    for person in people.values():
        person.enter("family")
    people["left"].delete(f"groups/{FAMILY}/membership")
    people["hidden"].put(f"groups/{FAMILY}/membership", {"hidden": True})
    Membership.objects.filter(user=people["withheld"].user).update(withheld=True)
    WeChatUser.objects.filter(pk=people["blocked"].user.pk).update(status="blocked")
    lapsed = make_person("lapsed", "lapsed")
    lapsed.enter("family")
    Membership.objects.filter(user=lapsed.user).update(
        verified_at=timezone.now() - timedelta(days=31)
    )
    asked: list[Any] = [bob, bob, alice, charlie, lapsed, *people.values(), 1, 10**17]
    answers = set()
    for member in asked:
        answer = report(alice, member)
        headers = {name: value for name, value in answer.items() if name != "X-Request-ID"}
        answers.add((answer.status_code, answer.content, tuple(sorted(headers.items()))))
    assert len(answers) == 1 and answers.pop()[0] == 204
    assert Report.objects.get().membership.user == bob.user


@pytest.mark.no_service
@pytest.mark.parametrize(
    "body",
    [
        {},
        {"member": "5"},
        {"reason": "abuse"},
        {"member": 5, "reason": "abuse"},
        {"member": "", "reason": "abuse"},
        {"member": "0", "reason": "abuse"},
        {"member": "-5", "reason": "abuse"},
        {"member": "٥", "reason": "abuse"},
        {"member": "9" * 19, "reason": "abuse"},
        {"member": "5\n", "reason": "abuse"},
        {"member": "5", "reason": "boredom"},
        {"member": "5", "reason": ""},
        {"member": "5", "reason": None},
        {"member": "5", "reason": ["abuse"]},
        {"member": "5", "reason": "abuse", "text": "x"},
    ],
)
def test_a_malformed_report_is_invalid(alice: Person, group: Any, body: Any) -> None:
    refused(alice.post(f"groups/{FAMILY}/reports", body), 400, "invalid")


def test_only_members_of_a_group_report_in_it(
    alice: Person, bob: Person, charlie: Person, group: Any
) -> None:
    refused(report(charlie, bob), 404, "not_found")
    refused(report(charlie, bob, chat="tGunknown"), 404, "not_found")
    alice.delete(f"groups/{FAMILY}/membership")
    refused(report(alice, bob), 404, "not_found")
    assert not Report.objects.exists()


def test_a_member_of_two_groups_is_reported_in_each(alice: Person, bob: Person, group: Any) -> None:
    for person in (alice, bob):
        person.enter("work")
    for chat in Group.objects.values_list("open_gid", flat=True):
        assert report(alice, bob, chat=chat).status_code == 204
    assert Report.objects.count() == 2


def test_of_one_member_twenty_reports_a_day_are_kept(alice: Person, group: Group) -> None:
    others = make_members(REPORT_LIMIT + 2)
    now = timezone.now()
    Membership.objects.bulk_create(
        Membership(group=group, user=user, joined_at=now, verified_at=now) for user in others
    )
    answers = {report(alice, user.pk).status_code for user in others}
    assert answers == {204}
    assert Report.objects.count() == REPORT_LIMIT
    with later(days=1, minutes=1):
        report(alice, others[-1].pk)
    assert Report.objects.count() == REPORT_LIMIT + 1


def test_my_data_shows_the_reports_that_i_sent_and_not_those_about_me(
    alice: Person, bob: Person, group: Any
) -> None:
    report(alice, bob, "illegal")
    [mine] = alice.get("me/data").json()["reports"]
    assert mine.pop("createdAt")
    member = bob.body["user"]["id"]
    assert mine == {"openGId": FAMILY, "member": member, "reason": "illegal"}
    assert bob.get("me/data").json()["reports"] == []


@pytest.mark.parametrize("name", ["alice", "bob"])
def test_reports_end_with_the_account_of_either_side(
    alice: Person, bob: Person, group: Any, name: str
) -> None:
    report(alice, bob)
    assert {"alice": alice, "bob": bob}[name].delete("me").status_code == 204
    assert not Report.objects.exists()


def test_a_report_after_an_erasure_meanwhile_is_kept_of_no_one(
    alice: Person, bob: Person, group: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock_all = type(WeChatUser.objects).lock_all

    def and_gone(self: Any, pks: Any) -> Any:
        pks = list(pks)
        asked.append(set(pks))
        WeChatUser.objects.filter(pk=gone).delete()
        return lock_all(self, pks)

    monkeypatch.setattr(type(WeChatUser.objects), "lock_all", and_gone)
    both, asked, gone = {alice.user.pk, bob.user.pk}, list[set[int]](), bob.user.pk
    assert report(alice, bob).status_code == 204
    gone = alice.user.pk
    refused(report(alice, 5), 401, "invalid_token")
    assert asked[0] == both, "the row that is pointed at does not end meanwhile"
    assert not Report.objects.exists()


def test_a_decided_report_is_forgotten_after_ninety_days(
    alice: Person, bob: Person, group: Any, olga: Browser
) -> None:
    report(alice, bob)
    with later(days=89):
        call_command("purge", "reports", verbosity=0)
        assert Report.objects.count() == 1, "it waits for a decision"
    decide(olga, "dismiss", *reported(olga))
    with later(days=89):
        call_command("purge", "reports", verbosity=0)
        assert Report.objects.count() == 1
    with later(days=91):
        call_command("purge", "reports", verbosity=0)
    assert not Report.objects.exists()


# The queue


def test_a_member_reported_by_many_is_one_item_with_reasons_and_numbers(
    alice: Person, bob: Person, charlie: Person, olga: Browser, group: Any
) -> None:
    charlie.enter("family")
    Group.objects.update(label="三班")  # its title would name its first members
    report(alice, bob, "abuse")
    report(charlie, bob, "advert")
    bob.rename("李四")
    report(alice, bob, "abuse")
    assert len(reported(olga)) == 1
    page = olga.get(QUEUE, headers=ENGLISH).content.decode()
    assert "Reported by 2 members" in page and "abuse 2 · advertising" in page
    assert "<bdi>李四</bdi>" in page and bob.user.avatar_path in page
    assert f"/groups/{group.pk}/" in page
    for reporter in (alice, charlie):
        assert reporter.user.nickname not in page, "operators do not see who reported"
        assert f"wechatuser/{reporter.user.pk}/" not in page
    assert "Changed by the member" not in page
    bob.rename("李五")
    assert "Changed by the member" in olga.get(QUEUE, headers=ENGLISH).content.decode()


def test_what_is_reported_counts_where_other_items_do(
    alice: Person, bob: Person, olga: Browser, group: Any
) -> None:
    report(alice, bob)
    bob.put("me", {"nickname": DOUBTFUL})
    answer = olga.get(QUEUE)
    assert answer.context["total"] == 2 and len(answer.context["items"]) == 2
    assert [item.kind.name for item in answer.context["drafts"]] == ["nickname"]
    [figure] = [
        each for each in olga.get("/admin/").context["dashboard"].figures if each.link == QUEUE
    ]
    assert figure.value == 2


def test_a_dismissal_closes_the_reports_and_changes_nothing_else(
    alice: Person, bob: Person, charlie: Person, olga: Browser, group: Any
) -> None:
    charlie.enter("family")
    report(alice, bob)
    assert decide(olga, "dismiss", *reported(olga)) == ["1 dismissed."]
    assert reported(olga) == [] and bob.user.nickname == "李雷"
    event = AuditEvent.objects.get()
    assert (event.action, event.member_id) == ("dismiss_reports", bob.user.pk)
    assert event.group_id == group.pk
    report(alice, bob)
    assert reported(olga) == [], "once a reporter and thing, also after the decision"
    report(charlie, bob)
    assert len(reported(olga)) == 1, "another member may see more in it"


@pytest.mark.parametrize("alias", ["", "班长"])
@pytest.mark.parametrize("verdict", ["reset_name", "reset_face", "reset_both"])
def test_an_operator_deletes_what_the_group_sees(
    alice: Person, bob: Person, olga: Browser, group: Any, verdict: str, alias: str
) -> None:
    WeChatUser.objects.filter(pk=bob.user.pk).update(avatar="x" * 22)
    Membership.objects.filter(user=bob.user).update(alias=alias)
    report(alice, bob)
    item = reported(olga)
    assert decide(olga, verdict, *item) == ["Say why; nothing has been changed."]
    assert decide(olga, verdict, *item, reason="辱骂") == ["1 reset."]
    name, face = verdict != "reset_face", verdict != "reset_name"
    membership = Membership.objects.get(user=bob.user)
    assert membership.alias == ("" if name else alias)
    assert bob.user.nickname == ("" if name and not alias else "李雷")
    assert bob.user.avatar == ("" if face else "x" * 22)
    done = sorted(AuditEvent.objects.values_list("action", "reason"))
    named = "reset_alias" if alias else "reset_nickname"
    assert done == sorted([(named, "辱骂")] * name + [("reset_avatar", "辱骂")] * face)
    assert Report.objects.get().outcome == "upheld" and reported(olga) == []


def test_what_was_changed_after_the_operator_saw_it_is_not_decided(
    alice: Person, bob: Person, olga: Browser, group: Any
) -> None:
    report(alice, bob)
    seen = reported(olga)
    bob.rename("李四")
    [message] = decide(olga, "reset_name", *seen, reason="辱骂")
    assert "please look again" in message and bob.user.nickname == "李四"
    decide(olga, "dismiss", *reported(olga))
    assert decide(olga, "dismiss", *seen) == [
        "1 had been decided already; nothing has been changed."
    ]


def test_a_report_is_neither_approved_nor_refused_in_bulk(
    alice: Person, bob: Person, olga: Browser, group: Any
) -> None:
    report(alice, bob)
    page = olga.get(QUEUE).content.decode()
    assert 'type="checkbox"' not in page and 'class="every"' not in page
    for verdict in ("approve", "refuse", "reset"):
        assert decide(olga, verdict, *reported(olga), reason="x") == [
            "Choose what to decide first."
        ]
    bob.put("me", {"nickname": DOUBTFUL})
    draft = next(item.token for item in olga.get(QUEUE).context["drafts"])
    assert decide(olga, "dismiss", draft) == ["Choose what to decide first."]


def test_who_may_not_change_members_dismisses_reports_and_resets_nothing(
    alice: Person, bob: Person, olga: Browser, group: Any
) -> None:
    report(alice, bob)
    item = reported(olga)
    otto = operator_with("change_membership")
    page = otto.get(QUEUE).content.decode()
    assert 'value="dismiss"' in page and 'value="reset_name"' not in page
    body = {"verdict": "reset_name", "item": item, "reason": "x"}
    assert otto.post(QUEUE, body).status_code == 403
    assert bob.user.nickname == "李雷"
    assert decide(otto, "dismiss", *item) == ["1 dismissed."]


def test_an_operator_for_members_alone_sees_no_reports(
    alice: Person, bob: Person, olga: Browser, group: Any
) -> None:
    report(alice, bob)
    item = reported(olga)
    otto = operator_with("change_wechatuser")
    assert reported(otto) == []
    assert otto.post(QUEUE, {"verdict": "dismiss", "item": item}).status_code == 403
    assert Report.objects.get().outcome == ""


def test_the_page_of_a_member_says_how_many_reports_they_sent_and_how_many_were_dismissed(
    alice: Person, bob: Person, olga: Browser, group: Any
) -> None:
    page = f"/admin/accounts/wechatuser/{alice.user.pk}/change/"
    assert "reports sent" not in olga.get(page, headers=ENGLISH).content.decode()
    report(alice, bob)
    decide(olga, "dismiss", *reported(olga))
    bob.rename("李四")
    report(alice, bob)
    text = olga.get(page, headers=ENGLISH).content.decode()
    assert "<dt>reports sent</dt><dd>2 · 1 dismissed</dd>" in text


def test_the_queue_takes_the_same_queries_however_many_reports(olga: Browser) -> None:
    def measure(rows: int) -> int:
        members = make_members(rows)
        group = make_group(members)
        for membership in group.memberships.exclude(user=members[0]):
            Report.objects.create(
                user=members[0], membership=membership, reason="abuse", shown="x" * 32
            )
        return count_queries(olga, QUEUE)

    at_both_sizes(measure)


def test_an_erased_member_leaves_no_item(
    alice: Person, bob: Person, olga: Browser, group: Any
) -> None:
    report(alice, bob)
    item = reported(olga)
    bob.delete("me")
    assert reported(olga) == []
    assert decide(olga, "dismiss", *item) == [
        "1 had been decided already; nothing has been changed."
    ]
