"""The catalogue of errors: docs/errors.md lists every error that the code answers, and no other."""

import importlib
import pkgutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import BadRequest, SuspiciousOperation
from django.core.management import CommandError, call_command
from django.db import InterfaceError, OperationalError
from django.http import UnreadablePostError
from rest_framework import exceptions
from rest_framework.exceptions import APIException

import accounts
import groups
import groupsite
import wechat
from accounts.errors import RiskyName
from core.errors import RetryLater
from groups.errors import InvalidField
from groupsite.api import answer_body, answer_headers
from groupsite.errors import CATALOGUE, CODES, ServerError, as_api_exception, of_status
from groupsite.management.commands.errors_doc import document
from tests.cast import CHINESE
from wechat.errors import WeChatError

pytestmark = pytest.mark.no_service

DOC = Path(__file__).parent.parent / "docs/errors.md"
PACKAGES = (wechat, accounts, groups, groupsite)

# The contract's table, and the one code that it leaves to a crash.
CONTRACT = {
    "invalid": 400,
    "not_authenticated": 401,
    "invalid_token": 401,
    "invalid_code": 401,
    "permission_denied": 403,
    "user_blocked": 403,
    "group_not_proven": 403,
    "not_found": 404,
    "method_not_allowed": 405,
    "not_acceptable": 406,
    "too_large": 413,
    "unsupported_media_type": 415,
    "session_stale": 409,
    "not_a_group": 409,
    "throttled": 429,
    "bind_locked": 429,
    "wechat_unavailable": 503,
    "unavailable": 503,
    "server_error": 500,
}

ABSTRACT = {RetryLater}


def descendants(kind: type[Any]) -> Iterator[type[Any]]:
    for each in kind.__subclasses__():
        yield each
        yield from descendants(each)


def kinds_of(*packages: str) -> set[type[APIException]]:
    return {kind for kind in descendants(APIException) if kind.__module__.startswith(packages)}


@pytest.fixture(scope="module")
def ours() -> set[type[APIException]]:
    """Return every exception of DRF's kind that a module of the project defines."""
    for package in PACKAGES:
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if not module.name.endswith((".wsgi", ".demo")):
                importlib.import_module(module.name)
    return kinds_of(*(f"{package.__name__}." for package in PACKAGES)) - ABSTRACT


# The catalogue


def test_the_catalogue_is_the_contracts_table() -> None:
    assert {row.code: row.status for row in CATALOGUE} == CONTRACT
    assert len(CATALOGUE) == len(CONTRACT)


def test_every_exception_of_ours_has_its_row(ours: set[type[APIException]]) -> None:
    assert len(ours) >= 13
    rows = {kind for row in CATALOGUE for kind in row.kinds}
    assert ours - rows == set()
    assert rows - ours <= kinds_of("rest_framework.")


def test_the_exceptions_of_one_row_agree() -> None:
    for row in CATALOGUE:
        assert {(kind.default_code, kind.status_code) for kind in row.kinds} == {
            (row.code, row.status)
        }
        assert len({issubclass(kind, RetryLater) for kind in row.kinds}) == 1


# What may be raised


ARGUMENTS: dict[type[APIException], list[Any]] = {
    exceptions.MethodNotAllowed: ["GET"],
    exceptions.UnsupportedMediaType: ["text/plain"],
    RiskyName: ["nickname"],
    InvalidField: ["value", "Too large."],
}


def raised() -> Iterator[Exception]:
    for kind in sorted(kinds_of("rest_framework."), key=lambda kind: kind.__name__):
        yield kind(*ARGUMENTS.get(kind, []))
    yield exceptions.Throttled(wait=7.2)
    yield APIException("an unknown code")
    yield APIException(code="made_up")
    for row in CATALOGUE:
        for kind in row.kinds:
            yield kind(wait=3) if issubclass(kind, RetryLater) else kind(*ARGUMENTS.get(kind, []))
    for plain in (OperationalError, InterfaceError, UnreadablePostError, BadRequest):
        yield plain()
    yield SuspiciousOperation()
    yield from (kind("WeChat refused the call", -1, "") for kind in descendants(WeChatError))
    yield RuntimeError()


@pytest.mark.parametrize("error", list(raised()), ids=lambda error: type(error).__name__)
def test_the_answer_to_every_exception_is_in_the_catalogue(error: Exception) -> None:
    answer = as_api_exception(error)
    body = answer_body(answer)
    row = CODES[body["code"]]
    assert answer.status_code == row.status
    assert body.keys() - {"code", "detail", "requestId"} <= {row.carries}
    assert ("retryAfter" in body) == (row.carries == "retryAfter") == (row.status in {429, 503})
    assert ("Retry-After" in answer_headers(answer)) == ("retryAfter" in body)


@pytest.mark.parametrize("error", [APIException("unknown"), APIException(code="x"), KeyError()])
def test_a_code_that_is_not_in_the_catalogue_is_a_server_error(error: Exception) -> None:
    assert isinstance(as_api_exception(error), ServerError)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (exceptions.ParseError("torn"), "invalid"),
        (exceptions.AuthenticationFailed(), "invalid_token"),
        (exceptions.Throttled(wait=7.2), "throttled"),
        (exceptions.Throttled(), "throttled"),
    ],
)
def test_codes_of_drf_that_are_not_in_the_contract_become_ours(
    error: APIException, code: str
) -> None:
    body = answer_body(as_api_exception(error))
    assert body["code"] == code
    assert body.get("retryAfter") in {None, 1, 8}


@pytest.mark.parametrize("status", [400, 403, 404, 405, 406, 413, 500, 503])
def test_errors_of_django_itself_have_a_row_with_their_status(status: int) -> None:
    error = of_status(status, "GET")
    assert CODES[answer_body(error)["code"]].status == error.status_code == status


# The document


def test_the_document_agrees_with_the_code() -> None:
    assert DOC.read_text() == document(), "make docs"


def test_the_document_explains_every_code_in_both_languages() -> None:
    chinese, english = document().split("# Errors")
    for row in CATALOGUE:
        [said] = [line for line in chinese.splitlines() if f"`{row.code}`" in line]
        assert said.startswith(f"| {row.status} ")
        _start, _status, _code, when, todo, _carries, _end = said.split("|")
        assert CHINESE.search(when) and CHINESE.search(todo)
        assert english.count(f"| {row.status} | `{row.code}` |") == 1
    assert not CHINESE.search(english)


def test_the_check_finds_a_document_that_disagrees_with_the_code(
    settings: Any, tmp_path: Path
) -> None:
    settings.BASE_DIR = tmp_path
    file = tmp_path / "docs/errors.md"
    file.parent.mkdir()
    with pytest.raises(CommandError, match="make docs"):
        call_command("errors_doc", check=True)
    call_command("errors_doc")
    call_command("errors_doc", check=True)
    file.write_text(file.read_text().replace("| 409 | `session_stale`", "| 400 | `session_stale`"))
    with pytest.raises(CommandError, match="make docs"):
        call_command("errors_doc", check=True)


def test_openapi_names_exactly_these_codes(client: Any) -> None:
    answer = client.get("/api/schema/", headers={"Accept": "application/json"})
    schema = answer.json()
    code = schema["components"]["schemas"]["ErrorOutput"]["properties"]["code"]
    [reference] = [part["$ref"] for part in code.get("allOf", [code])]
    named = schema["components"]["schemas"][reference.rpartition("/")[2]]["enum"]
    assert set(named) == set(CONTRACT)
    assert len(named) == len(CONTRACT)
