"""What only an operator can fix is an error in the log, in words, and not once for each request."""

import json
import re
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet
from django.db import OperationalError, connection
from django.db.migrations.recorder import MigrationRecorder
from django.test import Client as Browser

from core import alarms
from core.alarms import ALARMS, Alarm, alarm
from tests.cast import Person, fault
from tests.pictures import png
from tests.servers import unused_port
from tests.settings import APP_ID
from wechat.alarms import BY_ERRCODE, alarm_for
from wechat.client import Client
from wechat.errors import BY_ERRCODE as KINDS
from wechat.errors import AccessTokenError, from_answer
from wechat.sandbox import Sandbox

DOCS = Path(__file__).resolve().parent.parent / "docs"


def errors(log_output: StringIO) -> list[dict[str, Any]]:
    """Return the lines at level ERROR."""
    lines = [json.loads(line) for line in log_output.getvalue().splitlines()]
    return [line for line in lines if line["level"] == "ERROR"]


def log_in(person: Person) -> int:
    return int(person.post("login", {"code": person.phone.login()}).status_code)


# WeChat


# What WeChat may answer that waiting, the phone or its user helps against.
PASSING = {-1, 40029, 40163, 41008, 40226, 45011, 61010, 40003, 43104, 87014}


@pytest.mark.parametrize("errcode", [*map(int, BY_ERRCODE), 40014, 42001, 41004, 77])
def test_what_only_an_operator_can_fix_at_wechat_is_an_error_in_words(
    alice: Person, sandbox: Sandbox, log_output: StringIO, errcode: int
) -> None:
    fault(sandbox, times=3, errcode=errcode)
    assert [log_in(alice) for _ in range(3)] == [503] * 3
    [line] = errors(log_output)
    key = {40014: "40001", 42001: "40001"}.get(errcode, str(errcode))
    said = ALARMS[key if key in ALARMS else "wechat_other"]
    assert line["alarm"] == said.key and line["errcode"] == errcode
    assert str(said.todo) in line["message"], "in the site's language"
    assert re.match(r"[A-Z][\w' ]+", line["message"]) and re.search("[一-鿿]", line["message"])
    assert f"({APP_ID}" in line["message"] and "***" not in line["message"]
    assert re.search(rf"errcode {errcode}, rid [\w-]+", line["message"])


@pytest.mark.parametrize("errcode", sorted(PASSING))
def test_what_passes_by_itself_is_no_error(
    alice: Person, sandbox: Sandbox, log_output: StringIO, errcode: int
) -> None:
    fault(sandbox, times=2, errcode=errcode)
    try:
        assert log_in(alice) != 200
    finally:
        fault(sandbox, times=0)
    assert errors(log_output) == []


def test_every_code_that_this_project_knows_is_of_one_kind_or_the_other() -> None:
    of_operators = {code for code, kind in KINDS.items() if kind is AccessTokenError}
    assert set(KINDS) == (PASSING - {-1}) | of_operators
    assert all(alarm_for(from_answer(code, "")) is None for code in PASSING)
    assert all(alarm_for(from_answer(int(code), "")) for code in BY_ERRCODE)


def test_the_address_for_the_whitelist_is_in_the_line(
    alice: Person, sandbox: Sandbox, log_output: StringIO
) -> None:
    fault(sandbox, errcode=40164)
    log_in(alice)
    [line] = errors(log_output)
    assert line["address"] == "203.0.113.7" and "address 203.0.113.7" in line["message"]


def test_an_alarm_rings_once_a_minute_for_each_mini_program(
    sandbox: Sandbox, log_output: StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr(alarms.time, "monotonic", lambda: now)
    for seconds, app_id, rings in [(0, "wx1", 1), (59, "wx1", 1), (0, "wx2", 2), (2, "wx1", 3)]:
        now += seconds
        BY_ERRCODE["40013"].ring(app_id)
        assert len(errors(log_output)) == rings


def test_content_safety_that_lacks_a_permission_rings_too(
    alice: Person, sandbox: Sandbox, log_output: StringIO
) -> None:
    fault(sandbox, path="/wxa/msg_sec_check", errcode=48001)
    alice.put("me", {"nickname": "小红"})
    assert [line["alarm"] for line in errors(log_output)] == ["48001"]


def test_wechat_that_cannot_be_reached_rings_when_calls_are_stopped(log_output: StringIO) -> None:
    client = Client(APP_ID, "secret", f"http://127.0.0.1:{unused_port()}")
    for number in range(1, 8):
        with pytest.raises(Exception, match="WeChat"):
            client.try_credentials()
        assert len(errors(log_output)) == (number >= 5)
    assert errors(log_output)[0]["alarm"] == "wechat_away"
    assert "reason unreachable" in errors(log_output)[0]["message"]


# The site's own


def test_a_key_that_field_keys_lacks_rings(
    alice: Person, settings: Any, log_output: StringIO
) -> None:
    settings.FIELD_KEYS = [Fernet.generate_key().decode()]
    alice.post("groups/bind", alice.envelope("family"))
    assert [line["alarm"] for line in errors(log_output)] == ["field_keys"]
    assert "FIELD_KEYS" in errors(log_output)[0]["message"]


def test_a_storage_that_cannot_be_written_rings(
    alice: Person, settings: Any, log_output: StringIO
) -> None:
    settings.MEDIA_ROOT = "/dev/null"
    assert alice.upload(png(64, 64)).status_code == 503
    [line] = errors(log_output)
    assert line["alarm"] == "storage" and "NotADirectoryError" in line["exception"]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(("path", "table"), [("/api/v1/boards", "board"), ("/groups/", "group")])
def test_a_missing_table_rings_for_the_migration(
    alice: Person, olga: Browser, log_output: StringIO, path: str, table: str
) -> None:
    olga.raise_request_exception = False
    renamed = "ALTER TABLE {} RENAME TO {}"
    quoted = [connection.ops.quote_name(f"groups_{name}") for name in (table, "elsewhere")]
    with connection.cursor() as cursor:
        cursor.execute(renamed.format(*quoted))
    try:
        answer = olga.get(path, headers={"Authorization": f"Bearer {alice.token}"})
    finally:
        with connection.cursor() as cursor:
            cursor.execute(renamed.format(*reversed(quoted)))
    assert answer.status_code >= 500
    assert "migrations" in [line.get("alarm") for line in errors(log_output)]


@pytest.mark.django_db
def test_a_refused_readyz_says_why_in_the_log(log_output: StringIO) -> None:
    MigrationRecorder(connection).migration_qs.filter(app="audit").delete()
    for _ in range(3):
        assert Browser().get("/readyz").status_code == 503
    [line] = errors(log_output)
    assert line["alarm"] == "migrations" and "migrations audit.0001_initial" in line["message"]


def test_a_readyz_without_its_database_says_so_in_the_log(
    log_output: StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away() -> None:
        raise OperationalError("connection refused")

    monkeypatch.setattr("groupsite.views.missing_migrations", away)
    for _ in range(3):
        assert Browser().get("/readyz").status_code == 503
    assert [line["alarm"] for line in errors(log_output)] == ["database"]


def test_two_alarms_never_share_a_key() -> None:
    with pytest.raises(ValueError, match="40013"):
        alarm("40013", "again", "no")


def test_every_alarm_says_what_to_do() -> None:
    assert all(isinstance(each, Alarm) and str(each.todo) for each in ALARMS.values())
