"""FIELD_KEYS: secrets encrypted again, wrong keys noticed, keys changed over several servers."""

import os
import re
import signal
import subprocess
import sys
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from contextlib import ExitStack
from io import StringIO
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
from cryptography.fernet import Fernet
from django.apps import apps
from django.contrib.auth.models import User
from django.core.checks import ERROR, run_checks
from django.core.management import CommandError, call_command
from django.db import DatabaseError, OperationalError, connection, models
from django.test.utils import isolate_apps
from django.utils import translation

from accounts.models import TombstoneKey, WeChatUser
from accounts.privacy import erase
from console.models import SecondFactor, new_key
from core import checks, reencryption
from core.doctor import EXAMINATIONS, Health
from core.fields import EncryptedField
from core.management.commands.reencrypt import Command
from core.reencryption import Reencryption, encrypted_fields
from core.vault import decrypt, encrypt
from tests.cast import FAMILY, Person, refused
from tests.servers import PATIENCE, ROOT, Caller, Site, scratch_database, serving, wait_for
from tests.settings import APP_ID
from wechat.client import Session
from wechat.sandbox import Phone, Sandbox

OLD = os.environ["FIELD_KEYS"]
NEW = urlsafe_b64encode(b"a new key, as long as it has to!").decode()
OTHER = urlsafe_b64encode(b"another one, of thirty-two bytes").decode()


def reencrypt(**options: Any) -> tuple[list[str], str]:
    """Run the command; return the lines of its answer, and its error."""
    out, err = StringIO(), StringIO()
    options = {"language": "en", **options}
    try:
        call_command("reencrypt", stdout=out, stderr=err, no_color=True, **options)
    except CommandError as error:
        return [*out.getvalue().splitlines(), *err.getvalue().splitlines()], str(error)
    return [*out.getvalue().splitlines(), *err.getvalue().splitlines()], ""


def counts(lines: list[str]) -> dict[str, list[int]]:
    """Read the table: by column, how many values each key opens, and how many none does."""
    cells = [line.split() for line in lines if "." in line.split(" ")[0]]
    return {name: [int(cell) for cell in rest] for name, *rest in cells if rest[0].isdecimal()}


@pytest.fixture
def factor(db: None) -> tuple[SecondFactor, str]:
    """Make an operator's second factor; return it with its secret."""
    key = new_key()
    operator = User.objects.create_superuser("olga")
    return SecondFactor.objects.create(user=operator, sealed_key=encrypt(key)), key


def key_of(person: Person) -> str | None:
    return decrypt(person.user.session_key)


# Encrypting again


def test_every_secret_is_encrypted_again_and_the_old_key_can_go(
    alice: Person, bob: Person, factor: tuple[SecondFactor, str], settings: Any
) -> None:
    envelope = alice.envelope("family")
    WeChatUser.objects.filter(pk=alice.user.pk).update(previous_session_key=encrypt("before"))
    openid = bob.openid
    WeChatUser.objects.filter(openid=openid).update(status=WeChatUser.Status.BLOCKED)
    erase(bob.user)
    settings.FIELD_KEYS = [NEW, OLD]
    lines, error = reencrypt()
    assert error == ""
    assert counts(lines) == {
        "accounts_wechatuser.session_key": [0, 1, 0],
        "accounts_wechatuser.previous_session_key": [0, 1, 0],
        "accounts_tombstonekey.sealed": [0, 1, 0],
        "console_secondfactor.sealed_key": [0, 1, 0],
    }
    assert "4 values are encrypted again with the first key." in lines
    assert "Only the first key is needed" in lines[-1]
    settings.FIELD_KEYS = [NEW]
    assert run_checks() == []
    assert alice.post("groups/bind", envelope).status_code == 201
    assert decrypt(alice.user.previous_session_key) == "before"
    row = SecondFactor.objects.get()
    assert decrypt(row.sealed_key) == factor[1]
    assert WeChatUser.objects.meet(APP_ID, openid).is_blocked
    lines, error = reencrypt()
    assert (counts(lines)["accounts_wechatuser.session_key"], error) == ([1, 0], "")
    assert "0 values are encrypted again with the first key." in lines


def test_without_the_command_the_old_key_cannot_go(alice: Person, settings: Any) -> None:
    """The control of the test above."""
    settings.FIELD_KEYS = [NEW]
    assert [each.id for each in run_checks()] == ["core.E003"]
    refused(alice.post("groups/bind", alice.envelope("family")), 409, "session_stale")


def test_a_dry_run_counts_by_key_and_writes_nothing(
    alice: Person, bob: Person, settings: Any
) -> None:
    WeChatUser.objects.filter(pk=bob.user.pk).update(
        session_key=Fernet(OTHER).encrypt(b"x").decode()
    )
    before = list(WeChatUser.objects.order_by("pk").values())
    settings.FIELD_KEYS = [NEW, OLD, OTHER]
    lines, error = reencrypt(dry_run=True)
    assert error == "" and "Dry run: nothing is written." in lines
    assert lines[0].split("  ")[0] == "column" and "key 1  key 2  key 3  no key" in lines[0]
    assert counts(lines)["accounts_wechatuser.session_key"] == [0, 1, 1, 0]
    assert not any("Only the first key" in line for line in lines)
    assert list(WeChatUser.objects.order_by("pk").values()) == before


@pytest.mark.django_db(transaction=True)
@isolate_apps("tests")
def test_a_column_that_is_added_later_is_encrypted_again_too(settings: Any) -> None:
    class Later(models.Model):
        secret = EncryptedField(if_lost="It is made anew.")
        plain = models.CharField(max_length=20)

        class Meta:
            app_label = "tests"

        def __str__(self) -> str:
            return self.plain

    with connection.schema_editor() as editor:
        editor.create_model(Later)
    try:
        Later.objects.create(secret=encrypt("canary"), plain="plain")
        settings.FIELD_KEYS = [NEW, OLD]
        [(model, fields)] = encrypted_fields(Later._meta.apps).items()
        [column] = Reencryption(model, fields).run(lambda done, total: None)
        assert (column.by_key, column.renewed) == ({2: 1}, 1)
        settings.FIELD_KEYS = [NEW]
        row = Later.objects.get()
        assert (decrypt(row.secret), row.plain) == ("canary", "plain")
    finally:
        with connection.schema_editor() as editor:
            editor.delete_model(Later)


def test_what_is_encrypted_is_in_such_a_column(
    alice: Person, factor: tuple[SecondFactor, str]
) -> None:
    """A secret in any other column would be left behind by the command."""
    rest = {
        f"{model._meta.db_table}.{field.column}"
        for model in apps.get_models()
        for row in model._base_manager.all()
        for field in model._meta.local_concrete_fields
        if str(field.value_from_object(row)).startswith("gAAAA")
        and not isinstance(field, EncryptedField)
    }
    assert rest == set()
    found = {field for fields in encrypted_fields().values() for field in fields}
    assert {field.name for field in found} >= {"session_key", "sealed_key", "sealed"}
    assert all(str(field.if_lost) for field in found)
    assert alice.user.session_key.startswith("gAAAA"), "or this looks for the wrong thing"


@pytest.mark.django_db(transaction=True)
def test_a_log_in_meanwhile_is_not_overwritten_and_no_transaction_waits(
    alice: Person, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = key_of(alice)
    settings.FIELD_KEYS = [NEW, OLD]
    fresh = "bmV3LWtleS1vZi1hLWxvZy1pbg=="
    calls = []

    def encrypt_slowly(secret: str) -> str:
        assert not connection.in_atomic_block, "no one waits while it is encrypted"
        calls.append(secret)
        if len(calls) == 1:
            # On a server that has the old key in front.
            settings.FIELD_KEYS = [OLD, NEW]
            alice.user.keep_session(Session(alice.openid, fresh, ""), alice.user.created_at)
            settings.FIELD_KEYS = [NEW, OLD]
        return encrypt(secret)

    monkeypatch.setattr(reencryption, "encrypt", encrypt_slowly)
    assert reencrypt()[1] == ""
    assert len(calls) >= 3, "it looked at the row again"
    settings.FIELD_KEYS = [NEW]
    assert (key_of(alice), decrypt(alice.user.previous_session_key)) == (fresh, first)


def test_a_deadlock_is_waited_for(
    alice: Person, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    times = []

    def write_once(self: Any, changes: Any) -> Any:
        times.append(len(changes))
        if len(times) == 1:
            raise OperationalError("deadlock")
        return real(self, changes)

    real = Reencryption._write_once
    monkeypatch.setattr(Reencryption, "_write_once", write_once)
    monkeypatch.setattr(reencryption, "WAITS", (0, 0))
    settings.FIELD_KEYS = [NEW, OLD]
    assert reencrypt()[1] == ""
    settings.FIELD_KEYS = [NEW]
    assert key_of(alice)


def test_pieces_cover_all_rows_and_leave_out_those_without_a_secret(
    db: None, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reencryption, "PIECE", 3)
    sealed = encrypt("secret")
    WeChatUser.objects.bulk_create(
        WeChatUser(app_id=APP_ID, openid=f"o{n}", session_key=sealed if n % 3 else "")
        for n in range(20)
    )
    settings.FIELD_KEYS = [NEW, OLD]
    reports = []
    model, fields = WeChatUser, encrypted_fields()[WeChatUser]
    column, _previous = Reencryption(model, fields).run(lambda *done: reports.append(done))
    assert (column.by_key, column.renewed) == ({2: 13}, 13)
    assert reports == [(3, 13), (6, 13), (9, 13), (12, 13), (13, 13)]


# What no key opens


@pytest.mark.parametrize(
    ("language", "words", "advice"),
    [
        ("en", "no key of FIELD_KEYS opens 1 value. These members", "at the end of FIELD_KEYS"),
        ("zh-hans", "FIELD_KEYS 中没有密钥能解开 1 个值。", "放回 FIELD_KEYS 的末尾"),
    ],
)
def test_what_no_key_opens_is_counted_and_said(
    alice: Person, bob: Person, settings: Any, language: str, words: str, advice: str
) -> None:
    lost = Fernet(OTHER).encrypt(b"x").decode()
    WeChatUser.objects.filter(pk=bob.user.pk).update(session_key=lost)
    settings.FIELD_KEYS = [NEW, OLD]
    for options in ({"dry_run": True}, {}):
        lines, error = reencrypt(language=language, **options)
        assert counts(lines)["accounts_wechatuser.session_key"][-1] == 1
        assert any(line.startswith("accounts_wechatuser") and words in line for line in lines)
        assert advice in error and "--clear-lost" in error
    assert bob.user.session_key == lost, "it may open again once its key is back"
    settings.FIELD_KEYS = [NEW, OLD, OTHER]
    assert reencrypt(language=language)[1] == ""


def test_a_lost_key_can_be_given_up(
    alice: Person, factor: tuple[SecondFactor, str], settings: Any
) -> None:
    settings.FIELD_KEYS = [NEW]
    assert [each.id for each in run_checks()] == ["core.E003"]
    lines, error = reencrypt(dry_run=True, clear_lost=True)
    assert error and alice.user.session_key, "a dry run clears nothing"
    lines, error = reencrypt(clear_lost=True)
    assert error == "" and "3 values that no key opens are cleared." in lines
    assert run_checks() == []
    alice.log_in()
    alice.enter("family")
    assert WeChatUser.objects.meet(APP_ID, "someone-new")
    assert run_checks() == [], "also with the new key of the tombstones"
    assert TombstoneKey.objects.exclude(sealed="").count() == 1


@pytest.mark.no_service
@pytest.mark.parametrize("keys", [[], ["canary"]])
def test_the_command_says_which_key_cannot_be_read(
    db: None, settings: Any, keys: list[str]
) -> None:
    settings.FIELD_KEYS = keys
    error = reencrypt()[1]
    assert "FIELD_KEYS" in error and "canary" not in error


# Wrong keys are noticed


@pytest.mark.parametrize("keys", [[NEW], [NEW, OTHER]])
def test_a_wrong_key_is_an_error_in_words(db: None, settings: Any, keys: list[str]) -> None:
    assert run_checks() == []
    settings.FIELD_KEYS = keys
    [found] = run_checks()
    assert (found.id, found.level) == ("core.E003", ERROR)
    assert "wrong or missing" in found.msg
    assert "放回 FIELD_KEYS" in found.hint and "back into FIELD_KEYS" in found.hint
    assert not any(key in str(found) for key in keys)
    settings.FIELD_KEYS = [*keys, OLD]
    assert run_checks() == []


@pytest.mark.no_service
@pytest.mark.parametrize("problem", [OperationalError, DatabaseError])
def test_a_database_that_is_away_is_no_error_of_keys(
    db: None, settings: Any, monkeypatch: pytest.MonkeyPatch, problem: type[Exception]
) -> None:
    def away() -> None:
        raise problem("away")

    settings.FIELD_KEYS = [NEW]
    monkeypatch.setattr(checks, "lost_keys_of_the_site", away)
    assert run_checks() == []


def manage(database: str, *arguments: str, **changes: str) -> subprocess.Popen[str]:
    environment = os.environ | {
        "DJANGO_SETTINGS_MODULE": "groupsite.settings",
        "DATABASE_URL": database,
        **changes,
    }
    return subprocess.Popen(
        [sys.executable, "manage.py", *arguments],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def said(process: subprocess.Popen[str], code: int) -> str:
    """Wait for the end of a process; return what it said."""
    answer = process.communicate(timeout=PATIENCE)[0]
    assert process.returncode == code, answer
    return answer


LIFE = """
from pathlib import Path
import django
django.setup()
from django.conf import settings
from django.core.checks import run_checks
from django.core.management import call_command

def found(key):
    settings.FIELD_KEYS = [key]
    return [each.id for each in run_checks() if each.id.startswith("core")]

print(found("OLD"), found("NEW"), Path("FILE").exists())
settings.FIELD_KEYS = ["OLD"]
call_command("migrate", verbosity=0)
print(found("OLD"), found("NEW"))
call_command("migrate", verbosity=0)  # again, under a wrong key: the tombstones' key stays
print(found("OLD"), found("NEW"))
call_command("migrate", "accounts", "zero", verbosity=0)
print(found("OLD"), found("NEW"))
call_command("migrate", verbosity=0)  # under the other key: it is a new database
print(found("OLD"), found("NEW"))
"""


@pytest.mark.django_db(transaction=True)
def test_a_database_knows_its_keys_from_the_first_migration_on(tmp_path: Path) -> None:
    file = tmp_path / "site.sqlite3"
    code = LIFE.replace("OLD", OLD).replace("NEW", NEW).replace("FILE", str(file))
    with scratch_database(tmp_path) as database:
        environment = os.environ | {
            "DJANGO_SETTINGS_MODULE": "groupsite.settings",
            "DATABASE_URL": database,
        }
        run = subprocess.run(
            [sys.executable, "-c", code],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )
        assert run.stdout.splitlines() == [
            "[] [] False",  # looking for keys makes no database
            "[] ['core.E003']",
            "[] ['core.E003']",
            "[] []",
            "['core.E003'] []",
        ], run.stderr
        answer = said(manage(database, "check", "--deploy"), 1)
        assert "core.E003" in answer and "HINT: Put the key" in answer
        assert "core.E003" in said(manage(database, "migrate"), 1)
        said(manage(database, "check", FIELD_KEYS=NEW), 0)


# What the doctor sees


def examine() -> list[tuple[Health, str]]:
    with translation.override("en"):
        return [(each.state, f"{each.saw} {each.fix}") for each in EXAMINATIONS["keys"]()]


def test_the_doctor_opens_the_latest_secrets(alice: Person, bob: Person, settings: Any) -> None:
    assert examine() == [(Health.OK, "The first of FIELD_KEYS opens the latest 3 secrets. ")]
    lost = Fernet(OTHER).encrypt(b"x").decode()
    WeChatUser.objects.filter(pk=bob.user.pk).update(session_key=lost)
    [(state, words)] = examine()
    assert state == Health.WARNING and "accounts_wechatuser.session_key: no key" in words
    settings.FIELD_KEYS = [NEW, OLD, OTHER]
    members, tombstones = examine()
    assert members[0] == tombstones[0] == Health.WARNING
    assert "2 of the latest values need another key" in members[1] and "reencrypt" in members[1]
    settings.FIELD_KEYS = [NEW]
    [(state, words)] = examine()
    assert state == Health.ERROR and "a key is wrong or missing" in words
    settings.FIELD_KEYS = ["unreadable"]
    assert [state for state, _words in examine()] == [Health.WARNING]


# Killed, and over several servers

PEOPLE = """
from accounts.models import *
from core.vault import encrypt
sealed = encrypt("secret")
WeChatUser.objects.bulk_create(
    (WeChatUser(app_id="wx1", openid=f"o{n}", session_key=sealed) for n in range(COUNT)),
    batch_size=500,
)
"""
SIGN_IN_PATH = """
from django.contrib.auth.models import User
from console.sign_in import sign_in_path
operator, _new = User.objects.get_or_create(username="olga", is_staff=True, is_superuser=True)
print(sign_in_path(operator))
"""
COUNT_OPENED = """
from accounts.models import *
from core.vault import decrypt
keys = WeChatUser.objects.values_list("session_key", flat=True)
print(sum(decrypt(key) is not None for key in keys))
"""


@pytest.fixture
def place(tmp_path: Path, db: None) -> Iterator["Place"]:
    with ExitStack() as stack:
        sandbox = stack.enter_context(Sandbox({APP_ID: "secret"}))
        environment = os.environ | {
            "DJANGO_SETTINGS_MODULE": "groupsite.settings",
            "DATABASE_URL": stack.enter_context(scratch_database(tmp_path)),
            "DATABASE_TIMEOUT": str(PATIENCE // 2),
            "WECHAT_APPS": f"{APP_ID}:secret",
            "WECHAT_API_URL": sandbox.url,
            "THROTTLES": "off",
        }
        place = Place(Site(environment, [], [], sandbox), tmp_path)
        stack.callback(place.close)
        place.site.run("manage.py", "migrate", "--verbosity", "0")
        yield place


class Place:
    """Servers on one database that can be restarted, each with settings of its own."""

    def __init__(self, site: Site, folder: Path) -> None:
        self.site, self.folder = site, folder
        self.servers: dict[int, ExitStack] = {}
        site.urls += ["", ""]

    def restart(self, number: int, settings: dict[str, str]) -> None:
        self.stop(number)
        self.servers[number] = stack = ExitStack()
        log = self.folder / f"server-{number}.log"
        environment = self.site.environment | settings
        self.site.urls[number] = stack.enter_context(serving(environment, log))

    def refusal(self, settings: dict[str, str]) -> str:
        """Try to start a server with settings that it refuses; return what it says."""
        log = self.folder / "refused.log"
        with pytest.raises(AssertionError), serving(self.site.environment | settings, log):
            pass
        return log.read_text()

    def stop(self, number: int) -> None:
        if number in self.servers:
            self.servers.pop(number).close()

    def manage(self, *arguments: str, **settings: str) -> subprocess.Popen[str]:
        return manage(self.site.environment["DATABASE_URL"], *arguments, **settings)

    def close(self) -> None:
        for number in list(self.servers):
            self.stop(number)
        self.site.close()


@pytest.mark.django_db(transaction=True)
def test_the_command_goes_on_where_it_was_killed(place: Place) -> None:
    count = 6000
    place.site.execute(PEOPLE.replace("COUNT", str(count)))
    place.site.environment["FIELD_KEYS"] = NEW
    place.site.close()
    place.site.shell = None  # from here on it has the new key alone

    def done() -> int:
        return int(place.site.execute(COUNT_OPENED))

    keys = f"{NEW},{OLD}"
    process = place.manage("reencrypt", "--language", "en", FIELD_KEYS=keys)
    wait_for(done)
    process.send_signal(signal.SIGKILL)
    said(process, -signal.SIGKILL)
    so_far = done()
    assert 0 < so_far < count
    answer = said(place.manage("reencrypt", "--language", "en", FIELD_KEYS=keys), 0)
    assert f"{count - so_far + 1} values are encrypted again" in answer, "one is the tombstones'"
    assert done() == count
    said(place.manage("check", FIELD_KEYS=NEW), 0)


PAGES = [(ROOT / "docs" / name).read_text() for name in ("keys.md", "keys.zh-CN.md")]


def blocks(page: str) -> list[str]:
    """Return the commands and settings that a page gives, in its order."""
    return re.findall(r"^```sh\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)


def steps() -> list[dict[str, str]]:
    """Return the settings before the change, and those of each step of docs/keys.md."""
    old, new = "the-former-key-" + "0a1b2c3d4e" * 5, "the-present-key-" + "9z8y7x6w5v" * 5
    before = "FIELD_KEYS=old\nSECRET_KEY=old\nSECRET_KEY_FALLBACKS=\n"
    found = []
    for block in [before, *(each for each in blocks(PAGES[0]) if each.startswith("FIELD_KEYS="))]:
        field_keys, others = block.split("\n", 1)
        text = field_keys.replace("old", OLD).replace("new", NEW)
        text += "\n" + others.replace("old", old).replace("new", new)
        found.append(dict(line.split("=", 1) for line in text.splitlines()))
    return found


@pytest.mark.no_service
def test_the_page_says_the_same_in_both_languages() -> None:
    assert blocks(PAGES[0]) == blocks(PAGES[1])
    assert [set(step) for step in steps()] == [
        {"FIELD_KEYS", "SECRET_KEY", "SECRET_KEY_FALLBACKS"} for _step in range(4)
    ]
    secret, key = (
        subprocess.check_output(line.replace("python", sys.executable), shell=True, text=True)
        for line in blocks(PAGES[0])[0].splitlines()
    )
    assert len(secret.strip()) > 50 and Fernet(key.strip())
    parser = Command().create_parser("manage.py", "reencrypt")
    commands = re.findall(r"^python manage.py reencrypt(.*)$", PAGES[0], re.MULTILINE)
    assert len(commands) == 3
    for options in commands:
        parser.parse_args(options.split())


# Without one of these nothing is encrypted, signed, hashed or drawn at random.
CRYPTOGRAPHY = re.compile(
    r"^\s*(?:from|import) (?:hashlib|hmac|secrets|cryptography|Crypto|django\.utils\.crypto|"
    r"django\.core import signing|django\.contrib\.auth\.tokens|django_otp\.oath|"
    r"(?:core)?\.(?:vault|signed))\b",
    re.MULTILINE,
)
# They play WeChat, or a site for a developer.
PLAYED = ("wechat/sandbox/", "groupsite/demo.py")


@pytest.mark.no_service
def test_the_inventory_names_every_file_with_cryptography() -> None:
    listed = subprocess.check_output(["git", "ls-files", "*.py"], cwd=ROOT, text=True).split()
    ours = re.compile("(core|wechat|audit|accounts|groups|console|groupsite)/(?!.*migrations/)")
    files = [path for path in listed if ours.match(path) and not path.startswith(PLAYED)]
    using = {path for path in files if CRYPTOGRAPHY.search((ROOT / path).read_text())}
    assert len(using) > 20
    assert {path for path in using if f"`{path}`" not in PAGES[0]} == set()


class Story:
    """What members and an operator do on two servers in turn."""

    def __init__(self, place: Place) -> None:
        self.site = place.site
        self.operator = requests.Session()
        self.operator.trust_env = False

    def sign_in(self, settings: dict[str, str]) -> None:
        self.site.environment |= settings
        self.operator.cookies.clear()
        said = self.site.execute(SIGN_IN_PATH)
        token = "x" * 32
        address = self.page(0, said.strip())
        answer = self.operator.post(
            address,
            {"csrfmiddlewaretoken": token},
            headers={"Cookie": f"__Host-csrftoken={token}", "Referer": address},
            allow_redirects=False,
            timeout=PATIENCE,
        )
        assert answer.status_code == 302, answer.text
        for cookie in self.operator.cookies:
            cookie.secure = False

    def page(self, server: int, path: str) -> str:
        return self.site.urls[server].replace("/api/v1/", path)

    def failures(self) -> list[str]:
        """Do everything on one server and go on with it on the other; return what failed."""
        return [
            f"{name}, {here} to {1 - here}"
            for here in (0, 1)
            for name, works in self.crossing(here, 1 - here).items()
            if not works
        ]

    def crossing(self, here: int, there: int) -> dict[str, bool]:
        phone = Phone(self.site.sandbox.url, "alice", APP_ID)
        alice = Caller(self.site, phone)
        status, answer = alice.post("login", {"code": phone.login()}, here)
        assert status == 200, answer
        alice.token = answer["token"]
        bound = alice.post("groups/bind", alice.envelope("family"), there)[0] in {200, 201}
        if not bound:  # for the rest she has to be in it
            assert alice.post("groups/bind", alice.envelope("family"), here)[0] in {200, 201}
        resolved = alice.post("groups/resolve", alice.envelope("family"), here)[1]
        ticket = {name: resolved[name] for name in ("openGId", "openid", "ticket")}
        link = urlsplit(alice.post(f"groups/{FAMILY}/link", {}, here)[1]["url"]).path
        avatar = urlsplit(alice.get("me", here)[1]["avatar"]).path
        signed_in = self.operator.get(
            self.page(there, "/admin/account/"), allow_redirects=False, timeout=PATIENCE
        )
        for cookie in self.operator.cookies:
            cookie.secure = False
        return {
            "session_key": bound,
            "ticket": alice.post("groups/bind", ticket, there)[0] == 200,
            "link": requests.get(self.page(there, link), timeout=PATIENCE).status_code == 200,
            "avatar": requests.get(self.page(there, avatar), timeout=PATIENCE).status_code == 200,
            "operator": signed_in.status_code == 200,
        }


@pytest.mark.django_db(transaction=True)
def test_keys_are_changed_over_two_servers_without_a_failure(place: Place) -> None:
    """Follow docs/keys.md, at each step with one server ahead of the other; other orders fail."""
    one, two, three, four = steps()
    story = Story(place)
    for number in (0, 1):
        place.restart(number, one)
    story.sign_in(one)
    assert story.failures() == []
    # The control: the new keys in front before the other server knows them.
    place.restart(1, three)
    failed = story.failures()
    assert failed == [
        f"{name}, 1 to 0" for name in ("session_key", "ticket", "link", "avatar", "operator")
    ]
    place.restart(1, one)
    story.sign_in(one)
    for step in (two, three):
        for number in (0, 1):
            place.restart(number, step)
            assert story.failures() == [], (step, number)
    # The control: the old key away before the secrets are encrypted again.
    assert "core.E003" in place.refusal(four)
    process = place.manage("reencrypt", "--language", "en", **three)
    while process.poll() is None:
        assert story.failures() == []
    assert "Only the first key is needed" in said(process, 0)
    for number in (0, 1):
        place.restart(number, four)
        assert story.failures() == [], number
    # The control: a server that was left behind.
    assert "core.E003" in place.refusal(one)
