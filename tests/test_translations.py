"""Chinese first: every sentence has its translation, and what runs is what is written."""

from pathlib import Path

import polib
import pytest

pytestmark = pytest.mark.no_service

CATALOGUE = Path(__file__).parent.parent / "locale/zh_Hans/LC_MESSAGES/django.po"


def entries(catalogue):
    return {
        (entry.msgctxt, entry.msgid): entry.msgstr_plural or entry.msgstr for entry in catalogue
    }


def test_every_sentence_is_translated():
    catalogue = polib.pofile(str(CATALOGUE))
    assert [entry.msgid for entry in catalogue.untranslated_entries()] == []
    assert [entry.msgid for entry in catalogue.fuzzy_entries()] == []


def test_the_compiled_catalogue_is_the_written_one():
    compiled = polib.mofile(str(CATALOGUE.with_suffix(".mo")))
    assert entries(compiled) == entries(polib.pofile(str(CATALOGUE)))


def test_members_and_operators_are_never_both_called_yonghu():
    allowed = {"WeChat user"}  # WeChat's own words for somebody without a name
    assert [
        entry.msgid
        for entry in polib.pofile(str(CATALOGUE))
        if "用户" in entry.msgstr and entry.msgid not in allowed
    ] == []
