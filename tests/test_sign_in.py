"""How operators sign in: a password or a link, then a code from their phone; and guessing."""

import json
import re
import time
from base64 import b32decode
from collections import Counter
from collections.abc import Iterator
from io import StringIO
from typing import Any

import pytest
import time_machine
from django.contrib.auth.models import User
from django.core.checks import run_checks
from django.core.management import CommandError, call_command
from django.test import Client as Browser
from django_otp.oath import TOTP

from audit.models import AuditEvent
from console.guesses import digest_of_name
from console.models import BACKUP_CODES, SecondFactor
from console.sign_in import sign_in_path
from tests.cast import everything_stored
from tests.servers import forget_counts

PASSWORD = "a password only otto knows"
LOGIN, OTP, CONSOLE = "/admin/login/?next=/admin/", "/admin/otp/?next=/admin/", "/admin/"
NOON = 1_795_579_200  # a full minute


@pytest.fixture
def clock(settings: Any) -> Iterator[Any]:
    """Stop the clock, and require a second factor of operators."""
    settings.OPERATOR_TOTP = True
    with time_machine.travel(NOON, tick=False) as clock:
        yield clock


@pytest.fixture
def otto(db: None) -> User:
    return User.objects.create_superuser("otto", password=PASSWORD)


def log_in(browser: Browser, password: str = PASSWORD, name: str = "otto", **extra: Any) -> Any:
    return browser.post(LOGIN, {"username": name, "password": password}, **extra)


def secret_in(page: Any) -> str:
    [shown] = re.findall(r'<code class="secret">([A-Z2-7 ]+)</code>', page.content.decode())
    return str(shown).replace(" ", "")


def codes_in(page: Any) -> list[str]:
    return re.findall(r"<li><code>([a-z2-7 ]+)</code>", page.content.decode())


def code_of(key: str, steps: int = 0) -> str:
    """Return what an authenticator app with this secret shows, now or some steps of 30 s later."""
    return f"{TOTP(b32decode(key), drift=steps).token():06}"


def enter(browser: Browser, code: str, **extra: Any) -> Any:
    return browser.post(OTP, {"code": code}, **extra)


def enrol(browser: Browser) -> tuple[str, list[str]]:
    """Set up an app, as on the first sign-in; return its secret and the backup codes."""
    key = secret_in(browser.get(OTP))
    return key, codes_in(enter(browser, code_of(key)))


def is_in(browser: Browser) -> bool:
    return bool(browser.get(CONSOLE).status_code == 200)


@pytest.fixture
def phone(clock: Any, otto: User) -> tuple[str, list[str]]:
    """Set up Otto's phone, a minute ago; return its secret and the backup codes."""
    browser = Browser()
    log_in(browser)
    made = enrol(browser)
    clock.shift(60)
    return made


def codeless() -> Browser:
    """Return a browser in which Otto gave his password, and no code yet."""
    browser = Browser()
    assert log_in(browser).status_code == 302
    return browser


# The second factor


def test_the_first_sign_in_sets_up_an_app_and_shows_ten_backup_codes_once(
    clock: Any, otto: User
) -> None:
    browser = codeless()
    asked = browser.get(CONSOLE, follow=True)
    assert asked.redirect_chain[-1][0] == "/admin/otp/?next=%2Fadmin%2F"
    assert "data:image/svg+xml" in asked.content.decode()
    page = enter(browser, code_of(secret_in(asked)))
    assert len(set(codes_in(page))) == BACKUP_CODES
    assert "no-store" in page["Cache-Control"]
    assert is_in(browser)
    assert codes_in(browser.get(OTP)) == []


def test_a_one_time_link_needs_a_code_as_well(phone: tuple[str, list[str]], otto: User) -> None:
    browser = Browser()
    browser.post(sign_in_path(User.objects.get()))
    assert not is_in(browser)
    assert enter(browser, code_of(phone[0]))["Location"] == CONSOLE
    assert is_in(browser)


def test_without_the_code_no_page_of_the_console_opens(
    phone: tuple[str, list[str]], otto: User
) -> None:
    browser = codeless()
    before = everything_stored()
    for path in (CONSOLE, "/admin/accounts/wechatuser/", "/admin/auth/user/", "/admin/act/hide/1/"):
        for answer in (browser.get(path), browser.post(path)):
            assert answer.status_code == 302
            assert answer["Location"].startswith("/admin/login/")
    assert everything_stored() == before


def test_two_browsers_that_set_up_an_app_get_different_secrets(clock: Any, otto: User) -> None:
    mine, other = codeless(), codeless()
    assert secret_in(mine.get(OTP)) == secret_in(mine.get(OTP))
    assert secret_in(mine.get(OTP)) != secret_in(other.get(OTP))
    late = secret_in(other.get(OTP))
    enrol(mine)
    enter(other, code_of(late))
    assert not is_in(other) and SecondFactor.objects.count() == 1


@pytest.mark.parametrize("steps", [-1, 0, 1])
def test_a_phones_clock_may_be_half_a_minute_off(phone: tuple[str, list[str]], steps: int) -> None:
    browser = codeless()
    enter(browser, code_of(phone[0], steps))
    assert is_in(browser)


@pytest.mark.parametrize("steps", [-3, -2, 2, 3])
def test_a_phones_clock_may_not_be_further_off(phone: tuple[str, list[str]], steps: int) -> None:
    browser = codeless()
    assert enter(browser, code_of(phone[0], steps)).status_code == 200
    assert not is_in(browser)


def test_a_code_works_once(phone: tuple[str, list[str]], clock: Any) -> None:
    code = code_of(phone[0])
    first, second = codeless(), codeless()
    enter(first, code)
    enter(second, code)
    assert is_in(first) and not is_in(second)
    clock.shift(30)
    enter(second, code)
    assert not is_in(second), "nor in the next step, although it is still in time"


def test_the_code_that_set_up_the_app_does_not_sign_in_again(clock: Any, otto: User) -> None:
    key, _codes = enrol(codeless())
    browser = codeless()
    enter(browser, code_of(key))
    assert not is_in(browser)


def test_a_backup_code_works_once_however_it_is_typed(
    phone: tuple[str, list[str]], clock: Any
) -> None:
    code = phone[1][3]
    first, second = codeless(), codeless()
    enter(first, code.upper().replace(" ", "-"))
    enter(second, code)
    assert is_in(first) and not is_in(second)
    clock.shift(2)
    enter(second, phone[1][4])
    assert is_in(second)
    ways = AuditEvent.objects.filter(action="sign_in").values_list("details__way", flat=True)
    assert list(ways).count("backup_code") == 2


def test_full_width_digits_are_accepted(phone: tuple[str, list[str]]) -> None:
    browser = codeless()
    code = "".join(chr(ord(digit) + 0xFEE0) for digit in code_of(phone[0]))
    enter(browser, f"{code[:3]} {code[3:]}")
    assert is_in(browser)


@pytest.mark.parametrize("code", ["", "000000", "0" * 41, "abc", "-12345", "１２", "\x00"])
def test_a_wrong_code_is_refused_with_a_message(phone: tuple[str, list[str]], code: str) -> None:
    browser = codeless()
    page = enter(browser, code)
    assert page.status_code == 200 and "errorlist" in page.content.decode()
    assert not is_in(browser)


def test_each_wrong_code_doubles_the_wait_up_to_nine_minutes(
    phone: tuple[str, list[str]], clock: Any, settings: Any
) -> None:
    settings.THROTTLES = "guess=off,guess-name=off,guess-address=off"
    browser = codeless()
    for _ in range(15):
        enter(browser, "000000")
        clock.shift(600)
    enter(browser, "000000")
    enter(browser, code_of(phone[0]))
    assert not is_in(browser), "the right code must wait as well"
    clock.shift(513)
    enter(browser, code_of(phone[0]))
    assert is_in(browser)


def test_wrong_codes_are_counted_like_wrong_passwords(
    phone: tuple[str, list[str]], clock: Any
) -> None:
    browser = codeless()
    answers = Counter(enter(browser, "000000").status_code for _ in range(20))
    assert answers == {200: 5, 429: 15}
    clock.shift(901)
    forget_counts()  # Redis has a clock of its own, which nothing here moves
    enter(browser, code_of(phone[0]))
    assert is_in(browser)


def test_new_backup_codes_replace_the_old_ones(phone: tuple[str, list[str]], clock: Any) -> None:
    browser = codeless()
    enter(browser, code_of(phone[0]))
    clock.shift(60)
    assert "10" in browser.get(OTP).content.decode()
    new = codes_in(enter(browser, code_of(phone[0])))
    assert len(new) == BACKUP_CODES and not set(new) & set(phone[1])
    other = codeless()
    enter(other, phone[1][0])
    assert not is_in(other)
    clock.shift(2)
    enter(other, new[0])
    assert is_in(other)


def test_a_change_of_the_second_factor_needs_a_code(
    phone: tuple[str, list[str]], clock: Any
) -> None:
    browser = codeless()
    enter(browser, code_of(phone[0]))
    for sent in ({}, {"remove": "1"}):
        assert codes_in(browser.post(OTP, {"code": "000000", **sent})) == []
        clock.shift(60)
    assert SecondFactor.objects.count() == 1
    answer = browser.post(OTP, {"code": phone[1][0], "remove": "1"})
    assert answer["Location"] == "/admin/otp/"
    assert not is_in(browser)
    assert secret_in(browser.get(OTP)) != phone[0]


def test_no_other_session_sets_up_the_next_phone(phone: tuple[str, list[str]], clock: Any) -> None:
    mine, other = codeless(), codeless()
    enter(mine, code_of(phone[0]))
    clock.shift(60)
    enter(other, code_of(phone[0]))
    clock.shift(60)
    mine.post(OTP, {"code": code_of(phone[0]), "remove": "1"})
    assert other.get(OTP).status_code == 302
    assert secret_in(mine.get(OTP)) != phone[0]


def test_a_reset_of_the_second_factor_signs_out_and_is_audited(
    phone: tuple[str, list[str]],
) -> None:
    browser = codeless()
    enter(browser, code_of(phone[0]))
    assert is_in(browser)
    call_command("reset_totp", "otto", stdout=StringIO())
    assert not is_in(browser)
    assert browser.get(OTP).status_code == 302, "nor does this session set up the next phone"
    event = AuditEvent.objects.latest("pk")
    assert (event.action, event.operator, event.operator_name) == ("reset_totp", None, "manage.py")
    assert secret_in(codeless().get(OTP)) != phone[0]
    for name in ("otto", "unknown"):
        with pytest.raises(CommandError, match="No operator"):
            call_command("reset_totp", name)


def test_the_secret_and_the_backup_codes_are_encrypted_at_rest(
    phone: tuple[str, list[str]], settings: Any
) -> None:
    stored = str(everything_stored())
    assert "second" in stored
    for secret in (phone[0], *(code.replace(" ", "") for code in phone[1])):
        assert secret not in stored and secret.upper() not in stored
    assert b32decode(phone[0]).hex() not in stored


def test_the_next_sign_in_encrypts_under_a_new_field_key(
    phone: tuple[str, list[str]], settings: Any, clock: Any
) -> None:
    old, new = settings.FIELD_KEYS[0], "bmV3LWtleS1uZXcta2V5LW5ldy1rZXktMDAwMDAwMDA="
    settings.FIELD_KEYS = [new, old]
    enter(codeless(), code_of(phone[0]))
    settings.FIELD_KEYS = [new]
    clock.shift(60)
    browser = codeless()
    enter(browser, code_of(phone[0]))
    assert is_in(browser)


def test_the_session_key_changes_when_the_code_is_right(phone: tuple[str, list[str]]) -> None:
    browser = codeless()
    before = browser.cookies["__Host-sessionid"].value
    enter(browser, code_of(phone[0]))
    assert browser.cookies["__Host-sessionid"].value != before


def test_a_new_password_ends_the_other_sessions(phone: tuple[str, list[str]], clock: Any) -> None:
    mine, other = codeless(), codeless()
    enter(mine, code_of(phone[0]))
    clock.shift(60)
    enter(other, code_of(phone[0]))
    new = "another password that only otto knows"
    form = {"old_password": PASSWORD, "new_password1": new, "new_password2": new}
    assert mine.post("/admin/password_change/", form).status_code == 302
    assert is_in(mine) and not is_in(other)


NEW = "another password that only otto knows"


def change_password(browser: Browser, old: str, new: str = NEW) -> Any:
    form = {"old_password": old, "new_password1": new, "new_password2": new}
    return browser.post("/admin/password_change/", form)


def test_a_wrong_old_password_counts_as_a_guess(otto: User) -> None:
    browser = codeless()
    answers = Counter(change_password(browser, f"wrong {n}").status_code for n in range(40))
    assert answers == {200: 5, 429: 35}
    assert change_password(browser, PASSWORD).status_code == 429
    assert log_in(Browser()).status_code == 429, "both are counted together"


def test_a_new_password_that_is_refused_is_not_a_guess(otto: User) -> None:
    browser = codeless()
    assert {change_password(browser, PASSWORD, "short").status_code for _ in range(20)} == {200}
    assert change_password(browser, PASSWORD).status_code == 302
    assert log_in(Browser(), NEW).status_code == 302


def test_a_change_of_password_is_audited_without_the_password(otto: User) -> None:
    browser = codeless()
    change_password(browser, "wrong")
    assert not AuditEvent.objects.filter(action="change_password").exists()
    change_password(browser, PASSWORD)
    event = AuditEvent.objects.get(action="change_password")
    assert (event.operator, event.target, event.target_id) == (otto, "user", otto.pk)
    assert NEW not in str(list(AuditEvent.objects.values()))
    assert is_in(browser)


@pytest.mark.parametrize("whose", ["password_change", "auth/user/{}/password"])
def test_no_password_changes_if_it_cannot_be_audited(
    otto: User, whose: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    browser = codeless()
    monkeypatch.setattr("audit.actors.Actor.record", lambda *args, **kwargs: 1 / 0)
    form = {"old_password": PASSWORD, "usable_password": "true", "set-password": ""}
    form |= dict.fromkeys(("new_password1", "new_password2", "password1", "password2"), NEW)
    with pytest.raises(ZeroDivisionError):
        browser.post(f"/admin/{whose.format(otto.pk)}/", form)
    otto.refresh_from_db()
    assert otto.check_password(PASSWORD)


def test_an_operator_who_has_no_code_can_leave(phone: tuple[str, list[str]]) -> None:
    browser = codeless()
    assert browser.post(OTP, {"leave": "1"})["Location"] == "/admin/login/"
    assert browser.get(OTP)["Location"].startswith("/admin/login/")


def test_the_next_page_is_never_on_another_site(phone: tuple[str, list[str]]) -> None:
    browser = codeless()
    answer = browser.post("/admin/otp/?next=https://evil.example/", {"code": code_of(phone[0])})
    assert answer["Location"] == CONSOLE


def test_without_the_setting_a_password_is_enough(otto: User) -> None:
    browser = codeless()
    assert is_in(browser)
    assert browser.get(OTP)["Location"] == CONSOLE
    assert [e.details for e in AuditEvent.objects.filter(action="sign_in")] == [{"way": "password"}]


def test_a_former_operator_is_signed_out(phone: tuple[str, list[str]], otto: User) -> None:
    browser = codeless()
    enter(browser, code_of(phone[0]))
    User.objects.update(is_staff=False)
    assert not is_in(browser)
    assert browser.get(OTP)["Location"].startswith("/admin/login/")


def test_a_deployment_without_a_second_factor_gets_a_warning(db: None, settings: Any) -> None:
    assert "groupsite.W001" in [each.id for each in run_checks(include_deployment_checks=True)]
    settings.OPERATOR_TOTP = True
    assert "groupsite.W001" not in [each.id for each in run_checks(include_deployment_checks=True)]


def test_the_audit_of_a_sign_in_has_no_secret(phone: tuple[str, list[str]], otto: User) -> None:
    stored = str(list(AuditEvent.objects.values()))
    assert "sign_in" in stored and "enrol_totp" in stored
    assert PASSWORD not in stored and phone[0] not in stored


# Guessing


def guesses(browser: Browser, times: int, name: str = "otto", **extra: Any) -> Counter[int]:
    """Try so many wrong passwords; count the answers by status."""
    return Counter(
        log_in(browser, f"wrong {number}", name, **extra).status_code for number in range(times)
    )


def test_wrong_passwords_lock_and_the_page_says_for_how_long(otto: User) -> None:
    with time_machine.travel(NOON, tick=False) as clock:
        browser = Browser()
        assert guesses(browser, 20) == {200: 5, 429: 15}
        answer = log_in(browser)
        assert answer.status_code == 429 and answer["Retry-After"] == "900"
        assert "15" in answer.content.decode() and 'lang="zh-hans"' in answer.content.decode()
        english = log_in(browser, headers={"Accept-Language": "en"}).content.decode()
        assert 'lang="en"' in english and "Try again in 15 minutes" in english
        assert browser.get(LOGIN).status_code == 200, "looking costs nothing"
        clock.shift(901)
        assert log_in(browser).status_code == 302


def test_right_passwords_are_not_counted(otto: User) -> None:
    assert {log_in(Browser()).status_code for _ in range(40)} == {302}


def test_a_success_does_not_reset_the_count_of_another_name(otto: User) -> None:
    User.objects.create_superuser("mallory", password=PASSWORD)
    browser = Browser()
    for _ in range(2):
        assert guesses(browser, 2)[200] == 2
        assert log_in(Browser(), name="mallory").status_code == 302
        assert log_in(Browser()).status_code == 302
    assert guesses(browser, 2) == {200: 1, 429: 1}


def test_an_address_has_thirty_guesses_for_all_names_together(otto: User) -> None:
    browser = Browser()
    answers = sum((guesses(browser, 2, f"operator{number}") for number in range(20)), Counter())
    assert answers == {200: 30, 429: 10}
    assert log_in(Browser(REMOTE_ADDR="192.0.2.9")).status_code == 302


@pytest.mark.parametrize("spelling", ["OTTO", " otto ", "ｏｔｔｏ"])
def test_another_spelling_is_the_same_name(otto: User, spelling: str) -> None:
    guesses(Browser(), 5)
    assert guesses(Browser(), 1, spelling) == {429: 1}


def test_guesses_from_elsewhere_do_not_lock_an_operators_own_browser(otto: User) -> None:
    known = codeless()
    assert known.post("/admin/logout/").status_code == 302
    answers: Counter[int] = Counter()
    for number in range(10):
        answers += guesses(Browser(REMOTE_ADDR=f"192.0.2.{number}"), 5)
    assert answers == {200: 20, 429: 30}, "that name has no guesses left from any address"
    assert log_in(Browser(REMOTE_ADDR="192.0.2.99")).status_code == 429
    assert log_in(known).status_code == 302, "but Otto's browser may still try"
    browser = Browser(REMOTE_ADDR="192.0.2.99")
    browser.post(sign_in_path(User.objects.get()))
    assert is_in(browser), "and so does a link"


def test_the_device_cookie_of_one_operator_does_not_help_another(otto: User) -> None:
    User.objects.create_superuser("mallory", password=PASSWORD)
    browser = Browser(REMOTE_ADDR="192.0.2.200")
    log_in(browser, name="mallory")
    cookie = browser.cookies["__Host-operator_device"]
    assert cookie["secure"] and cookie["httponly"] and cookie["samesite"] == "Lax"
    for number in range(4):
        guesses(Browser(REMOTE_ADDR=f"192.0.2.{number}"), 5)
    assert guesses(browser, 1) == {429: 1}


def test_a_password_alone_sets_no_device_cookie(phone: tuple[str, list[str]]) -> None:
    browser = codeless()
    assert "__Host-operator_device" not in browser.cookies
    enter(browser, code_of(phone[0]))
    assert "__Host-operator_device" in browser.cookies


def test_a_wrong_password_is_logged_without_the_password(otto: User, log_output: StringIO) -> None:
    log_in(Browser(), "almost " + PASSWORD, "my-password-in-the-wrong-field")
    logged = log_output.getvalue()
    assert "wrong password" in logged
    assert PASSWORD not in logged and "in-the-wrong-field" not in logged


def sign_ins(log_output: StringIO) -> list[tuple[str, ...]]:
    """Return what the lines about sign-ins say: level, beginning, digest, address, way."""
    found = [json.loads(line) for line in log_output.getvalue().splitlines()]
    names = ("level", "operator", "client", "way")
    return [
        (line["message"].split(" for")[0], *(line.get(name, "") for name in names))
        for line in found
        if "client" in line and "route" not in line
    ]


def test_each_sign_in_is_logged_with_a_digest_of_the_name_and_the_address(
    phone: tuple[str, list[str]], otto: User, log_output: StringIO
) -> None:
    digest = digest_of_name("otto")[:16]
    browser = Browser(REMOTE_ADDR="192.0.2.9")
    log_in(browser, "wrong", " OTTO ")
    log_in(browser)
    enter(browser, "000000")
    browser.post(sign_in_path(User.objects.get()))
    browser.post("/sign-in/999999/none-such/")
    wrong, signed_in = "A wrong password or code", "An operator signed in."
    assert sign_ins(log_output) == [
        (wrong, "WARNING", digest, "192.0.2.9", ""),
        (signed_in, "INFO", digest, "192.0.2.9", "password"),
        (wrong, "WARNING", digest, "192.0.2.9", ""),
        (signed_in, "INFO", digest, "192.0.2.9", "link"),
        ("A sign-in link that does not work, or no more.", "WARNING", "", "192.0.2.9", ""),
    ]
    assert "otto" not in log_output.getvalue().casefold()


def test_a_refused_guess_is_logged_too(otto: User, log_output: StringIO) -> None:
    guesses(Browser(), 6)
    assert [line[0] for line in sign_ins(log_output)][-1] == "Too many wrong passwords or codes"


def test_guesses_of_a_very_long_name_are_counted(db: None) -> None:
    assert guesses(Browser(), 6, "x" * 100_000) == {200: 5, 429: 1}


def test_the_limits_of_guesses_stay_unless_they_are_switched_off_by_name(
    otto: User, settings: Any
) -> None:
    settings.THROTTLES = "off"
    assert guesses(Browser(), 6) == {200: 5, 429: 1}
    settings.THROTTLES = "guess=off,guess-name=off,guess-address=off"
    assert guesses(Browser(), 40) == {200: 40}


def test_the_wait_is_counted_in_real_time(otto: User) -> None:
    started = time.time()
    guesses(Browser(), 5)
    left = int(log_in(Browser())["Retry-After"])
    assert 890 - (time.time() - started) <= left <= 900
