"""`manage.py doctor`: each examination by the real fault that it is for."""

import json
import time
from collections.abc import Iterator
from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command

from core import doctor
from core.doctor import Finding, State, error, examine_all, ok, warning

pytestmark = pytest.mark.no_service


@pytest.fixture
def examinations(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Begin with no examination; return where to add some."""
    own: dict[str, Any] = {}
    monkeypatch.setattr(doctor, "EXAMINATIONS", own)
    return own


def run(**options: Any) -> tuple[int, str]:
    """Run the command; return its exit code and what it wrote."""
    written = StringIO()
    try:
        call_command("doctor", stdout=written, no_color=True, **options)
    except SystemExit as end:
        return int(end.code or 0), written.getvalue()
    return 0, written.getvalue()


def test_each_finding_is_a_line_with_its_fix(examinations: dict[str, Any]) -> None:
    examinations["one"] = lambda: [ok("It is well.")]
    examinations["two"] = lambda: [warning("It is slow.", "Make it faster.")]
    code, said = run()
    assert (code, said) == (
        0,
        "ok      one: It is well.\nwarning two: It is slow.\n        → Make it faster.\n",
    )


def test_an_error_ends_the_command_with_1_and_json_is_for_machines(
    examinations: dict[str, Any],
) -> None:
    examinations["one"] = lambda: [error("坏了", "修好它"), ok("It is well.")]
    code, said = run(json=True)
    assert code == 1
    assert [json.loads(line) for line in said.splitlines()] == [
        {"name": "one", "state": "error", "saw": "坏了", "fix": "修好它"},
        {"name": "one", "state": "ok", "saw": "It is well.", "fix": ""},
    ]


def test_a_crash_is_a_finding_that_quotes_nothing(examinations: dict[str, Any]) -> None:
    def crash() -> Iterator[Finding]:
        yield ok("So far.")
        raise RuntimeError("the password is canary")

    examinations["crash"] = crash
    examinations["next"] = lambda: [ok("It is well.")]
    code, said = run(language="en")
    assert code == 1
    assert "ok      crash: So far.\n" in said
    assert "error   crash: The examination itself crashed: RuntimeError, tests/test_doctor" in said
    assert "ok      next: It is well." in said and "canary" not in said


def test_one_that_hangs_is_given_up_and_the_others_are_not(examinations: dict[str, Any]) -> None:
    def hang() -> list[Finding]:
        time.sleep(30)
        return []

    examinations["hangs"] = hang
    examinations["next"] = lambda: [ok("It is well.")]
    began = time.monotonic()
    found = list(examine_all(patience=0.3))
    assert time.monotonic() - began < 5
    assert [(name, finding.state) for name, finding in found] == [
        ("hangs", State.ERROR),
        ("next", State.OK),
    ]


def test_two_examinations_never_share_a_name(examinations: dict[str, Any]) -> None:
    doctor.examination("one")(list)
    with pytest.raises(ValueError, match="one"):
        doctor.examination("one")(list)
