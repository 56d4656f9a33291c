"""The trials of `make prove` find the faults that they look for, and go on where they were."""

import json
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from accounts import models
from prove import APP_ID, PLAIN_APP_ID, PUSH_KEY, PUSH_TOKEN, envelopes, forgery, kills, pushes
from prove.__main__ import TRIALS, report
from prove.kills import Person, Slaughter, compare, tell_missing
from prove.pieces import Ledger, Piece, run_pieces
from prove.plan import Plan, TrialResult
from prove.restores import Restoration, compare_with_earlier, compare_with_end
from prove.servers import MissingProgram, find_program
from tests.servers import ROOT
from wechat import crypto, push

pytestmark = pytest.mark.no_service

serial = iter(range(10_000, 20_000))  # of pieces: each makes people of its own


@pytest.fixture
def tried_site(db: None, settings: Any) -> None:
    """Let this process be the site that is tried."""
    settings.THROTTLES = "off"
    settings.WECHAT_APPS = {APP_ID: {"SECRET": "x"}, PLAIN_APP_ID: {"SECRET": "x"}}
    settings.WECHAT_PUSH = {
        APP_ID: {"TOKEN": PUSH_TOKEN, "AES_KEY": PUSH_KEY},
        PLAIN_APP_ID: {"TOKEN": PUSH_TOKEN, "AES_KEY": ""},
    }


def forge(way: str) -> Callable[[int, int], Piece]:
    """Return the trial of one of the forger's ways."""
    place = forgery.WAYS.index(way)
    return lambda number, size: forgery.try_way(number * len(forgery.WAYS) + place, size)


TRIED: dict[str, tuple[Callable[[int, int], Piece], int]] = {
    "envelopes": (envelopes.try_piece, 600),
    "pushes": (pushes.try_piece, 300),
    "one block": (forge("one block"), 60),
    "cut payload": (forge("cut payload"), 60),
    "CBC-R": (forge("CBC-R"), 60),
}


@pytest.mark.usefixtures("tried_site")
@pytest.mark.parametrize("name", TRIED)
def test_a_trial_finds_nothing_in_the_site_as_it_is(name: str) -> None:
    trial, size = TRIED[name]
    piece = trial(next(serial), size)
    assert piece.failures == []
    assert piece.tried == size <= piece.counts.total()


@pytest.mark.usefixtures("tried_site")
def test_a_piece_is_the_same_every_time() -> None:
    first, second = (pushes.try_piece(7, 200) for _ in range(2))
    assert first.counts == second.counts


def leaky(key: str, envelope: Any, unseal: Any = crypto.unseal) -> Any:
    """Tell bad padding from everything else, by an exception that no one expects."""
    try:
        return unseal(key, envelope)
    except crypto.UnsealError as error:
        if error.reason != "padding":
            raise KeyError from error
        raise


FAULTS: dict[str, tuple[str, Any, str, Any]] = {
    "data of other kinds names a group": ("envelopes", crypto, "OTHER_KINDS", frozenset()),
    "any id counts": ("envelopes", crypto, "PROVEN_GROUP_ID", crypto.OPAQUE_ID),
    "no watermark is read": ("envelopes", models, "check_watermark", lambda *a, **k: True),
    "an exception is let through": ("envelopes", models, "unseal", leaky),
    "one block opens": ("one block", crypto, "LEAST_BLOCKS", 1),
    "a nickname names a group": ("cut payload", crypto, "OTHER_KINDS", frozenset()),
    "padding can be told": ("CBC-R", models, "unseal", leaky),
    "no signature is read": ("pushes", push.Channel, "_check", lambda *a: None),
    "no time is read": ("pushes", push, "_refuse_old", lambda *a: None),
    "plain pushes count": ("pushes", push.Channel, "read", lambda self, query, body: {"a": 1}),
}
ENOUGH = {"cut payload": 400, "envelopes": 1500}


@pytest.mark.usefixtures("tried_site")
@pytest.mark.parametrize("fault", FAULTS)
def test_a_trial_finds_a_fault(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    name, where, what, instead = FAULTS[fault]
    monkeypatch.setattr(where, what, instead)
    trial, size = TRIED[name]
    assert trial(next(serial), ENOUGH.get(name, size)).failures


@pytest.mark.parametrize(
    "body",
    [
        rb'{"Encrypt": "A\/B="}',
        rb'{"Encrypt": "\u0041/B="}',
        b"<xml><Encrypt>&#65;/B=</Encrypt></xml>",
        b"<xml><Encrypt><![CDATA[A]]><!-- -->/B=</Encrypt></xml>",
    ],
)
def test_a_push_that_is_spelled_otherwise_is_still_the_one_that_was_sealed(body: bytes) -> None:
    assert pushes.read_again(body) == "A/B="


def test_a_push_that_says_nothing_was_not_sealed() -> None:
    for body in (
        b"",
        b"[]",
        b"<xml>",
        b"{",
        b"\xff",
        b"<!DOCTYPE x><xml><Encrypt>A</Encrypt></xml>",
    ):
        assert pushes.read_again(body) is None


# Pieces


def plan_in(folder: Path, **more: Any) -> Plan:
    return Plan(long=True, state=folder, **more)


def test_a_long_trial_goes_on_where_it_was(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "x.jsonl")
    ledger.add(Piece(0, 25_000, 2.0, Counter({"a": 3})))
    ledger.add(Piece(1, 25_000, 2.0, Counter({"a": 4, "b": 1}), ["it broke"]))
    with (tmp_path / "x.jsonl").open("a") as file:
        file.write('{"number": 2, "tri')  # where it was killed
    found = run_pieces(plan_in(tmp_path), "x", pushes.try_piece, 50_000)
    assert found.facts[1:] == ["a: 7", "b: 1"] and found.gaps == []
    assert found.failures == ["piece 1: it broke (again: `python -m prove x --long --piece 1`)"]
    found = run_pieces(plan_in(tmp_path, until=0), "x", pushes.try_piece, 100_000)
    assert found.gaps == ["50,000 of 100,000 inputs are still to be tried"]
    assert Ledger(tmp_path / "x.jsonl").pieces.keys() == {0, 1}


# Kills


def stored(**changed: Any) -> dict[str, Any]:
    """Return what a database holds after Alice, 1, sent two scores, a bind and a name."""
    found = {
        "names": {"1": "name 4"},
        "sums": [["1", 30]],
        "days": [["1", "tG", 1]],
        "members": [["1", "tG"]],
        "keys": [["1", "lap 1"], ["1", "lap 2"]],
        "groups": {"tG": 1},
    }
    return found | changed


@pytest.mark.parametrize(
    ("wrong", "lost", "doubled"),
    [
        ({"names": {"1": "name 3"}}, 1, 0),
        ({"sums": [["1", 20]]}, 1, 0),
        ({"sums": [["1", 40]]}, 0, 1),
        ({"sums": []}, 1, 0),
        ({"days": [["1", "tG", 2]]}, 0, 1),
        ({"members": []}, 1, 0),
        ({"keys": [["1", "lap 1"]]}, 1, 0),
        ({"keys": [], "sums": [], "members": []}, 3, 0),
        ({"groups": {"tG": 2}}, 0, 1),
        ({}, 0, 0),
    ],
    ids=str,
)
def test_what_was_lost_or_doubled_is_found(wrong: dict[str, Any], lost: int, doubled: int) -> None:
    alice = Person("1", "token", 30, {"lap 1", "lap 2"}, {"tG"}, "name 4")
    found = Slaughter("SQLite")
    compare([alice], stored(**wrong), found)
    assert bool(found.failures) == bool(wrong)
    assert (found.lost, found.doubled) == (lost, doubled)
    assert found.checked == {"scores": 2, "binds": 1, "names": 1}


RESTORED: dict[str, tuple[dict[str, Any], bool]] = {
    "as it was": ({}, False),
    "more than was acknowledged before": ({"sums": [["1", 40]], "names": {"1": "name 5"}}, False),
    "a lost name": ({"names": {"1": "name 3"}}, True),
    "a lost sum": ({"sums": [["1", 20]]}, True),
    "a lost key": ({"keys": [["1", "lap 1"]]}, True),
    "a lost bind": ({"members": []}, True),
    "a lost person": ({"names": {}}, True),
    "Bob, who was erased": ({"names": {"1": "name 4", "2": ""}}, True),
}


@pytest.mark.parametrize("case", RESTORED)
def test_what_a_restore_lost_or_brought_back_is_found(case: str) -> None:
    changed, is_wrong = RESTORED[case]
    alice = Person("1", "token", 30, {"lap 1", "lap 2"}, {"tG"}, "name 4")
    bob = Person("2", "token", 7, {"lap 1"}, {"tG"})
    found = Restoration("SQLite")
    compare_with_earlier([alice, bob], stored(**changed), {"2"}, found)
    assert bool(found.failures) == is_wrong
    assert found.checked["scores before the backup"] == 2


def test_a_backup_of_a_site_that_was_stopped_has_to_have_everything() -> None:
    alice = Person("1", "token", 30, {"lap 1", "lap 2"}, {"tG"}, "name 4")
    for changed, is_wrong in (({}, False), ({"sums": [["1", 40]]}, True)):
        found = Restoration("SQLite")
        compare_with_end([alice], stored(**changed), set(), found)
        assert bool(found.failures) == is_wrong


def test_a_control_that_loses_nothing_is_a_failure() -> None:
    outcome = TrialResult()
    kills.judge_control(outcome, Slaughter("a site that answers first", control=True))
    assert outcome.failures


@pytest.fixture
def nowhere(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Leave no program in PATH."""
    monkeypatch.setenv("PATH", "/nowhere")
    return monkeypatch


@pytest.mark.parametrize("ci", ["true", ""])
def test_in_ci_a_program_that_is_missing_is_a_failure(nowhere: pytest.MonkeyPatch, ci: str) -> None:
    nowhere.setenv("CI", ci)
    outcome = TrialResult()
    with pytest.raises(MissingProgram) as missing:
        find_program("no-such-program")
    tell_missing(outcome, str(missing.value))
    assert bool(outcome.failures) == bool(ci) != bool(outcome.gaps)


# The command


def test_each_trial_is_listed_with_what_it_shows() -> None:
    for name in TRIALS:
        assert (ROOT / "prove" / f"{name}.py").exists()
    assert re.search(r"\.venv/bin/python -m prove --short", (ROOT / ".ci/run").read_text())


def test_a_report_has_facts_gaps_and_failures() -> None:
    from datetime import datetime

    found = TrialResult(["3 inputs"], ["it broke"], ["2 are still to be tried"], 1.4)
    text = report({"pushes": found}, datetime(2026, 12, 1).astimezone(), long=True)
    for line in ("## pushes", "- 3 inputs", "- … 2 are still to be tried", "- ❌ it broke"):
        assert f"\n{line}\n" in text
    assert text.endswith("- ❌ failed, 1 s\n")


def test_the_command_writes_its_report(tmp_path: Path) -> None:
    target = tmp_path / "report.md"
    command = [sys.executable, "-m", "prove", "pushes", "--count", "50", "--report", str(target)]
    done = subprocess.run(command, cwd=ROOT, env=os.environ, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "50 inputs" in target.read_text() and "nothing failed" in done.stdout
    assert json.dumps(str(target))[1:-1] in done.stdout
