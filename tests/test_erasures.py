"""The list of erasures: what a database that is restored, or an old file, must not bring back."""

from collections.abc import Callable
from datetime import timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import time_machine
from django.core.management import CommandError, call_command
from django.db import transaction
from django.utils import timezone

from accounts.erasures import ERASURES_KEPT, entries_here, entries_in, lines_of
from accounts.models import Consent, Erasure, TombstoneKey, WeChatUser
from accounts.privacy import erase
from audit.models import AuditEvent
from groups.models import Group, Membership
from groups.retention import RULES
from tests.cast import FAMILY, Person, everything_stored, later, stored_avatars
from tests.settings import APP_ID
from tests.transfers import refusals, table, take

pytestmark = pytest.mark.usefixtures("media")


def again(*files: Path | str) -> str:
    """Run `erase_again`; return what it said."""
    out = StringIO()
    call_command("erase_again", *map(str, files), stdout=out)
    return out.getvalue()


def saved(folder: Path) -> Path:
    """Save the list outside of the database, and empty it there, as an older one has it."""
    path = folder / "erasures.txt"
    path.write_text("".join(lines_of(entries_here())))
    Erasure.objects.all().delete()
    return path


@pytest.fixture
def restored(tmp_path: Path) -> Callable[[Person], Path]:
    """Erase a person, and bring their row back as an older database does; return the list."""

    def restore(person: Person) -> Path:
        row = person.user
        assert person.delete("me").status_code == 204
        row.save(force_insert=True)
        return saved(tmp_path)

    return restore


# Entries


def test_an_erasure_is_entered_without_an_openid_and_logged(
    alice: Person, django_capture_on_commit_callbacks: Any, log_output: StringIO
) -> None:
    openid = alice.openid
    with django_capture_on_commit_callbacks(execute=True):
        assert alice.delete("me").status_code == 204
    [entry] = Erasure.objects.all()
    assert entry.purpose == "" and abs(entry.at - timezone.now()) < timedelta(minutes=1)
    assert openid not in str(everything_stored())
    assert openid not in log_output.getvalue()
    assert entries_in(log_output.getvalue().splitlines()) == entries_here()


def test_no_entry_is_left_of_an_erasure_that_was_undone(alice: Person) -> None:
    with transaction.atomic():
        erase(alice.user)
        transaction.set_rollback(True)
    assert not Erasure.objects.exists() and WeChatUser.objects.exists()


def test_a_list_that_is_read_is_the_one_that_was_written(alice: Person, bob: Person) -> None:
    for person in (alice, bob):
        person.post("me/consent", {"version": "1", "purposes": ["avatar"]})
        assert person.delete("me/consent/avatar").status_code == 200
        assert person.delete("me").status_code == 204
    here = entries_here()
    assert {purpose for _digest, purpose in here} == {"", "avatar"} and len(here) == 4
    assert entries_in(lines_of(here)) == here
    assert entries_in(["", "Erased:", "2026-11-30 nothing everything"]) == {}


def test_an_entry_of_the_same_person_has_the_latest_time(alice: Person) -> None:
    alice.delete("me")
    alice.token = ""
    with later(hours=1):
        alice.log_in().delete("me")
    [entry] = Erasure.objects.all()
    assert entry.at > timezone.now() + timedelta(minutes=59)
    lines = [str(entry), str(Erasure(digest=entry.digest, at=entry.at - timedelta(hours=1)))]
    for order in (lines, lines[::-1]):
        assert entries_in(order) == entries_here()


def test_entries_end_once_no_backup_can_be_older(alice: Person) -> None:
    alice.delete("me")
    rule = RULES["erasures"]
    assert rule.count(timezone.now() + ERASURES_KEPT - timedelta(minutes=1)) == 0
    assert rule.count(timezone.now() + ERASURES_KEPT + timedelta(minutes=1)) == 1


# Once more


def test_no_one_rises_from_the_dead(
    alice: Person, bob: Person, restored: Callable[[Person], Path]
) -> None:
    alice.upload()
    openid = alice.openid
    saved_list = restored(alice)
    assert WeChatUser.objects.count() == 2
    said = again(saved_list)
    assert "条目: 1" in said and "成员: 1" in said
    assert [user.pk for user in WeChatUser.objects.all()] == [bob.user.pk]
    assert openid not in str(everything_stored()) and stored_avatars() == []
    event = AuditEvent.objects.get(action="erase_again")
    assert event.details == {"entries": 1, "people": 1}
    assert "条目: 0" in (said := again(saved_list)) and "成员: 0" in said


def test_a_log_is_a_list(
    alice: Person,
    tmp_path: Path,
    django_capture_on_commit_callbacks: Any,
    log_output: StringIO,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    row = alice.user
    with django_capture_on_commit_callbacks(execute=True):
        alice.delete("me")
    row.save(force_insert=True)
    Erasure.objects.all().delete()
    monkeypatch.setattr("sys.stdin", StringIO(log_output.getvalue()))
    assert "成员: 1" in again("-")
    assert not WeChatUser.objects.exists()


def test_who_has_come_back_is_a_new_member_and_stays(alice: Person, tmp_path: Path) -> None:
    alice.delete("me")
    alice.token = ""
    alice.log_in().rename("小明")
    assert "成员: 0" in again(saved(tmp_path))
    assert alice.get("me").status_code == 200


@pytest.mark.parametrize("keys", ["other", "none"])
def test_a_list_whose_key_does_not_open_is_said(
    alice: Person, restored: Callable[[Person], Path], settings: Any, keys: str
) -> None:
    saved_list = restored(alice)
    if keys == "none":
        TombstoneKey.objects.all().delete()
    settings.FIELD_KEYS = ["bmV3LWtleS1vZi10aGlydHktdHdvLWJ5dGVzLWhlcmU="]
    with pytest.raises(CommandError, match="FIELD_KEYS"):
        again(saved_list)
    assert TombstoneKey.objects.count() == (keys == "other"), "none is made"


def test_a_list_that_is_not_there_is_said(db: None, tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="nowhere"):
        again(tmp_path / "nowhere")


def test_a_withdrawn_consent_is_withdrawn_again_and_what_is_newer_stays(
    alice: Person, group: Group, tmp_path: Path
) -> None:
    alice.post("me/consent", {"version": "1", "purposes": ["nickname", "groups"]})
    before = [*WeChatUser.objects.filter(pk=alice.user.pk), *Membership.objects.all()]
    before += Consent.objects.all()
    for purpose in ("nickname", "groups"):
        assert alice.delete(f"me/consent/{purpose}").status_code == 200
    saved_list = saved(tmp_path)
    for row in before:  # as they were in the backup
        row.save()
    said = again(saved_list)
    assert "nickname withdrawn again 再次撤回: 1" in said and "groups withdrawn again" in said
    assert alice.user.nickname == "" and alice.get("me/consent").json()["consents"] == []
    assert [each.user_id for each in Membership.objects.filter(left_at=None)] != [alice.user.pk]
    with later(minutes=1):
        alice.rename("小红")
        again(saved_list)
    assert alice.user.nickname == "小红"


# Old files


@pytest.fixture
def files(alice: Person, bob: Person, group: Group, make_board: Any, tmp_path: Path) -> list[Path]:
    """Write files about Alice and Bob, of today."""
    make_board()
    people = [alice, bob]
    return [
        table(tmp_path / "people.csv", *({"openid": p.openid, "nickname": "旧名"} for p in people)),
        table(
            tmp_path / "memberships.csv",
            *({"openid": p.openid, "openGId": FAMILY} for p in people),
        ),
        table(
            tmp_path / "scores.csv",
            *({"openid": p.openid, "board": "steps", "value": 7} for p in people),
        ),
    ]


@pytest.mark.parametrize("dry_run", [True, False])
def test_an_old_file_does_not_bring_back_who_was_erased(
    alice: Person, files: list[Path], dry_run: bool
) -> None:
    alice.delete("me")
    said = take(*files, dry_run=dry_run)
    for path in files:
        assert said.of(path)["refused"] == 1, said.text
    assert "openid: This person was erased here" in (
        said.text if dry_run else refusals(files[0])[2]
    )
    assert WeChatUser.objects.count() == 1


def test_nor_is_it_laid_upon_who_has_come_back(alice: Person, files: list[Path]) -> None:
    alice.delete("me")
    alice.token = ""
    alice.log_in()
    said = take(*files, names_reviewed=True)
    assert [said.of(path)["refused"] for path in files] == [1, 1, 1]
    assert alice.user.nickname == "" and not alice.user.memberships.exists()
    assert not alice.user.scores.exists()
    alice.enter("family")
    alice.submit(3)
    assert take(files[1]).of(files[1]) == {"unchanged": 2}, "what is here is newer"
    assert take(files[2]).of(files[2]) == {"kept": 1, "unchanged": 1}
    replaced = take(files[2], on_conflict="replace")
    assert replaced.of(files[2])["refused"] == 1
    assert alice.user.scores.get(board__key="steps", period="all").value == 3


def test_a_file_of_a_later_day_may_bring_someone_back(alice: Person, files: list[Path]) -> None:
    openid = alice.openid
    with time_machine.travel(timezone.now() - timedelta(days=1)):
        alice.delete("me")
    said = take(*files)
    assert [said.of(path).get("refused") for path in files] == [None] * 3
    assert WeChatUser.objects.filter(app_id=APP_ID, openid=openid).exists()


def test_a_date_of_that_day_counts_from_its_beginning(alice: Person, files: list[Path]) -> None:
    with time_machine.travel(timezone.now() - timedelta(days=3)):
        alice.delete("me")
        day = timezone.localdate()
    assert take(files[0], as_of=str(day)).of(files[0])["refused"] == 1


def test_an_old_file_does_not_bring_back_what_was_agreed_to(
    alice: Person, files: list[Path], tmp_path: Path
) -> None:
    alice.post("me/consent", {"version": "1", "purposes": ["nickname", "groups"]})
    for purpose in ("nickname", "groups"):
        assert alice.delete(f"me/consent/{purpose}").status_code == 200
    alice.user.memberships.all().delete()  # as after a year
    said = take(*files, names_reviewed=True)
    assert [said.of(path).get("refused") for path in files] == [1, 1, None]
    assert "(nickname)" in refusals(files[0])[2] and "(groups)" in refusals(files[1])[2]
    assert alice.user.nickname == "" and not alice.user.memberships.exists()
    bare = table(tmp_path / "people.csv", {"openid": alice.openid, "unionid": "u-1"})
    assert take(bare).of(bare) == {"changed": 1}, "this needs no consent"
