"""The demo's site."""

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import call_command

from groups.models import Score, ScoreSource
from groupsite import demo
from tests.settings import APP_ID


@pytest.fixture
def seeded(db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "APP_ID", APP_ID)
    call_command("seed_demo", verbosity=0)


def test_the_demo_has_scores_and_an_operator_without_a_password(seeded: None, capsys: Any) -> None:
    sources = set(Score.objects.values_list("board__key", "source"))
    assert sources == {("active-days", ScoreSource.ENTRY), ("taps", ScoreSource.CLIENT)}
    demo.print_addresses("http://127.0.0.1:8000")
    assert "/sign-in" in capsys.readouterr().out
    assert not User.objects.get().has_usable_password()
