"""Proving a group, entering it, leaving it, and linking to its page."""

import itertools
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import pytest
import time_machine

from accounts.models import STALE_LIMIT, WeChatUser
from groups.models import Group, Membership, Score
from groups.services import FOUNDING_LIMIT
from tests.cast import BAD_MARKS, FAMILY, GARBAGE, TIME, Person, refused, sealed_for, ticket
from tests.settings import APP_ID
from wechat.sandbox import Sandbox, open_gid_of

NOON = datetime.fromisoformat("2026-11-18T12:00:00+08:00")  # a Wednesday


@pytest.fixture
def clock(sandbox: Sandbox) -> Iterator[Any]:
    """Stop the clock at Wednesday noon; only the test moves it on."""
    with time_machine.travel(NOON, tick=False) as traveller:
        yield traveller


@pytest.fixture
def dana(clock: Any, make_person: Any) -> Person:
    """Return a person who logged in on Wednesday noon."""
    return make_person("dana")


def gid(number: int) -> str:
    return f"tG-group-number-{number:04}"


def bind(person: Person, body: dict[str, Any], **more: Any) -> Any:
    return person.post("groups/bind", {**body, **more})


def resolve(person: Person, chat: str = "family") -> dict[str, Any]:
    """Return the answer of `groups/resolve`, as a client would pass it on to bind."""
    answer = person.post("groups/resolve", person.envelope(chat))
    assert answer.status_code == 200, answer.content
    body: dict[str, Any] = answer.json()
    return body


def active_days(person: Person, open_gid: str, period: str = "all") -> int | None:
    answer = person.get(f"groups/{open_gid}/ranking?period={period}")
    assert answer.status_code == 200, answer.content
    score: int | None = answer.json()["me"]["score"]
    return score


def nothing_is_bound() -> bool:
    return not (Group.objects.exists() or Membership.objects.exists() or Score.objects.exists())


# Entering with an envelope


@pytest.mark.parametrize("call", ["getShareInfo", "getGroupEnterInfo", "without a watermark"])
def test_one_call_enters_a_group_for_each_wx_call(alice: Person, call: str) -> None:
    sealed = alice.envelope("family")
    if call != "getShareInfo":
        sealed = alice.phone.group_enter_info(watermark=call == "getGroupEnterInfo")
    answer = bind(alice, sealed)
    assert answer.status_code == 201
    assert answer.json()["openGId"] == FAMILY
    assert Membership.objects.get().watermarked is (call != "without a watermark")


def test_a_bind_answers_what_the_contract_says(alice: Person) -> None:
    answer = bind(alice, alice.envelope("family"), scene=1044)
    assert answer.status_code == 201
    body = answer.json()
    assert body.keys() == {"created", "openGId", "group", "membership", "user"}
    assert (body["created"], body["openGId"]) == (True, FAMILY)
    group, membership = body["group"], body["membership"]
    assert group.keys() == {"openGId", "title", "memberCount", "membership"}
    assert (group["openGId"], group["memberCount"]) == (FAMILY, 1)
    assert group["title"] and group["membership"] == membership
    assert membership.keys() == {"joinedAt", "verifiedAt", "hidden", "alias", "aliasState"}
    assert TIME.fullmatch(membership["joinedAt"]) and TIME.fullmatch(membership["verifiedAt"])
    assert (membership["hidden"], membership["alias"]) == (False, "")
    assert body["user"] == alice.get("me").json()


def test_the_second_entry_answers_200_with_the_same_membership(dana: Person, clock: Any) -> None:
    first = bind(dana, dana.envelope("family"))
    clock.shift(60)
    second = bind(dana, dana.envelope("family"))
    assert (first.status_code, second.status_code) == (201, 200)
    before, after = first.json()["membership"], second.json()["membership"]
    assert second.json()["created"] is False
    assert after["joinedAt"] == before["joinedAt"]
    assert after["verifiedAt"] > before["verifiedAt"]
    assert Membership.objects.count() == Group.objects.count() == 1


def test_the_second_person_joins_the_group_of_the_first(alice: Person, bob: Person) -> None:
    alice.enter("family")
    answer = bind(bob, bob.envelope("family"))
    assert answer.status_code == 201
    assert answer.json()["group"]["memberCount"] == 2
    assert Group.objects.count() == 1


def test_open_gids_that_differ_by_case_are_two_groups(alice: Person) -> None:
    for open_gid in ("tGsjAbCdEfGhIjKlMnOpQrStUvWx", "tGsjAbCdEfGhIjKlMnOpQrStUvWX"):
        assert bind(alice, sealed_for(alice, {"openGId": open_gid})).status_code == 201
    assert Group.objects.count() == 2


@pytest.mark.parametrize("more", [{}, {"cloudID": "0_KD0Xm"}, {"cloudID": None}], ids=str)
def test_a_whole_result_of_wx_may_be_sent(alice: Person, more: dict[str, Any]) -> None:
    result = alice.envelope("family") | {"errMsg": "getGroupEnterInfo:ok"} | more
    assert bind(alice, result).status_code == 201
    assert alice.post("groups/resolve", result).status_code == 200


def test_elsewhere_a_cloud_id_is_an_unknown_key(alice: Person) -> None:
    resolved = alice.post("groups/resolve", alice.envelope("family")).json()
    for path, body in (
        ("groups/bind", ticket(resolved)),
        ("me/consent", {"version": "1", "purposes": ["avatar"]}),
        ("logout", {}),
    ):
        answer = refused(alice.post(path, {**body, "cloudID": "0_KD0Xm"}), 400, "invalid")
        assert list(answer["fields"]) == ["cloudID"]


@pytest.mark.parametrize("key", ["openGid", "user", "group", "founded_by"])
def test_an_unknown_key_is_refused(alice: Person, key: str) -> None:
    for path in ("groups/bind", "groups/resolve"):
        answer = alice.post(path, {**alice.envelope("family"), key: "x"})
        assert refused(answer, 400, "invalid")["fields"].keys() == {key}
    assert nothing_is_bound()


@pytest.mark.parametrize("scene", [0, 1007, 1044, 65535])
def test_a_scene_is_stored(alice: Person, scene: int) -> None:
    assert bind(alice, alice.envelope("family"), scene=scene).status_code == 201
    assert Membership.objects.get().scene == scene


@pytest.mark.no_service
@pytest.mark.parametrize("scene", [-1, 65536, "1044", 1044.0, True, None, [1044], 10**30])
def test_a_wrong_scene_is_invalid(alice: Person, scene: Any) -> None:
    error = refused(bind(alice, alice.envelope("family"), scene=scene), 400, "invalid")
    assert error["fields"].keys() == {"scene"}
    assert nothing_is_bound()


def test_each_proof_records_whether_it_had_a_watermark(alice: Person) -> None:
    alice.enter("family")
    for watermark in (False, True):
        bind(alice, alice.phone.group_enter_info(watermark=watermark))
        assert Membership.objects.get().watermarked is watermark


def test_an_envelope_without_a_required_watermark_is_refused(alice: Person, settings: Any) -> None:
    settings.WATERMARK_REQUIRED = True
    alice.phone.open_card("family")
    refused(bind(alice, alice.phone.group_enter_info(watermark=False)), 409, "session_stale")
    assert bind(alice, alice.phone.group_enter_info()).status_code == 201


# Entering with a ticket


def test_resolve_binds_nothing_and_its_answer_can_be_bound(alice: Person) -> None:
    resolved = resolve(alice)
    assert resolved.keys() == {"openGId", "openid", "ticket", "expiresIn"}
    assert (resolved["openGId"], resolved["openid"]) == (FAMILY, alice.openid)
    assert resolved["expiresIn"] == 300
    assert nothing_is_bound()
    answer = bind(alice, ticket(resolved), scene=1044)
    assert (answer.status_code, answer.json()["openGId"]) == (201, FAMILY)
    assert Membership.objects.get().scene == 1044


def test_a_ticket_can_be_used_again(alice: Person) -> None:
    resolved = ticket(resolve(alice))
    assert [bind(alice, resolved).status_code for _ in range(3)] == [201, 200, 200]


@pytest.mark.parametrize(("age", "good"), [(299, True), (301, False)])
def test_a_ticket_is_valid_for_five_minutes(dana: Person, clock: Any, age: int, good: bool) -> None:
    resolved = ticket(resolve(dana))
    clock.shift(age)
    answer = bind(dana, resolved)
    if good:
        assert answer.status_code == 201
    else:
        refused(answer, 403, "group_not_proven")
        assert nothing_is_bound()


def test_a_ticket_records_whether_its_proof_had_a_watermark(alice: Person) -> None:
    alice.phone.open_card("family")
    sealed = alice.phone.group_enter_info(watermark=False)
    assert bind(alice, ticket(alice.post("groups/resolve", sealed).json())).status_code == 201
    assert Membership.objects.get().watermarked is False


def test_a_ticket_of_another_user_or_group_proves_nothing(alice: Person, bob: Person) -> None:
    mine, bobs, other = resolve(alice), resolve(bob), resolve(alice, "work")
    text = mine["ticket"]
    for wrong in (
        ticket(mine, ticket=text[:-1] + ("A" if text[-1] != "A" else "B")),
        ticket(mine, ticket="x" + text),
        ticket(mine, ticket="garbage"),
        ticket(mine, ticket=text.replace(":", ".")),
        ticket(bobs),
        ticket(bobs, openid=alice.openid),
        ticket(mine, openid=bob.openid),
        ticket(mine, openid=alice.openid.swapcase()),
        ticket(mine, openGId=open_gid_of(APP_ID, "work")),
        ticket(mine, openGId=FAMILY.swapcase()),
        ticket(mine, ticket=other["ticket"]),
    ):
        refused(bind(alice, wrong), 403, "group_not_proven")
    assert nothing_is_bound()
    assert bind(alice, ticket(mine)).status_code == 201, "the right one fits all the same"


def test_other_signed_texts_are_not_tickets(alice: Person) -> None:
    resolved = resolve(alice)
    alice.enter("work")
    url = alice.post(f"groups/{open_gid_of(APP_ID, 'work')}/link").json()["url"]
    signed = urlsplit(url).path.strip("/").rpartition("/")[2]
    refused(bind(alice, ticket(resolved, ticket=signed)), 403, "group_not_proven")
    assert alice.get(f"/g/{resolved['ticket']}/").status_code == 404


@pytest.mark.parametrize("missing", ["openGId", "openid", "ticket"])
def test_a_ticket_without_one_of_its_parts_is_invalid(alice: Person, missing: str) -> None:
    resolved = ticket(resolve(alice))
    del resolved[missing]
    error = refused(bind(alice, resolved), 400, "invalid")
    assert error["fields"].keys() == {missing}
    assert nothing_is_bound()


@pytest.mark.no_service
@pytest.mark.parametrize("name", ["openGId", "openid", "ticket"])
@pytest.mark.parametrize("value", ["", None, 5, ["x"]])
def test_a_ticket_with_a_part_of_the_wrong_type_is_invalid(
    alice: Person, name: str, value: Any
) -> None:
    error = refused(bind(alice, ticket(resolve(alice), **{name: value})), 400, "invalid")
    assert error["fields"].keys() == {name}


def test_a_ticket_that_is_very_long_proves_nothing(alice: Person) -> None:
    refused(bind(alice, ticket(resolve(alice), ticket="x" * 2000)), 403, "group_not_proven")
    assert nothing_is_bound()


@pytest.mark.parametrize("form", [["encryptedData"], ["iv"], ["encryptedData", "iv"]])
def test_an_envelope_with_a_ticket_is_invalid(alice: Person, form: list[str]) -> None:
    sealed = alice.envelope("family")
    mixed = {**ticket(resolve(alice)), **{name: sealed[name] for name in form}}
    error = refused(bind(alice, mixed), 400, "invalid")
    assert error["fields"].keys() == set(form)
    assert nothing_is_bound()


@pytest.mark.parametrize("name", ["openGId", "openid", "ticket"])
def test_an_envelope_with_one_part_of_a_ticket_is_invalid(alice: Person, name: str) -> None:
    part = {name: ticket(resolve(alice))[name]}
    refused(bind(alice, {**alice.envelope("family"), **part}), 400, "invalid")
    assert nothing_is_bound()


# Malformed envelopes


@pytest.mark.no_service
@pytest.mark.parametrize(
    "changed",
    [
        {"encryptedData": ""},
        {"encryptedData": "A" * 20 + "=="},
        {"encryptedData": "A" * 22 + " =="},
        {"encryptedData": "AAAA"},
        {"encryptedData": None},
        {"encryptedData": 5},
        {"encryptedData": ["A"]},
        {"iv": ""},
        {"iv": "AAAA"},
        {"iv": "A" * 22},
        {"iv": "A" * 22 + "==\n"},
        {"iv": None},
        {"iv": 5},
    ],
    ids=repr,
)
def test_a_malformed_envelope_is_invalid_and_is_not_counted(
    alice: Person, changed: dict[str, Any]
) -> None:
    for path in ("groups/bind", "groups/resolve"):
        error = refused(alice.post(path, {**GARBAGE, **changed}), 400, "invalid")
        assert error["fields"].keys() <= {"encryptedData", "iv"}
    assert alice.user.stale_count == 0
    assert nothing_is_bound()


@pytest.mark.no_service
@pytest.mark.parametrize("body", [{}, {"iv": GARBAGE["iv"]}, {"scene": 1044}, [], None, "x", 5])
def test_a_body_that_is_not_an_envelope_is_invalid(alice: Person, body: Any) -> None:
    for path in ("groups/bind", "groups/resolve"):
        refused(alice.post(path, body), 400, "invalid")


# No group


@pytest.mark.parametrize("chat_type", [1, 2, "1", "2"])
def test_a_chat_of_two_is_not_a_group(alice: Person, chat_type: Any) -> None:
    payload = {"opengid": FAMILY, "chat_type": chat_type}
    for path in ("groups/bind", "groups/resolve"):
        refused(alice.post(path, sealed_for(alice, payload)), 409, "not_a_group")
    assert nothing_is_bound()


@pytest.mark.parametrize("chat_type", [3, 4, "3", "4"])
def test_both_kinds_of_group_chats_are_groups(alice: Person, chat_type: Any) -> None:
    sealed = sealed_for(alice, {"opengid": FAMILY, "chat_type": chat_type}, marked=False)
    assert bind(alice, sealed).status_code == 201


def test_a_kind_of_chat_that_is_null_counts_as_absent(alice: Person) -> None:
    sealed = sealed_for(alice, {"opengid": FAMILY, "chat_type": None})
    assert bind(alice, sealed).status_code == 201


@pytest.mark.parametrize("size", [1, 19, 20, 29, 64, 65])
def test_an_id_that_an_envelope_proves_has_twenty_to_sixty_four_characters(
    alice: Person, size: int
) -> None:
    open_gid = "tG".ljust(size, "x")[:size]
    answer = bind(alice, sealed_for(alice, {"openGId": open_gid}))
    if 20 <= size <= 64:
        assert (answer.status_code, answer.json()["openGId"]) == (201, open_gid)
    else:
        refused(answer, 409, "session_stale")
        assert nothing_is_bound() and alice.user.stale_count == 1


@pytest.mark.parametrize("mark", [True, False], ids=["marked", "without a watermark"])
def test_a_group_beside_a_profile_is_stale(alice: Person, mark: bool) -> None:
    payload = {"opengid": FAMILY, "gender": 0, "avatarUrl": "https://thirdwx.qlogo.cn/x"}
    refused(bind(alice, sealed_for(alice, payload, marked=mark)), 409, "session_stale")
    assert nothing_is_bound() and alice.user.stale_count == 1


def test_genuine_data_without_a_group_is_not_counted_as_stale(alice: Person) -> None:
    for _ in range(STALE_LIMIT + 1):
        refused(bind(alice, alice.phone.user_info()), 409, "not_a_group")
    alice.phone.open_single()
    for watermark in (True, False):
        sealed = alice.phone.group_enter_info(watermark=watermark)
        refused(bind(alice, sealed), 409, "not_a_group")
    assert alice.user.stale_count == 0
    assert nothing_is_bound()


# Stale sessions


def test_data_fetched_before_the_log_in_is_stale_until_the_next_log_in(alice: Person) -> None:
    """Make a new key on the phone by wx.login; the server still has the previous one."""
    code = alice.phone.login()
    sealed = alice.envelope("family")
    refused(bind(alice, sealed), 409, "session_stale")
    alice.post("login", {"code": code})
    assert bind(alice, sealed).status_code == 201


def test_data_older_than_the_previous_key_is_stale(alice: Person) -> None:
    sealed = alice.envelope("family")
    alice.log_in().log_in()
    refused(bind(alice, sealed), 409, "session_stale")
    assert bind(alice, alice.envelope("family")).status_code == 201


@pytest.mark.parametrize(
    ("age", "fresh"), [(-61, False), (-60, True), (0, True), (300, True), (301, False)]
)
def test_an_envelope_is_fresh_from_a_minute_ahead_to_five_minutes_old(
    dana: Person, age: int, fresh: bool
) -> None:
    made_at = int(NOON.timestamp()) - age
    answer = bind(dana, sealed_for(dana, {"openGId": FAMILY}, timestamp=made_at))
    if fresh:
        assert answer.status_code == 201
    else:
        refused(answer, 409, "session_stale")


@pytest.mark.parametrize("mark", BAD_MARKS.values(), ids=BAD_MARKS)
def test_an_envelope_with_a_wrong_watermark_is_stale(alice: Person, mark: dict[str, Any]) -> None:
    refused(bind(alice, sealed_for(alice, {"openGId": FAMILY}, **mark)), 409, "session_stale")
    assert nothing_is_bound()


def test_ten_stale_envelopes_lock_both_calls(dana: Person, clock: Any) -> None:
    for path, _ in zip(itertools.cycle(["groups/bind", "groups/resolve"]), range(STALE_LIMIT)):
        refused(dana.post(path, GARBAGE), 409, "session_stale")
        clock.shift(60)
    for path in ("groups/bind", "groups/resolve"):
        error = refused(dana.post(path, GARBAGE), 429, "bind_locked")
        assert error["retryAfter"] == 3000, "an hour after the first"


def lock(person: Person) -> dict[str, Any]:
    """Send ten envelopes that do not open; return a ticket from before."""
    resolved = ticket(resolve(person))
    for _ in range(STALE_LIMIT):
        refused(bind(person, GARBAGE), 409, "session_stale")
    return resolved


def test_a_lock_refuses_valid_envelopes_too_and_outlives_a_log_in(dana: Person) -> None:
    resolved = lock(dana)
    for _ in range(2):
        refused(bind(dana, dana.envelope("family")), 429, "bind_locked")
        refused(dana.post("groups/resolve", dana.envelope("family")), 429, "bind_locked")
        refused(bind(dana, resolved), 429, "bind_locked")
        dana.log_in()
    assert nothing_is_bound()


def test_a_lock_affects_no_other_call_and_no_other_user(dana: Person, make_person: Any) -> None:
    dana.enter("family")
    lock(dana)
    assert dana.get(f"groups/{FAMILY}").status_code == 200
    eve = make_person("eve")
    assert bind(eve, eve.envelope("family")).status_code == 201


@pytest.mark.parametrize(("waited", "locked"), [(3599, True), (3600, False)])
def test_a_lock_ends_after_an_hour(dana: Person, clock: Any, waited: int, locked: bool) -> None:
    lock(dana)
    clock.shift(waited)
    answer = bind(dana, dana.envelope("family"))
    if locked:
        assert refused(answer, 429, "bind_locked")["retryAfter"] == 1
    else:
        assert answer.status_code == 201
        lock(dana)
        refused(bind(dana, GARBAGE), 429, "bind_locked")


def test_a_lock_ends_when_a_clock_that_was_ahead_is_set_right(dana: Person, clock: Any) -> None:
    clock.shift(timedelta(days=1))
    lock(dana)
    clock.shift(timedelta(days=-1))
    assert bind(dana, dana.envelope("family")).status_code == 201
    lock(dana)
    assert refused(bind(dana, GARBAGE), 429, "bind_locked")["retryAfter"] <= 3600


def test_nine_stale_envelopes_do_not_lock_and_are_forgotten_after_an_hour(
    dana: Person, clock: Any
) -> None:
    for _ in range(2):
        for _ in range(STALE_LIMIT - 1):
            refused(bind(dana, GARBAGE), 409, "session_stale")
        assert bind(dana, dana.envelope("family")).status_code in {200, 201}
        clock.shift(3601)


def test_a_success_in_between_does_not_reset_the_count(dana: Person) -> None:
    for _ in range(STALE_LIMIT - 1):
        refused(bind(dana, GARBAGE), 409, "session_stale")
    assert bind(dana, dana.envelope("family")).status_code == 201
    refused(bind(dana, GARBAGE), 409, "session_stale")
    refused(bind(dana, GARBAGE), 429, "bind_locked")


def test_malformed_envelopes_and_wrong_tickets_are_not_counted(alice: Person) -> None:
    for _ in range(STALE_LIMIT + 1):
        refused(bind(alice, {**GARBAGE, "iv": "AAAA"}), 400, "invalid")
        wrong = {"openGId": FAMILY, "openid": alice.openid, "ticket": "garbage"}
        refused(bind(alice, wrong), 403, "group_not_proven")
    assert bind(alice, alice.envelope("family")).status_code == 201


# Founding


def test_a_user_founds_at_most_a_hundred_groups_a_day(
    dana: Person, make_person: Any, clock: Any
) -> None:
    eve = make_person("eve")
    assert FOUNDING_LIMIT == 100
    for number in range(FOUNDING_LIMIT):
        assert bind(dana, sealed_for(dana, {"openGId": gid(number)})).status_code == 201
    clock.shift(3600)
    for _ in range(2):
        answer = bind(dana, sealed_for(dana, {"openGId": gid(100)}))
        assert refused(answer, 429, "throttled")["retryAfter"] == 23 * 3600
    assert not Group.objects.filter(open_gid=gid(100)).exists()
    assert bind(dana, sealed_for(dana, {"openGId": gid(7)})).status_code == 200, "founded before"
    eve.enter("family")
    assert bind(dana, dana.envelope("family")).status_code == 201, "it existed before"
    assert bind(eve, sealed_for(eve, {"openGId": gid(100)})).status_code == 201, "eve may"
    clock.shift(23 * 3600)
    assert bind(dana, sealed_for(dana, {"openGId": gid(101)})).status_code == 201, "the next day"


# Leaving and lapsing


def everything_about(open_gid: str) -> list[tuple[str, str, Any]]:
    group = f"groups/{open_gid}"
    return [
        ("GET", group, None),
        ("PUT", f"{group}/membership", {"hidden": True}),
        ("DELETE", f"{group}/membership", None),
        ("GET", f"{group}/ranking", None),
        ("GET", f"{group}/ranking/around", None),
        ("POST", f"{group}/link", {}),
    ]


def is_outside(person: Person, open_gid: str) -> None:
    for method, path, body in everything_about(open_gid):
        refused(person.call(method, path, body), 404, "not_found")
    assert open_gid not in [group["openGId"] for group in person.get("groups").json()["groups"]]


def test_a_member_who_left_is_outside_until_they_come_back(
    alice: Person, bob: Person, group: Group
) -> None:
    answer = alice.delete(f"groups/{FAMILY}/membership")
    assert (answer.status_code, answer.content) == (204, b"")
    is_outside(alice, FAMILY)
    ranking = bob.get(f"groups/{FAMILY}/ranking").json()
    assert [entry["isMe"] for entry in ranking["entries"]] == [True]
    assert ranking["group"]["memberCount"] == ranking["total"] == 1
    answer = bind(alice, alice.envelope("family"))
    assert (answer.status_code, answer.json()["created"]) == (201, True)
    assert alice.get(f"groups/{FAMILY}").json()["memberCount"] == 2
    assert Membership.objects.count() == 2


def test_an_absent_group_and_a_foreign_one_get_the_same_answer(
    charlie: Person, group: Group
) -> None:
    for open_gid in (FAMILY, "tGno-such-group", FAMILY.swapcase(), "a b", "群", "a" * 65):
        is_outside(charlie, open_gid)


@pytest.mark.parametrize(("days", "lapsed"), [(30, False), (31, True)])
def test_a_membership_lapses_after_thirty_days_and_a_new_proof_restores_it(
    dana: Person, make_person: Any, clock: Any, days: int, lapsed: bool
) -> None:
    dana.enter("family")
    joined = dana.get(f"groups/{FAMILY}").json()["membership"]["joinedAt"]
    eve = make_person("eve")
    clock.shift(timedelta(days=days))
    for person in (dana, eve):
        person.token = person.log_in().token
    eve.enter("family")
    assert eve.get(f"groups/{FAMILY}").json()["memberCount"] == (1 if lapsed else 2)
    if lapsed:
        is_outside(dana, FAMILY)
        total = eve.get(f"groups/{FAMILY}/ranking?period=all").json()["total"]
        assert total == 1
    assert bind(dana, dana.envelope("family")).status_code == 200
    assert dana.get(f"groups/{FAMILY}").json()["membership"]["joinedAt"] == joined
    assert active_days(dana, FAMILY) == 2
    assert active_days(dana, FAMILY, "2026-11-18") == 1


def test_the_days_that_a_proof_lasts_are_a_setting(dana: Person, clock: Any, settings: Any) -> None:
    settings.MEMBERSHIP_PROOF_DAYS = 1
    dana.enter("family")
    clock.shift(timedelta(days=1, seconds=1))
    is_outside(dana, FAMILY)


# Active days


def test_a_day_counts_once_however_often_a_member_enters(dana: Person, clock: Any) -> None:
    for _ in range(3):
        dana.enter("family")
        clock.shift(3600)
    bind(dana, ticket(resolve(dana)))
    windows = ("day", "week", "month", "all")
    assert [active_days(dana, FAMILY, window) for window in windows] == [1, 1, 1, 1]
    clock.shift(timedelta(days=1))
    dana.enter("family")
    assert [active_days(dana, FAMILY, window) for window in windows] == [1, 2, 2, 2]
    assert active_days(dana, FAMILY, "2026-11-18") == 1


def test_the_day_begins_at_midnight_in_shanghai(dana: Person, clock: Any) -> None:
    dana.enter("family")
    for moment, days in [
        ("2026-11-18T23:59:59.999+08:00", 1),
        ("2026-11-19T00:00:00+08:00", 2),
        ("2026-11-19T07:59:59+08:00", 2),
        ("2026-11-19T08:00:00+08:00", 2),
        ("2026-11-19T23:59:59+08:00", 2),
        ("2026-11-20T00:00:00+08:00", 3),
    ]:
        clock.move_to(datetime.fromisoformat(moment))
        dana.enter("family")
        assert active_days(dana, FAMILY) == days, moment


def test_no_day_counts_twice_when_the_clock_goes_back(dana: Person, clock: Any) -> None:
    dana.enter("family")
    clock.shift(timedelta(days=-1))
    dana.log_in().enter("family")
    clock.move_to(NOON + timedelta(hours=1))
    dana.log_in().enter("family")
    assert active_days(dana, FAMILY) == 1


def test_leaving_and_coming_back_the_same_day_counts_once(dana: Person) -> None:
    dana.enter("family")
    dana.delete(f"groups/{FAMILY}/membership")
    dana.enter("family")
    assert active_days(dana, FAMILY) == 1


def test_each_group_counts_its_own_days(dana: Person, clock: Any) -> None:
    dana.enter("family")
    clock.shift(timedelta(days=1))
    dana.enter("family")
    dana.enter("work")
    assert active_days(dana, FAMILY) == 2
    assert active_days(dana, open_gid_of(APP_ID, "work")) == 1


# The list of groups


def test_groups_are_listed_page_by_page_the_latest_visit_first(dana: Person, clock: Any) -> None:
    for number in range(25):
        bind(dana, sealed_for(dana, {"openGId": gid(number)}))
        if number % 2:
            clock.shift(1)
    clock.shift(1)
    bind(dana, sealed_for(dana, {"openGId": gid(3)}))
    expected = [3, *(number for number in range(24, -1, -1) if number != 3)]
    first = dana.get("groups").json()
    assert first.keys() == {"groups", "next"} and len(first["groups"]) == 20
    second = dana.get(f"groups?cursor={first['next']}").json()
    assert second["next"] is None
    found = [group["openGId"] for group in first["groups"] + second["groups"]]
    assert sorted(found) == sorted(map(gid, range(25)))
    visits = [group["membership"]["verifiedAt"] for group in first["groups"] + second["groups"]]
    assert visits == sorted(visits, reverse=True)
    assert found == [gid(number) for number in expected]


def test_a_list_of_exactly_one_page_has_no_next_page(alice: Person) -> None:
    assert alice.get("groups").json() == {"groups": [], "next": None}
    for number in range(20):
        bind(alice, sealed_for(alice, {"openGId": gid(number)}))
    listed = alice.get("groups").json()
    assert (len(listed["groups"]), listed["next"]) == (20, None)


def test_a_group_is_the_same_alone_and_in_the_list(alice: Person, group: Group) -> None:
    [listed] = alice.get("groups").json()["groups"]
    assert listed == alice.get(f"groups/{FAMILY}").json()


@pytest.mark.parametrize("cursor", ["garbage", "a:b:c", "5", "é", "%00", "%ff"])
def test_a_malformed_cursor_is_invalid(alice: Person, cursor: str) -> None:
    error = refused(alice.get(f"groups?cursor={cursor}"), 400, "invalid")
    assert error["fields"].keys() == {"cursor"}


def test_a_cursor_of_another_person_is_invalid(alice: Person, bob: Person) -> None:
    for number in range(21):
        bind(alice, sealed_for(alice, {"openGId": gid(number)}))
    cursor = alice.get("groups").json()["next"]
    refused(bob.get(f"groups?cursor={cursor}"), 400, "invalid")
    refused(alice.get(f"groups?cursor={cursor[:-1]}"), 400, "invalid")


# The membership


def test_a_change_of_hidden_or_alias_answers_the_membership(alice: Person, group: Group) -> None:
    before = alice.get(f"groups/{FAMILY}").json()["membership"]
    path = f"groups/{FAMILY}/membership"
    assert alice.put(path, {"hidden": True}).json() == before | {"hidden": True}
    assert alice.put(path, {"alias": " 妈 妈 "}).json() == before | {
        "hidden": True,
        "alias": "妈 妈",
    }
    assert alice.put(path, {}).json() == before | {"hidden": True, "alias": "妈 妈"}
    assert alice.put(path, {"hidden": False, "alias": ""}).json() == before
    assert alice.get(f"groups/{FAMILY}").json()["membership"] == before


@pytest.mark.no_service
@pytest.mark.parametrize(
    "body",
    [
        {"hidden": "true"},
        {"hidden": 1},
        {"hidden": None},
        {"alias": 5},
        {"alias": None},
        {"alias": " "},
        {"alias": "x" * 33},
        {"verifiedAt": "2030-01-01"},
        {"hidden": True, "left_at": None},
    ],
    ids=repr,
)
def test_a_wrong_change_of_the_membership_changes_nothing(
    alice: Person, group: Group, body: dict[str, Any]
) -> None:
    before = list(Membership.objects.order_by("pk").values())
    refused(alice.put(f"groups/{FAMILY}/membership", body), 400, "invalid")
    assert list(Membership.objects.order_by("pk").values()) == before


def test_a_hidden_member_is_gone_from_the_next_read_and_still_counted(
    alice: Person, bob: Person, group: Group
) -> None:
    alice.put(f"groups/{FAMILY}/membership", {"hidden": True})
    ranking = bob.get(f"groups/{FAMILY}/ranking").json()
    assert (ranking["total"], ranking["group"]["memberCount"]) == (1, 2)
    assert alice.get(f"groups/{FAMILY}/ranking").json()["absent"] == "hidden"


# The link


def link(person: Person) -> dict[str, Any]:
    answer = person.post(f"groups/{FAMILY}/link", {})
    assert answer.status_code == 200, answer.content
    body: dict[str, Any] = answer.json()
    return body


def visit(person: Person, url: str) -> Any:
    """Open the page in a browser without a token."""
    return person.browser.get(urlsplit(url).path)


def test_a_link_has_no_query_string_and_says_when_it_expires(dana: Person, clock: Any) -> None:
    dana.enter("family")
    made = link(dana)
    assert made.keys() == {"url", "expiresAt"}
    parts = urlsplit(made["url"])
    assert (parts.scheme, parts.netloc, parts.query, parts.fragment) == (
        "http",
        "testserver",
        "",
        "",
    )
    assert parts.path.startswith("/g/") and parts.path.endswith("/")
    assert TIME.fullmatch(made["expiresAt"])
    assert datetime.fromisoformat(made["expiresAt"]) == NOON + timedelta(hours=1)
    page = visit(dana, made["url"])
    assert page.status_code == 200
    assert page["X-Robots-Tag"] == "noindex"
    assert page["Referrer-Policy"] == "no-referrer"
    for secret in (dana.openid, dana.token, FAMILY):
        assert secret not in made["url"] and secret not in page.content.decode()


@pytest.mark.parametrize(("age", "status"), [(3600, 200), (3601, 410)])
def test_a_link_is_valid_for_an_hour(dana: Person, clock: Any, age: int, status: int) -> None:
    dana.enter("family")
    url = link(dana)["url"]
    clock.shift(age)
    assert visit(dana, url).status_code == status


def test_an_altered_link_is_not_found(alice: Person, group: Group) -> None:
    url = link(alice)["url"]
    signed = url.strip("/").rpartition("/")[2]
    for wrong in (signed[:-1], "x" + signed, signed.swapcase(), signed.replace(":", "."), "é", "x"):
        assert alice.browser.get(f"/g/{wrong}/").status_code == 404


def test_a_link_names_its_board_and_an_unknown_board_is_not_found(
    alice: Person, group: Group
) -> None:
    path = f"groups/{FAMILY}/link"
    assert visit(alice, alice.post(path, {"board": "active-days"}).json()["url"]).status_code == 200
    refused(alice.post(path, {"board": "no-such-board"}), 404, "not_found")
    for body in ({"board": 5}, {"board": None}, {"hat": "red"}):
        refused(alice.post(path, body), 400, "invalid")
    assert alice.post(path).status_code == 200, "no body is an empty one"


def test_a_link_ends_with_its_makers_own_access(
    alice: Person, bob: Person, group: Group, settings: Any
) -> None:
    url, bobs = link(alice)["url"], link(bob)["url"]
    alice.user.memberships.update(left_at=alice.user.created_at)
    assert visit(alice, url).status_code == 404
    alice.user.memberships.update(left_at=None)
    assert visit(alice, url).status_code == 200
    WeChatUser.objects.filter(pk=alice.user.pk).update(status=WeChatUser.Status.BLOCKED)
    assert visit(alice, url).status_code == 404
    assert visit(bob, bobs).status_code == 200


def test_a_link_ends_when_the_membership_lapses(dana: Person, clock: Any, settings: Any) -> None:
    settings.LINK_MAX_AGE = 90 * 24 * 3600
    dana.enter("family")
    url = link(dana)["url"]
    clock.shift(timedelta(days=30))
    assert visit(dana, url).status_code == 200
    clock.shift(timedelta(days=1))
    assert visit(dana, url).status_code == 404
