"""The exceptions of `make fuzz` are written down, are true, and hide nothing."""

import tomllib
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from fuzz import GROUPS
from fuzz.__main__ import report
from fuzz.tally import Tally
from groupsite.demo import APP_ID
from wechat.sandbox import open_gid_of

pytestmark = pytest.mark.no_service

FILE = Path(__file__).parent.parent / "fuzz/schemathesis.toml"
CONFIG = tomllib.loads(FILE.read_text())
ME = "GET /api/v1/me"


def test_every_exception_is_for_an_operation_that_exists(client: Any) -> None:
    schema = client.get("/api/schema/", headers={"Accept": "application/json"}).json()
    there = {call["operationId"] for calls in schema["paths"].values() for call in calls.values()}
    excepted: Counter[str] = Counter()
    for entry in CONFIG["operations"]:
        names = entry["include-operation-id"]
        excepted.update([names] if isinstance(names, str) else names)
    assert set(excepted) <= there
    assert set(excepted.values()) == {1}


def test_no_operation_and_no_check_is_left_out() -> None:
    for entry in CONFIG["operations"]:
        assert entry.keys() == {"include-operation-id", "checks"}
        assert entry["checks"].keys() <= CONFIG["checks"].keys()
    assert CONFIG["checks"].keys() == {"positive_data_acceptance", "negative_data_rejection"}
    for check in [CONFIG["checks"], *(entry["checks"] for entry in CONFIG["operations"])]:
        for limits in check.values():
            assert limits.keys() == {"expected-statuses"}
            assert not any(status.startswith("5") for status in limits["expected-statuses"])


def test_every_exception_has_its_reason() -> None:
    lines = FILE.read_text().partition("# Well-typed values")[2].splitlines()
    exceptions = [line for line in lines if line.strip().startswith('"4')]
    assert len(exceptions) >= 10
    assert all("  # " in line for line in exceptions)


def test_the_known_group_is_one_of_the_demos() -> None:
    real = {open_gid_of(APP_ID, f"demo-chat-{number}") for number in range(1, GROUPS + 1)}
    assert set(CONFIG["dictionaries"]["groups"]["values"]) <= real


def answering(*statuses: int) -> Tally:
    """Return the tally of a site that answered calls of `me` with these statuses."""

    def application(environ: Any, start_response: Any) -> list[bytes]:
        start_response(f"{environ['status']} Any", [])
        environ["PATH_INFO"] = "/𐍈"
        return []

    tally = Tally(application)
    for status in statuses:
        environ = {"REQUEST_METHOD": "GET", "PATH_INFO": "/api/v1/me", "status": status}
        tally(environ, lambda *started: None)
    return tally


def test_the_tally_counts_by_operation_for_every_path() -> None:
    tally = answering(200, 200, 401)
    assert tally.counts == {ME: {200: 2, 401: 1}}
    assert tally.total == 3
    for path in ("/api/v1/groups/tG1/ranking", "/api/v1/groups/\xf0\x90\x8d\x88", "/nothing"):
        tally({"REQUEST_METHOD": "GET", "PATH_INFO": path, "status": 404}, lambda *started: None)
    assert tally.counts["GET /api/v1/groups/{openGId}/ranking"] == {404: 1}


def test_an_operation_that_never_succeeded_or_that_broke_once_is_a_failure(capsys: Any) -> None:
    assert report(answering(200, 400), [ME]) == []
    assert report(answering(204), [ME]) == []
    assert len(report(answering(401, 404), [ME])) == 1
    assert len(report(answering(), [ME])) == 1
    assert len(report(answering(200, 503), [ME])) == 1
    assert "❌ GET /api/v1/me broke" in capsys.readouterr().out
