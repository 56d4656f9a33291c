"""WeChat's id of a member within one group: who is given it, and how long it is kept."""

from typing import Any

import pytest
from django.test import Client as Browser
from django.utils import timezone

from accounts.models import WeChatUser
from groups.models import Group, Membership, ServerKey
from tests.cast import FAMILY, Person, refused, sealed_for
from tests.settings import APP_ID
from wechat.crypto import group_openid_in
from wechat.sandbox import group_openid_of

RANKING = f"groups/{FAMILY}/ranking"


def mine(person: Person, chat: str = "family") -> str:
    """Return the id of a person within a chat, as the sandbox tells it."""
    return group_openid_of(APP_ID, chat, person.name)


def enter(person: Person, chat: str = "family", *, given: bool = True) -> Person:
    """Open a card in `chat` and bind, with an id within the group or without one."""
    person.phone.open_card(chat)
    sealed = person.phone.group_enter_info(group_openid=given)
    assert person.post("groups/bind", sealed).status_code in {200, 201}
    return person


def enter_as(person: Person, group_openid: Any, status: int) -> None:
    """Bind with an envelope that tells this id."""
    payload = {"opengid": FAMILY, "chat_type": 3, "group_openid": group_openid}
    answer = person.post("groups/bind", sealed_for(person, payload))
    assert answer.status_code == status, answer.content


def ids_seen(person: Person, path: str = RANKING) -> dict[str, str | None]:
    """Return the ids that a ranking shows, by member."""
    entries = person.get(path).json()["entries"]
    return {entry["member"]["id"]: entry["member"]["groupOpenId"] for entry in entries}


def number(person: Person) -> str:
    return str(person.body["user"]["id"])


def kept(person: Person) -> list[str]:
    rows = Membership.objects.filter(user=person.user).order_by("pk")
    return list(rows.values_list("group_openid", flat=True))


# Who is given it


def test_members_of_the_group_see_who_is_known_and_null_for_others(
    alice: Person, bob: Person
) -> None:
    enter(alice)
    enter(bob, given=False)
    expected = {number(alice): mine(alice), number(bob): None}
    assert ids_seen(bob) == ids_seen(alice) == expected
    assert ids_seen(bob, f"{RANKING}/around") == expected
    me = alice.get(RANKING).json()["me"]["member"]
    assert list(me) == ["id", "nickname", "avatar", "groupOpenId"]
    assert me["groupOpenId"] == mine(alice)


def test_each_group_has_its_own_and_no_other_group_shows_it(alice: Person, bob: Person) -> None:
    enter(alice)
    enter(alice, "work", given=False)
    enter(bob, "work")
    work = Group.objects.exclude(open_gid=FAMILY).get().open_gid
    shown = ids_seen(bob, f"groups/{work}/ranking")
    assert shown == {number(alice): None, number(bob): mine(bob, "work")}
    refused(bob.get(RANKING), 404, "not_found")


@pytest.fixture
def server(db: None) -> Person:
    no_phone: Any = None
    text, _row = ServerKey.objects.issue(APP_ID, "backend", timezone.now())
    return Person("backend", no_phone, token=text)


def test_neither_servers_nor_pages_nor_operators_see_it(
    alice: Person, olga: Browser, server: Person
) -> None:
    enter(alice)
    secret = mine(alice)
    group = Group.objects.get()
    key = {"Authorization": f"Key {server.token}"}
    ranking = server.get(f"server/groups/{FAMILY}/ranking", **key)
    assert ranking.json()["entries"][0]["member"].keys() == {"id", "nickname", "avatar"}
    page = Browser().get(alice.post(f"groups/{FAMILY}/link", {}).json()["url"])
    shown = [ranking, page]
    shown += [server.get(f"server/users/{alice.openid}/groups", **key)]
    for path in (
        f"/groups/{group.pk}/",
        "/groups/",
        f"/admin/accounts/wechatuser/{alice.user.pk}/change/",
        f"/admin/export/ranking/{group.pk}.csv",
        "/admin/check/",
    ):
        shown.append(olga.get(path))
    for answer in shown:
        assert answer.status_code == 200, answer.request
        content = b"".join(answer) if answer.streaming else answer.content
        assert secret not in content.decode()


def test_binding_by_a_ticket_keeps_it_too(alice: Person) -> None:
    alice.phone.open_card("family")
    body = alice.post("groups/resolve", alice.phone.group_enter_info(group_openid=True)).json()
    ticket = {name: body[name] for name in ("openGId", "openid", "ticket")}
    assert alice.post("groups/bind", ticket).status_code == 201
    assert kept(alice) == [mine(alice)]


# How it changes


def test_an_entry_that_does_not_tell_it_keeps_what_is_known(alice: Person) -> None:
    enter(enter(alice), given=False)
    alice.enter("family")  # wx.getShareInfo never tells it
    assert kept(alice) == [mine(alice)]


def test_another_one_replaces_it_and_shows_in_the_next_answer(alice: Person, bob: Person) -> None:
    enter(bob)
    enter_as(alice, "oG-first", 201)
    assert ids_seen(bob)[number(alice)] == "oG-first"
    version = Group.objects.get().version
    enter_as(alice, "oG-first", 200)
    assert Group.objects.get().version == version, "nothing has changed"
    enter_as(alice, "oG-second", 200)
    assert ids_seen(bob)[number(alice)] == "oG-second"


def test_it_is_no_key_two_members_may_have_the_same(alice: Person, bob: Person) -> None:
    enter_as(alice, "oG-same", 201)
    enter_as(bob, "oG-same", 201)
    assert WeChatUser.objects.count() == 2
    assert set(ids_seen(bob).values()) == {"oG-same"}


@pytest.mark.parametrize("odd", ["", "with space", "x" * 65, "ü", 5, None, ["oG"], {"a": 1}, True])
def test_what_cannot_be_an_id_is_ignored(alice: Person, odd: Any) -> None:
    assert group_openid_in({"group_openid": odd}) == ""
    enter_as(alice, odd, 201)
    assert kept(alice) == [""]
    enter_as(alice, "oG-known", 200)
    enter_as(alice, odd, 200)
    assert kept(alice) == ["oG-known"]


@pytest.mark.parametrize("kept_id", ["a", "x" * 64, "-_-"])
def test_an_id_may_have_one_to_sixty_four_characters(kept_id: str) -> None:
    assert group_openid_in({"group_openid": kept_id}) == kept_id


def test_what_wechat_adds_beside_a_group_is_no_other_kind_of_data(alice: Person) -> None:
    payload = {"opengid": FAMILY, "chat_type": 3, "group_openid": "oG", "open_single_roomid": ""}
    assert alice.post("groups/bind", sealed_for(alice, payload)).status_code == 201
    assert kept(alice) == ["oG"]


# How long it is kept


def test_my_data_has_it(alice: Person) -> None:
    enter(enter(alice), "work", given=False)
    shown = [each["groupOpenId"] for each in alice.get("me/data").json()["memberships"]]
    assert shown == [mine(alice), ""]


def test_leaving_deletes_it_and_a_new_entry_brings_it(alice: Person) -> None:
    enter(alice)
    assert alice.delete(f"groups/{FAMILY}/membership").status_code == 204
    assert kept(alice) == [""]
    enter(alice, given=False)
    assert ids_seen(alice) == {number(alice): None}
    enter(alice)
    assert ids_seen(alice) == {number(alice): mine(alice)}


def test_a_withdrawn_consent_to_groups_deletes_it_everywhere(alice: Person) -> None:
    enter(enter(alice), "work")
    assert alice.delete("me/consent/groups").status_code == 200
    assert kept(alice) == ["", ""]


def test_an_erasure_deletes_it(alice: Person) -> None:
    enter(alice)
    assert alice.delete("me").status_code == 204
    assert not Membership.objects.exists()
