"""Chinese first: every sentence has its translation, and what runs is what is written."""

from datetime import timedelta
from pathlib import Path

import polib
import pytest
from django.utils import timezone
from django.utils.translation import gettext, override

from console.review import waiting_time
from console.translations import WORDS

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


def test_a_thing_has_one_name():
    others = ("别名", "成绩", "理由", "撤销")  # 群内昵称, 得分, 原因, 吊销
    assert [
        entry.msgid
        for entry in polib.pofile(str(CATALOGUE))
        if any(other in entry.msgstr for other in others)
    ] == []


def test_djangos_words_are_ours_where_it_has_none_or_others():
    with override("zh-hans"):
        assert gettext("Log out") == "退出登录"
        assert not any(gettext(word).isascii() for word in WORDS if isinstance(word, str))
        now = timezone.now()
        assert waiting_time(now - timedelta(days=1, hours=2), now) == "1\xa0天"
