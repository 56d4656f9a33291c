"""Fixtures: the cast, the WeChat that their phones talk to, and clean counters for each test."""

import gc
import logging
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.apps import apps
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client as Browser
from django.utils import timezone, translation
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings

from audit import attempts
from audit.models import AuditEvent
from core.alarms import forget_alarms
from groups import ranking
from groups.models import Board, Group, ServerKey, VerificationFile
from groupsite.logs import JsonFormatter
from tests.cast import Person
from tests.servers import forget_counts
from tests.settings import APP_ID
from wechat.gate import forget_failures
from wechat.sandbox import Phone, Sandbox

# How long an example takes is the machine's affair.
hypothesis_settings.register_profile(
    "suite", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
hypothesis_settings.load_profile("suite")


def pytest_collection_finish() -> None:
    """Let Python look no more through what stays anyway: the code and thousands of tests."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None, django_db_blocker: Any) -> None:
    """Count rows from another number in each table: one table's id cannot pass for another's."""
    if connection.vendor == "sqlite":  # the others' counters go on by themselves
        with django_db_blocker.unblock(), connection.cursor() as cursor:
            for n, model in enumerate(apps.get_models(), 1):
                row = [model._meta.db_table, 1000 * n]
                cursor.execute("DELETE FROM sqlite_sequence WHERE name = %s", row[:1])
                cursor.execute("INSERT INTO sqlite_sequence (name, seq) VALUES (%s, %s)", row)


@pytest.fixture(autouse=True)
def _reset_counters() -> None:
    """Forget what another test left: throttles, alarms, watches, failures, pace, the language."""
    translation.deactivate()  # a request's language stays with its thread until the next request
    ranking.recent.clear()
    attempts.forget_watches()
    attempts._pace = attempts._Pace()
    forget_failures()
    forget_alarms()
    forget_counts()


@pytest.fixture(scope="session")
def sandbox_server() -> Iterator[Sandbox]:
    from django.conf import settings

    with Sandbox({id: app["SECRET"] for id, app in settings.WECHAT_APPS.items()}) as sandbox:
        yield sandbox


@pytest.fixture
def sandbox(sandbox_server: Sandbox, settings: Any) -> Sandbox:
    settings.WECHAT_API_URL = sandbox_server.url
    return sandbox_server


@pytest.fixture
def media(settings: Any, tmp_path: Path) -> Path:
    """Keep avatars in a directory of this test's own."""
    settings.MEDIA_ROOT = tmp_path / "media"
    return tmp_path / "media"


@pytest.fixture
def log_output() -> Iterator[StringIO]:
    """Capture what the project's own log handler writes, as it would stand in a container's log."""
    [handler] = [
        handler
        for handler in logging.getLogger().handlers
        if isinstance(handler.formatter, JsonFormatter)
    ]
    assert isinstance(handler, logging.StreamHandler)
    before = handler.setStream(written := StringIO())
    yield written
    handler.setStream(before)


# People


@pytest.fixture
def make_person(db: None, sandbox: Sandbox) -> Any:
    """Make people who are logged in."""

    def make(name: str, nickname: str = "") -> Person:
        person = Person(name, Phone(sandbox.url, name, APP_ID)).log_in()
        return person.rename(nickname) if nickname else person

    return make


@pytest.fixture
def alice(make_person: Any) -> Person:
    return make_person("alice", "小明")  # type: ignore[no-any-return]


@pytest.fixture
def bob(make_person: Any) -> Person:
    return make_person("bob", "李雷")  # type: ignore[no-any-return]


@pytest.fixture
def charlie(make_person: Any) -> Person:
    return make_person("charlie", "查理")  # type: ignore[no-any-return]


@pytest.fixture
def group(alice: Person, bob: Person) -> Group:
    """Make the group of Alice and Bob, Alice first."""
    open_gid = alice.enter("family")
    bob.enter("family")
    return Group.objects.get(open_gid=open_gid)


@pytest.fixture
def olga(db: None, client: Browser) -> Browser:
    """Sign in an operator; return her browser."""
    operator = User.objects.create_superuser("olga")
    client.force_login(operator)
    return client


# Rows


@pytest.fixture
def make_board(db: None) -> Any:
    """Make boards that clients may write."""

    def make(**how: Any) -> Board:
        fields = {"app_id": APP_ID, "key": "steps", "title_zh": "步数", "title_en": "Steps"}
        fields |= {"scope": Board.Scope.APP, "writer": Board.Writer.CLIENT}
        return Board.objects.create(**{**fields, **how})

    return make


@pytest.fixture
def one_of_everything(alice: Person, group: Group) -> None:
    """Make a row of everything that has a page."""
    ServerKey.objects.issue(APP_ID, "backend", timezone.now())
    AuditEvent.objects.create(action="block", target="wechatuser")
    VerificationFile.objects.create(name="abc.txt", content="abc")
