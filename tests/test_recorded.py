"""Check that the API answers as recorded; tests/recorded/__init__.py tells how to record again."""

import difflib
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import time_machine
from django.urls import Resolver404, URLResolver, get_resolver, resolve

from audit import attempts
from wechat.sandbox import Sandbox

from .recorded.chapters import CHAPTERS
from .recorded.names import laid_out
from .recorded.stage import Stage
from .settings import APP_ID, OTHER_APP_ID

ANSWERS = Path(__file__).parent / "recorded" / "answers"
START = 1_795_000_000  # a Wednesday of November 2026; each chapter sets its own time
SHOWN = 300  # lines of a diff
# Chapters about what is refused unread, pages, pictures and limits: the same on every database.
ALIKE = {"log_in", "doors", "bodies", "avatars", "member_page", "around_the_api", "pushes"}
ALIKE |= {"throttles", "every_call", "what_breaks"}


@pytest.fixture
def stage(
    db: None, settings: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Stage]:
    settings.MEDIA_ROOT = tmp_path / "media"
    # By the real clock, a fast machine would drop attempts that a slow one records.
    monkeypatch.setattr(attempts, "MAX_A_SECOND", 10_000)
    monkeypatch.setattr(attempts, "_pace", attempts._Pace())
    apps = {APP_ID: settings.WECHAT_APPS[APP_ID]["SECRET"], OTHER_APP_ID: "another-secret"}
    with Sandbox(apps) as sandbox, time_machine.travel(START, tick=False) as clock:
        settings.WECHAT_API_URL = sandbox.url
        yield Stage(sandbox, clock, settings)


@pytest.mark.parametrize(
    "chapter",
    [pytest.param(name, marks=[pytest.mark.no_service] * (name in ALIKE)) for name in CHAPTERS],
)
def test_every_answer_is_as_recorded(chapter: str, stage: Stage) -> None:
    CHAPTERS[chapter](stage)
    found, path = laid_out(stage.steps) + "\n", ANSWERS / f"{chapter}.json"
    if os.environ.get("RECORD"):
        path.write_text(found)
        return
    kept = path.read_text()
    if found != kept:
        lines = difflib.unified_diff(
            kept.splitlines(), found.splitlines(), "recorded", "answered now", n=6, lineterm=""
        )
        pytest.fail("\n".join(list(lines)[:SHOWN]), pytrace=False)


# Completeness


def steps() -> Iterator[dict[str, Any]]:
    """Yield every step of the record."""
    for path in sorted(ANSWERS.glob("*.json")):
        yield from (step for step in json.loads(path.read_text()) if isinstance(step, dict))


def test_each_file_of_answers_has_its_chapter() -> None:
    assert {path.stem for path in ANSWERS.iterdir()} == set(CHAPTERS)


def test_every_call_is_recorded_with_a_success() -> None:
    """A new call needs a step in a chapter."""
    routes = {
        f"/{route}": pattern.callback.view_class
        for route, pattern in patterns()
        if route.startswith("api/v1/")
    }
    calls = {
        (method.upper(), route)
        for route, view in routes.items()
        for method in view.http_method_names
        if hasattr(view, method) and method != "options"
    }
    assert len(calls) > 20
    assert calls - {called(step) for step in steps() if step["status"] < 300} == set()


def patterns(resolver: Any = None, before: str = "") -> Iterator[tuple[str, Any]]:
    for pattern in (resolver or get_resolver()).url_patterns:
        route = before + str(pattern.pattern)
        if isinstance(pattern, URLResolver):
            yield from patterns(pattern, route)
        else:
            yield route, pattern


def called(step: dict[str, Any]) -> tuple[str, str]:
    """Return the method and the route of a step."""
    method, path = step["asks"].split(" ", 1)
    try:
        return method, f"/{resolve(re.sub('<[^>]*>', 'x', path).partition('?')[0]).route}"
    except Resolver404:
        return method, path


# As in docs/errors.md.
CODES = {
    *("invalid", "not_authenticated", "invalid_token", "invalid_code", "permission_denied"),
    *("user_blocked", "group_not_proven", "not_found", "method_not_allowed", "not_acceptable"),
    *("session_stale", "not_a_group", "too_large", "unsupported_media_type", "throttled"),
    *("bind_locked", "server_error", "wechat_unavailable", "unavailable"),
}


def test_every_error_is_recorded_in_both_languages() -> None:
    found = {
        step["body"]["code"]: step["body"].keys()
        for step in steps()
        if "body.detail" in step.get("in English", {}) and "code" in step["body"]
    }
    assert found.keys() == CODES
