"""The API answers as it is recorded; see tests/recorded/__init__.py, also for recording anew."""

import difflib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import time_machine

from wechat.sandbox import Sandbox

from .recorded.chapters import CHAPTERS
from .recorded.names import laid_out
from .recorded.stage import Stage
from .settings import APP_ID, OTHER_APP_ID

ANSWERS = Path(__file__).parent / "recorded" / "answers"
START = 1_795_000_000  # a Wednesday of November 2026; each chapter sets its own time
SHOWN = 300  # lines of a difference


@pytest.fixture
def stage(db: None, settings: Any, tmp_path: Path) -> Iterator[Stage]:
    settings.MEDIA_ROOT = tmp_path / "media"
    apps = {APP_ID: settings.WECHAT_APPS[APP_ID]["SECRET"], OTHER_APP_ID: "another-secret"}
    with Sandbox(apps) as sandbox, time_machine.travel(START, tick=False) as clock:
        settings.WECHAT_API_URL = sandbox.url
        yield Stage(sandbox, clock, settings)


@pytest.mark.parametrize("chapter", CHAPTERS)
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
