"""The tables: their indexes, collations and keys, on the database of the tests."""

from collections.abc import Iterator
from typing import Any

import pytest
from cryptography.fernet import Fernet
from django.apps import apps
from django.conf import LazySettings
from django.db import connection
from django.utils import timezone

from accounts.models import Tombstone, TombstoneKey, WeChatUser
from accounts.privacy import erase
from core.vault import decrypt, encrypt
from groups.models import Board, Group
from groups.models.boards import every_window
from groups.periods import Window
from tests.settings import APP_ID

OURS = ("accounts", "audit", "console", "groups")
TABLES = [model._meta.db_table for model in apps.get_models() if model._meta.app_label in OURS]


def indexes(table: str) -> Iterator[tuple[str, list[str]]]:
    with connection.cursor() as cursor:
        found = connection.introspection.get_constraints(cursor, table)
    for name, facts in found.items():
        # PostgreSQL has a second index for LIKE beside each unique text column.
        is_index = facts["index"] or facts["unique"] or facts["primary_key"]
        if is_index and not name.endswith("_like"):
            yield name, facts["columns"]


@pytest.mark.parametrize("table", TABLES)
def test_no_index_repeats_the_prefix_of_another(db: None, table: str) -> None:
    every = list(indexes(table))
    assert every
    repeated = [
        f"{name} {columns} in {other} {longer}"
        for name, columns in every
        for other, longer in every
        if name != other and longer[: len(columns)] == columns
    ]
    assert repeated == []


def test_a_new_window_changes_no_table() -> None:
    """Check that migrations hold no names of windows, and that there is room for more."""
    field = Board._meta.get_field("windows")
    assert field.deconstruct()[3]["default"] is every_window
    assert Board().windows == ",".join(Window.values)
    assert len(Board().windows) <= field.max_length / 2


@pytest.mark.parametrize(
    ("model", "columns"),
    [(WeChatUser, ("nickname", "nickname_draft")), (Group, ("label",))],
)
def test_texts_of_people_tell_emoji_apart(db: None, model: Any, columns: Any) -> None:
    """Search for an emoji; find no other one, also where the database ignores case."""
    who = {"app_id": APP_ID, "openid" if model is WeChatUser else "open_gid": "o-1"}
    row = model.objects.create(**who, **dict.fromkeys(columns, "小猫🐱"))
    for column in columns:
        assert list(model.objects.filter(**{f"{column}__icontains": "🐱"})) == [row]
        assert list(model.objects.filter(**{f"{column}__icontains": "🐶"})) == []
        assert list(model.objects.filter(**{column: "小猫🐶"})) == []


def test_a_block_outlives_an_erasure_and_every_field_key(db: None, settings: LazySettings) -> None:
    old, new = settings.FIELD_KEYS[0], Fernet.generate_key().decode()
    user = WeChatUser.objects.meet(APP_ID, "blocked-one")
    WeChatUser.objects.filter(pk=user.pk).update(status=WeChatUser.Status.BLOCKED)
    erase(WeChatUser.objects.get(pk=user.pk))
    settings.FIELD_KEYS = [new, old]
    for row in TombstoneKey.objects.all():  # what a command that re-encrypts does
        TombstoneKey.objects.filter(pk=row.pk).update(sealed=encrypt(decrypt(row.sealed) or ""))
    settings.FIELD_KEYS = [new]
    assert WeChatUser.objects.meet(APP_ID, "blocked-one").is_blocked
    assert not WeChatUser.objects.meet(APP_ID, "another").is_blocked


def test_a_tombstone_key_that_does_not_open_lets_everyone_log_in(
    db: None, settings: LazySettings, caplog: pytest.LogCaptureFixture
) -> None:
    assert Tombstone.objects.of(APP_ID, "someone") is None
    settings.FIELD_KEYS = [Fernet.generate_key().decode()]
    assert not WeChatUser.objects.meet(APP_ID, "someone").is_blocked
    assert "tombstone key does not open" in caplog.text
    assert TombstoneKey.objects.count() == 2


def test_one_tombstone_key_serves_all(db: None) -> None:
    for openid in ("one", "two", "three"):
        WeChatUser.objects.meet(APP_ID, openid)
    assert TombstoneKey.objects.count() == 1
    assert decrypt(TombstoneKey.objects.get().sealed)


def test_what_outlives_an_erasure_lapses_with_its_lock(db: None) -> None:
    user = WeChatUser.objects.meet(APP_ID, "locked")
    WeChatUser.objects.filter(pk=user.pk).update(stale_count=10, stale_since=timezone.now())
    erase(WeChatUser.objects.get(pk=user.pk))
    assert WeChatUser.objects.meet(APP_ID, "locked").stale_count == 10
