"""The faults on which the model of the rankings proves itself: that each can still be made."""

import ast

import pytest

from scripts.mutants import __main__ as command
from scripts.mutants.catalogue import MUTANTS, Mutant

pytestmark = pytest.mark.no_service


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_the_text_that_a_fault_replaces_is_there_once(mutant: Mutant) -> None:
    text = (command.ROOT / mutant.path).read_text()
    assert text.count(mutant.old) == 1
    assert mutant.new != mutant.old
    ast.parse(text.replace(mutant.old, mutant.new))


def test_there_are_many_faults_each_with_a_name_of_its_own() -> None:
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS) >= 100


def test_a_text_that_is_gone_makes_the_command_fail(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    gone = Mutant("winners are lost", "groups/ranking.py", "no such text", "")
    monkeypatch.setattr(command, "MUTANTS", [gone])
    assert command.main([]) == 1
    said = "groups/ranking.py: the text of “winners are lost” is there 0 times\n"
    assert capsys.readouterr().out == said


def test_a_fault_that_survives_or_does_not_run_makes_the_command_fail(
    capsys: pytest.CaptureFixture[str],
) -> None:
    killed = command.Run("total is 3, not 2", "17", 5.0, "", 1)
    agreed = command.Run("", "4000", 60.0, "", 0)
    broken = command.Run("", "4000", 1.0, "SyntaxError", 2)
    wrong = command.Run("total is 3, not 2", "17", 5.0, "everything is wrong", 1)
    first, second, third, *_rest = MUTANTS
    assert command.report([(first, killed)], 1) == 0
    assert command.report([(first, killed), (second, agreed)], 2) == 1
    said = capsys.readouterr().out
    assert f"killed at step 17 in 5 s: {first.name}\n        total is 3, not 2" in said
    assert f"survived: {second.name}" in said
    assert command.report([(third, broken)], 1) == 1
    assert command.report([(None, wrong), (first, killed)], 1) == 1
    assert f"did not run: {third.name}" in capsys.readouterr().out


def test_a_fault_is_made_in_a_copy_and_undone(tmp_path) -> None:
    [mutant, *_rest] = MUTANTS
    here, there = command.ROOT / mutant.path, tmp_path / mutant.path
    there.parent.mkdir(parents=True)
    there.write_text(here.read_text())
    with command.applied(mutant, tmp_path):
        assert mutant.new in there.read_text()
        assert command.places(mutant) == 1
    assert there.read_text() == here.read_text()
