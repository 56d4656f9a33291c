"""The checks of `manage.py`: a good deployment passes, each bad setting is found."""

import os
import shlex
import subprocess
import sys
from base64 import urlsafe_b64encode
from pathlib import Path
from typing import Any

import pytest
from django.core import checks
from django.core.checks import ERROR, INFO, WARNING, run_checks
from django.core.exceptions import ImproperlyConfigured
from django.db import connection

from groupsite.checks import encrypted_connections
from groupsite.logs import ReportFilter
from groupsite.settings import DEVELOPMENT_FIELD_KEY, push_channels
from tests.documented import blocks_of
from tests.settings import APP_ID

# One of the checks looks into the database.
pytestmark = [pytest.mark.no_service, pytest.mark.django_db]

FIELD_KEY = os.environ["FIELD_KEYS"]  # of the tests' own database
AES_KEY = "Canary".ljust(43, "0")
ROOT = Path(__file__).resolve().parent.parent
GOOD = {
    "DEBUG": "False",
    "SECRET_KEY": "k7Qw-2bVnx9_LzR4tYp0sHdEa6MfGuJc8iXo1WqZ5vBnT3rKyD",
    "FIELD_KEYS": urlsafe_b64encode(b"one-key-of-thirty-two-bytes-here").decode(),
    "ALLOWED_HOSTS": "example.com",
    "NUM_PROXIES": "1",
    "WECHAT_APPS": "wx1:secret",
    "WECHAT_PUSH": f"wx1:Token123:{'Key'.ljust(43, '0')}",
}
# What a developer's shell or `.env` may hold must not speak for the deployment.
UNSET = {
    "CSRF_TRUSTED_ORIGINS": "",
    "REDIS_URL": "",
    "DATABASE_REPLICA_URL": "",
    "ALLOW_SANDBOX": "False",
    "WECHAT_API_URL": "https://api.weixin.qq.com",
    "CONTENT_SAFETY": "True",
    "LOG_LEVEL": "INFO",
    "MEDIA_URL": "/media/",
    "S3_BUCKET": "",
    "OPERATOR_TOTP": "True",
    "THROTTLES": "",
    "SENTRY_DSN": "",
}


def manage(tmp_path: Path, *arguments: str, **changes: str) -> subprocess.CompletedProcess[str]:
    environment = {
        "PATH": os.environ["PATH"],
        "DJANGO_SETTINGS_MODULE": "groupsite.settings",
        "DATABASE_URL": f"sqlite:///{tmp_path / 'db.sqlite3'}",
        "MEDIA_ROOT": str(tmp_path / "media"),
        **UNSET,
        **GOOD,
        **changes,
    }
    return subprocess.run(
        [sys.executable, "manage.py", *arguments],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )


def said(run: subprocess.CompletedProcess[str]) -> str:
    return run.stdout + run.stderr


def channels(token: str = "Token123", aes_key: str = AES_KEY, **more: Any) -> dict[str, Any]:
    return {APP_ID: {"TOKEN": token, "AES_KEY": aes_key}, **more}


BAD_CHANNELS = [
    (channels(wxunknown={"TOKEN": "Token123", "AES_KEY": AES_KEY}), "wechat.E003"),
    *(
        (channels(token=token), "wechat.E004")
        for token in ("ab", "a" * 33, "a-b", "密钥密", "abc\n")
    ),
    *((channels(aes_key=key), "wechat.E005") for key in (AES_KEY[1:], AES_KEY + "=", "/" * 43)),
    (channels(aes_key=AES_KEY[1:] + "\n"), "wechat.E005"),
]


def test_a_good_deployment_passes_every_check_once_it_is_migrated(tmp_path):
    deploy = ("check", "--deploy", "--fail-level", "WARNING")
    run = manage(tmp_path, *deploy)
    assert run.returncode == 1 and "core.W001" in said(run) and "migrate" in said(run)
    assert manage(tmp_path, "migrate", "--verbosity", "0").returncode == 0
    run = manage(tmp_path, *deploy)
    assert run.returncode == 0, said(run)
    assert "no issues" in said(run)
    bucket = {"S3_BUCKET": "avatars", "MEDIA_URL": "https://avatars.example.com/"}
    run = manage(tmp_path, "check", "--fail-level", "WARNING", MEDIA_ROOT="/dev/null", **bucket)
    assert run.returncode == 0, said(run)


@pytest.mark.parametrize(
    "block",
    blocks_of("tests/test_checks.py::test_the_environment_of_the_guide_is_complete"),
    ids=str,
)
def test_the_environment_of_the_guide_is_complete(tmp_path, block):
    lines = shlex.split(block.code, comments=True)
    written = dict(line.split("=", 1) for line in lines)
    elided = {name: GOOD[name] for name, value in written.items() if "…" in value and name in GOOD}
    ours = {
        "DATABASE_URL": f"sqlite:///{tmp_path / 'db.sqlite3'}",
        "MEDIA_ROOT": str(tmp_path / "media"),
    }
    absent = dict.fromkeys(GOOD.keys() - written.keys(), "")
    changes = absent | written | elided | ours
    assert manage(tmp_path, "migrate", "--verbosity", "0", **changes).returncode == 0
    run = manage(tmp_path, "check", "--deploy", "--fail-level", "WARNING", **changes)
    assert run.returncode == 0, said(run)


@pytest.mark.parametrize(
    ("name", "bad", "id"),
    [
        ("SECRET_KEY", "short", "groupsite.E001"),
        ("SECRET_KEY", "django-insecure-" + "0123456789" * 5, "groupsite.E001"),
        ("ALLOWED_HOSTS", [], "groupsite.E002"),
        ("ALLOWED_HOSTS", ["example.com", "*"], "groupsite.E002"),
        ("FIELD_KEYS", [FIELD_KEY, DEVELOPMENT_FIELD_KEY], "groupsite.E003"),
        ("CSRF_TRUSTED_ORIGINS", ["http://example.com"], "groupsite.E004"),
        ("LINK_MAX_AGE", -77, "groupsite.E005"),
        ("THROTTLES", "login=1/minute", "groupsite.E006"),
        ("REDIS_URL", "http://cache", "groupsite.E008"),
        ("SENTRY_DSN", "sentry.example", "groupsite.E009"),
        ("PUBLIC_URL", "site.example.com", "groupsite.E011"),
        ("PUBLIC_URL", "https://site.example.com/app", "groupsite.E011"),
        ("PUBLIC_URL", "https://[::1", "groupsite.E011"),
        ("FIELD_KEYS", [], "core.E001"),
        ("FIELD_KEYS", ["c2hvcnQ="], "core.E002"),
        ("S3_BUCKET", "family-pictures", "accounts.E001"),
        ("MEDIA_ROOT", "/dev/null", "accounts.E003"),
        ("MEDIA_ROOT", "/dev/null/media", "accounts.E003"),
        ("WECHAT_APPS", {}, "wechat.E001"),
        ("WECHAT_API_URL", "http://127.0.0.1:9000", "wechat.E002"),
        ("WECHAT_API_URL", "http://api.weixin.qq.com", "wechat.E002"),
        *(("WECHAT_PUSH", channels, id) for channels, id in BAD_CHANNELS),
    ],
)
def test_each_bad_setting_is_found_with_a_hint(settings, name, bad, id):
    settings.ALLOW_SANDBOX, settings.WECHAT_API_URL = False, "https://api.weixin.qq.com"
    assert run_checks() == []
    setattr(settings, name, bad)
    [found] = run_checks()
    assert (found.id, found.level) == (id, ERROR)
    assert found.hint
    assert str(bad) not in str(found) and "Canary" not in str(found)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SECRET_KEY", "ab" * 40),
        ("SECRET_KEY", "django-insecure-" + "0123456789" * 5),
        ("SECRET_KEY", "x7Qw-2bVnx9_LzR4tYp0sHdEa6MfGuJc8iXo1WqZ5vBnT3r"),
        ("ALLOWED_HOSTS", []),
        ("ALLOWED_HOSTS", ["*"]),
        ("ALLOWED_HOSTS", ["example.com", ".com.cn"]),
        ("ALLOWED_HOSTS", [".CO.uk"]),
        ("ALLOWED_HOSTS", ["."]),
        ("CSRF_TRUSTED_ORIGINS", ["HTTP://example.com"]),
        ("FIELD_KEYS", [FIELD_KEY, GOOD["FIELD_KEYS"], DEVELOPMENT_FIELD_KEY]),
        ("THROTTLES", "user=299/minute"),
        ("THROTTLES", "call=1/3second"),
        ("THROTTLES", "login=300/minute;1/second"),
        ("THROTTLES", "address=0/minute"),
        ("THROTTLES", "on"),
        ("NUM_PROXIES", -1),
        ("MEMBERSHIP_PROOF_DAYS", 0),
        ("REDIS_URL", "redis://:canary@cache:port/0"),
        ("SENTRY_DSN", "https://sentry.example/1"),
        ("FIELD_KEYS", ["canary 密钥"]),
        ("WECHAT_API_URL", "http://api.weixin.qq.com"),
        ("WECHAT_API_URL", "https://api.weixin.qq.com.evil.cn"),
        ("WECHAT_API_URL", "https://api.weixin.qq.com@evil.cn"),
    ],
)
def test_the_checks_find_what_only_looks_good(settings: Any, name: str, value: Any) -> None:
    settings.ALLOW_SANDBOX = False
    settings.WECHAT_API_URL = "https://api.weixin.qq.com"
    assert run_checks() == []
    setattr(settings, name, value)
    [found] = run_checks()
    assert found.is_serious() and found.hint and name in found.msg
    assert "canary" not in str(found)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ALLOWED_HOSTS", [".example.com", "localhost", "127.0.0.1", "[::1]", ".example.com.cn"]),
        ("CSRF_TRUSTED_ORIGINS", ["https://*.example.com"]),
        ("THROTTLES", "off"),
        ("THROTTLES", " login = 120 per minute , user=5/second,call=off,"),
        ("THROTTLES", "login=7200/hour"),
        ("REDIS_URL", "redis://127.0.0.1:1/0"),
        ("REDIS_URL", "rediss://:secret@cache.example/0"),
        ("REDIS_URL", "unix:///run/redis.sock"),
        ("SENTRY_DSN", "https://0123456789@sentry.example/1"),
    ],
)
def test_the_checks_accept_good_settings(settings: Any, name: str, value: Any) -> None:
    setattr(settings, name, value)
    assert run_checks() == []


@pytest.mark.parametrize(
    ("package", "name", "value"),
    [
        ("redis", "REDIS_URL", "redis://cache:6379/0"),
        ("sentry_sdk.utils", "SENTRY_DSN", "https://0123456789@sentry.example/1"),
    ],
)
def test_a_setting_that_needs_a_package_names_what_to_install(
    settings: Any, monkeypatch: pytest.MonkeyPatch, package: str, name: str, value: str
) -> None:
    for module in [module for module in sys.modules if module.startswith(package)]:
        monkeypatch.setitem(sys.modules, module, None)
    setattr(settings, name, value)
    [found] = run_checks()
    assert name in found.msg and "pip install" in found.hint


@pytest.mark.parametrize(
    "address",
    ["/media/", "media/", "http://avatars.example.com/", "//avatars.example.com/", "https:///"],
)
def test_a_bucket_needs_a_public_address(settings, address):
    settings.ALLOW_SANDBOX, settings.S3_BUCKET = True, "avatars"
    settings.MEDIA_URL = "https://avatars.example.com/"
    assert run_checks() == []
    settings.MEDIA_URL = address
    assert [found.id for found in run_checks()] == ["accounts.E001"]


@pytest.mark.parametrize("library", ["storages", "boto3"])
def test_a_bucket_needs_its_library(settings, monkeypatch, library):
    settings.S3_BUCKET, settings.MEDIA_URL = "avatars", "https://avatars.example.com/"
    monkeypatch.setitem(sys.modules, library, None)
    [found] = run_checks()
    assert found.id == "accounts.E002"
    assert "requirements/s3.txt" in found.hint


def test_the_folder_in_the_directory_for_avatars_is_looked_at_too(settings, tmp_path):
    settings.MEDIA_ROOT = str(tmp_path)
    (tmp_path / "avatars").touch()
    assert [found.id for found in run_checks()] == ["accounts.E003"]


DEPLOYMENT = {"core.W001", "core.W002", "groupsite.W003", "groupsite.W004", "groupsite.W005"}


def deployment_warnings() -> list[str]:
    """Return the ids of our own warnings of `check --deploy`."""
    found = [each for each in run_checks(include_deployment_checks=True) if each.id in DEPLOYMENT]
    assert all(each.level == WARNING and each.hint for each in found)
    return [str(each.id) for each in found]


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("name", "absurd", "longest"),
    [
        ("WATERMARK_MAX_AGE", 24 * 3600 + 1, 24 * 3600),
        ("MEMBERSHIP_PROOF_DAYS", 2 * 365, 366),
        ("LINK_MAX_AGE", 365 * 24 * 3600, 31 * 24 * 3600),
    ],
)
def test_an_age_of_years_is_warned_of(settings, name, absurd, longest):
    setattr(settings, name, longest)
    assert deployment_warnings() == []
    setattr(settings, name, absurd)
    assert deployment_warnings() == ["groupsite.W003"]


@pytest.mark.django_db
@pytest.mark.parametrize("text", ["off", "costly=off", "guess=off,login=300/minute"])
def test_limits_that_are_off_are_warned_of(settings, text):
    settings.THROTTLES = text
    [found] = [each for each in run_checks(include_deployment_checks=True) if each.id in DEPLOYMENT]
    assert found.id == "groupsite.W004"
    assert ("guess" in found.msg) == text.startswith("guess"), "off never lifts those"
    settings.THROTTLES = "costly=30/minute"
    assert deployment_warnings() == []


ELSEWHERE = {
    "DATABASE_URL=…?sslmode=verify-full": {
        "database": ("core.postgresql", "db.example.com", {"sslmode": "require"})
    },
    "DATABASE_URL=…?ssl_ca=": {"database": ("core.mysql", "10.0.0.5", {})},
    # PyMySQL takes any certificate with this alone.
    "&ssl_verify_identity=true": {"database": ("core.mysql", "10.0.0.5", {"ssl_ca": "/ca.pem"})},
    "DATABASE_URL=": {"database": ("core.postgresql", "127.0.0.1,10.0.0.6", {})},
    "DATABASE_URL=…?sslmode=": {"database": ("core.postgresql", "pg1,pg2", {})},
    "DATABASE_URL=…?sslmode=verify": {"database": ("core.postgresql", "fd00::5", {})},
    "REDIS_URL=rediss": {"REDIS_URL": "redis://[fd00::7]:6379"},
    "REDIS_URL=rediss://": {"REDIS_URL": "redis://:p@10.0.0.7:6379/0"},
    "S3_ENDPOINT_URL=https://": {"S3_ENDPOINT_URL": "http://cos.example.com"},
    "SENTRY_DSN=https://": {"SENTRY_DSN": "http://key@sentry.example.com/1"},
}


def pretend(monkeypatch, settings, *database):
    for name, value in zip(("ENGINE", "HOST", "OPTIONS"), database, strict=True):
        monkeypatch.setitem(settings.DATABASES["default"], name, value)


@pytest.mark.parametrize("hint", ELSEWHERE)
def test_what_leaves_the_machine_in_plain_text_is_warned_of(settings, monkeypatch, hint):
    for name, value in ELSEWHERE[hint].items():
        if name == "database":
            pretend(monkeypatch, settings, *value)
        else:
            setattr(settings, name, value)
    [found] = encrypted_connections(None)
    assert (found.id, found.level) == ("groupsite.W005", WARNING) and hint in found.hint


def test_a_replica_elsewhere_is_warned_of_as_well(settings, monkeypatch):
    replica = {"ENGINE": "core.postgresql", "HOST": "replica.example.com"}
    monkeypatch.setitem(settings.DATABASES, "replica", replica)
    [found] = encrypted_connections(None)
    assert "DATABASE_REPLICA_URL=…?sslmode=verify-full" in found.hint


def test_what_stays_on_the_machine_or_is_encrypted_is_good(settings, monkeypatch):
    for database in (
        ("core.sqlite", "", {}),
        ("core.postgresql", "127.0.0.1", {}),
        ("core.postgresql", "/run/postgresql", {}),
        ("core.postgresql", "postgres", {}),
        ("core.postgresql", "::1,localhost", {}),
        ("core.postgresql", "db.example.com", {"sslmode": "verify-full"}),
        ("core.mysql", "db.example.com", {"ssl_ca": "/ca.pem", "ssl_verify_identity": True}),
    ):
        pretend(monkeypatch, settings, *database)
        assert encrypted_connections(None) == [], database
    for url in ("unix:///run/redis/socket", "redis://redis:6379", "rediss://cache.example.com"):
        settings.REDIS_URL = url
        assert encrypted_connections(None) == [], url


def test_no_other_user_may_read_what_an_sqlite_site_writes(tmp_path):
    code = """
import os
os.umask(0o022)
from django.db import connection
with connection.cursor() as cursor:
    cursor.execute("CREATE TABLE things (name TEXT)")
for each in os.scandir({folder}):
    print(each.name, oct(each.stat().st_mode & 0o777))
"""
    run = manage(
        tmp_path, "shell", "--verbosity", "0", "-c", code.replace("{folder}", repr(str(tmp_path)))
    )
    files = [f"db.sqlite3{ending} 0o600" for ending in ("", "-shm", "-wal")]
    assert sorted(said(run).splitlines()) == files


def test_an_sqlite_file_that_others_may_read_is_warned_of(tmp_path):
    assert manage(tmp_path, "migrate", "--verbosity", "0").returncode == 0
    (tmp_path / "db.sqlite3").chmod(0o640)
    run = manage(tmp_path, "check", "--deploy", "--fail-level", "WARNING")
    assert "core.W002" in said(run) and f"chmod 600 {tmp_path}" in said(run)


SANDBOX = ("wechat.sandbox", "wechat.sandbox.server", "groupsite.demo")


def test_sandbox_and_demo_are_not_loaded_into_a_site_in_use(tmp_path):
    # Whatever serves is loaded: the addresses, and the API's documentation with its examples.
    code = """
import importlib, sys
import groupsite.urls, groupsite.docs, groupsite.reference
print(sorted(name for name in sys.modules if "sandbox" in name or name == "groupsite.demo"))
for name in {names}:
    try:
        importlib.import_module(name)
        print(name, "loaded")
    except Exception as error:
        print(name, type(error).__name__, "ALLOW_SANDBOX" in str(error))
"""
    shell = ("shell", "--verbosity", "0", "-c", code.replace("{names}", repr(SANDBOX)))
    served, *refused = said(manage(tmp_path, *shell)).splitlines()
    assert served == "[]"
    assert refused == [f"{name} ImproperlyConfigured True" for name in SANDBOX]
    for setting in ("ALLOW_SANDBOX", "DEBUG"):
        _served, *loaded = said(manage(tmp_path, *shell, **{setting: "True"})).splitlines()
        assert loaded == [f"{name} loaded" for name in SANDBOX]


@pytest.mark.parametrize("command", ["sandbox", "seed_demo"])
def test_their_commands_refuse_too(tmp_path, command):
    run = manage(tmp_path, command)
    assert run.returncode == 1 and "is not for a site in use" in run.stderr.splitlines()[-1]


def test_the_check_does_not_create_the_directory_for_avatars(settings, tmp_path):
    settings.MEDIA_ROOT = str(tmp_path / "deep" / "down")
    assert run_checks() == []
    assert list(tmp_path.iterdir()) == []
    settings.DEBUG, settings.MEDIA_ROOT = True, "/dev/null/media"
    assert run_checks() == []
    settings.MEDIA_ROOT = "/dev/null"
    assert [found.id for found in run_checks()] == ["accounts.E003"]


@pytest.mark.parametrize(
    ("name", "bad", "hint"),
    [
        ("SECRET_KEY", "", "SECRET_KEY is not set"),
        ("WECHAT_APPS", "wx1", "WECHAT_APPS must read"),
        ("WECHAT_PUSH", "wx1", "WECHAT_PUSH must read"),
        ("ALLOWED_HOSTS", "*", "HINT: Name your domains"),
    ],
)
def test_a_bad_setting_stops_the_command_with_a_hint(tmp_path, name, bad, hint):
    run = manage(tmp_path, "check", **{name: bad})
    assert run.returncode != 0
    assert hint in said(run)


def test_push_channels_are_checked_in_development_too(settings):
    settings.DEBUG = True
    settings.WECHAT_PUSH = channels(token="", aes_key="short")
    assert [(found.id, found.level) for found in run_checks()] == [
        ("wechat.E004", ERROR),
        ("wechat.E005", ERROR),
    ]


def test_a_channel_without_a_key_is_accepted(settings):
    settings.WECHAT_PUSH = channels(aes_key="")
    assert run_checks() == []


def test_a_mini_program_without_a_channel_gets_a_note(settings):
    settings.WECHAT_PUSH = {}
    [found] = run_checks()
    assert (found.id, found.level) == ("wechat.I001", INFO)
    assert APP_ID in found.msg and "WECHAT_PUSH=" in found.hint


def test_a_site_without_content_safety_gets_a_warning(settings):
    settings.CONTENT_SAFETY, settings.WECHAT_PUSH = False, {}
    [found] = run_checks()
    assert (found.id, found.level) == ("wechat.W001", WARNING)
    assert found.hint


def test_push_channels_are_read_from_one_line():
    assert push_channels("") == push_channels(" , ") == {}
    assert push_channels(f"wx1:Token123:{AES_KEY}, wx2:Token456") == {
        "wx1": {"TOKEN": "Token123", "AES_KEY": AES_KEY},
        "wx2": {"TOKEN": "Token456", "AES_KEY": ""},
    }


@pytest.mark.parametrize("text", ["wx1", "wx1:", ":Canary", "wx1::Canary", "wx2:Canary,wx1"])
def test_an_incomplete_push_channel_is_refused_and_not_quoted(text):
    with pytest.raises(ImproperlyConfigured) as refused:
        push_channels(text)
    assert "Canary" not in str(refused.value)


def test_error_reports_hide_both_secrets_of_a_channel(settings):
    settings.WECHAT_PUSH = channels("CanaryToken")
    reported = ReportFilter().get_safe_settings()["WECHAT_PUSH"]
    assert APP_ID in reported and "Canary" not in str(reported)


def test_the_migrations_agree_with_the_models(tmp_path):
    run = manage(tmp_path, "makemigrations", "--check", "--dry-run")
    assert run.returncode == 0, said(run)


def test_the_schema_is_valid_openapi_without_a_warning(tmp_path):
    file = tmp_path / "schema.yml"
    run = manage(tmp_path, "spectacular", "--validate", "--fail-on-warn", "--file", str(file))
    assert run.returncode == 0, said(run)
    assert "Warning" not in said(run)
    assert "/ranking/around" in file.read_text()


def test_migrations_can_be_run_in_part_and_reversed(tmp_path):
    for arguments in (["auth"], [], ["groups", "zero"], []):
        run = manage(tmp_path, "migrate", "--verbosity", "0", *arguments)
        assert run.returncode == 0, said(run)
    code = "from groups.models import Board; print(Board.objects.active_days().key)"
    assert "active-days" in said(manage(tmp_path, "shell", "--verbosity", "0", "-c", code))


# WeChat Cloud Run

CLOUD = {"WECHAT_CLOUD": "envelope", "PUBLIC_URL": "https://www.example.com"}


@pytest.mark.parametrize("name", ["CSRF_TRUSTED_ORIGINS", "STATIC_ROOT"])
def test_one_process_is_not_both_services(settings: Any, name: str) -> None:
    settings.ALLOW_SANDBOX, settings.ALLOWED_HOSTS = True, []
    for key, value in CLOUD.items():
        setattr(settings, key, value)
    assert run_checks() == []  # no host has to be named: none is read there
    value = {"STATIC_ROOT": "/srv/static"}.get(name, ["https://www.example.com"])
    setattr(settings, name, value)
    [found] = run_checks()
    assert (found.id, found.level) == ("groupsite.E012", ERROR)
    assert name in found.msg and found.hint
    settings.WECHAT_CLOUD, settings.ALLOWED_HOSTS = "", ["www.example.com"]
    assert run_checks() == []


def test_plain_http_to_wechat_is_for_the_open_service_alone(settings: Any) -> None:
    settings.ALLOW_SANDBOX = False
    for way, scheme, other in (("envelope", "https", "http"), ("cloudid", "http", "https")):
        settings.WECHAT_CLOUD = way
        settings.WECHAT_API_URL = f"{scheme}://api.weixin.qq.com"
        assert run_checks() == []
        settings.WECHAT_API_URL = f"{other}://api.weixin.qq.com"
        assert [found.id for found in run_checks()] == ["wechat.E002"]


def test_what_a_container_would_lose_is_a_warning(db: None, settings: Any) -> None:
    settings.WECHAT_CLOUD = "envelope"

    def warnings() -> set[str]:
        found = checks.run_checks(include_deployment_checks=True)
        return {each.id for each in found if each.id in {f"groupsite.W01{n}" for n in range(3)}}

    on_disk = {"groupsite.W011"} if connection.vendor == "sqlite" else set()
    assert warnings() == {"groupsite.W010", "groupsite.W012", *on_disk}
    settings.PUBLIC_URL, settings.S3_BUCKET = "https://www.example.com", "avatars"
    assert warnings() == on_disk
    settings.WECHAT_CLOUD = ""
    assert warnings() == set()
