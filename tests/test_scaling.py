"""docs/scaling.md: it has every table, says the same in both languages, and names settings that the
drivers take."""

import re
import ssl
from pathlib import Path
from typing import Any

import pymysql
import pytest
import redis
from django.apps import apps
from django.core.cache.backends.redis import RedisCache

from groupsite.settings import database, redis_options
from tests.certificates import write_certificate
from tests.documented import ROOT, blocks_of
from tests.settings import REDIS_URL

PAGES = ("docs/scaling.md", "docs/scaling.zh-CN.md")
OURS = ("accounts", "audit", "groups", "console")
NOT_RUN = {"docs/scaling.md": "not run by us", "docs/scaling.zh-CN.md": "我们没有运行过"}


@pytest.mark.no_service
@pytest.mark.parametrize("page", PAGES)
def test_the_page_says_of_every_table_how_it_grows_or_that_it_does_not(page: str) -> None:
    text = (ROOT / page).read_text()
    tables = {
        model._meta.db_table for app in OURS for model in apps.get_app_config(app).get_models()
    }
    assert {table for table in tables if f"`{table}`" not in text} == set()
    named = set(re.findall(r"`((?:accounts|audit|groups|console)_\w+)`", text))
    assert named <= tables


def numbers(text: str) -> list[str]:
    """Return the figures in the tables of a page, row by row."""
    rows = [line for line in text.splitlines() if line.startswith("| `")]
    return [" ".join(re.findall(r"\| ([\d.,]+(?:, [\d.]+)?) (?=\|)", row)) for row in rows]


@pytest.mark.no_service
def test_both_pages_have_the_same_figures() -> None:
    english, chinese = ((ROOT / page).read_text() for page in PAGES)
    assert numbers(english) == numbers(chinese)
    assert len(numbers(english)) > 15


@pytest.mark.no_service
@pytest.mark.parametrize("page", PAGES)
def test_engines_and_services_that_we_did_not_run_are_marked(page: str) -> None:
    lines = (ROOT / page).read_text().splitlines()
    for engine in ("Citus", "TDSQL", "CockroachDB", "TiDB"):
        [row] = [line for line in lines if line.startswith(f"| {engine}")]
        assert row.endswith(f"**{NOT_RUN[page]}** |")


# The settings, without servers of these names


def urls(name: str) -> list[str]:
    """Return what the page says for a setting."""
    here = "tests/test_scaling.py::test_the_settings_of_the_page_are_taken"
    found = [block.code for block in blocks_of(here)]
    assert len(found) == 2 and found[0] == found[1], "both pages say the same"
    return [line.partition("=")[2] for line in found[0].splitlines() if line.startswith(f"{name}=")]


@pytest.mark.no_service
def test_the_settings_of_the_page_are_taken(tmp_path: Path) -> None:
    own = str(write_certificate(tmp_path))
    for url in urls("DATABASE_URL"):
        found = database(url.replace("/etc/groupsite/ca.pem", own))
        assert (found["PASSWORD"], found["HOST"]) == ("p@ss", "db.internal")
        options = found["OPTIONS"]
        if "postgres" in url:
            from psycopg.conninfo import make_conninfo

            assert make_conninfo(host=found["HOST"], **options)
        else:
            assert verifies(options)
    for url in urls("REDIS_URL"):
        plain = url.replace("/etc/groupsite/ca.pem", own)
        limits = redis.Redis.from_url(plain, **redis_options()).connection_pool
        cache: Any = RedisCache(plain, {"OPTIONS": redis_options()})
        for pool in (limits, cache._cache._get_connection_pool(write=True)):
            connection: Any = pool.make_connection()
            assert pool.connection_kwargs["protocol"] == 2
            assert connection.socket_timeout == (1 if "socket_timeout" in url else 0.5)
            assert isinstance(connection, redis.SSLConnection) == url.startswith("rediss:")


def verifies(options: dict[str, Any]) -> bool:
    """Tell whether PyMySQL looks at the server's certificate and at the name in it."""
    context = pymysql.Connection(defer_connect=True, **options).ctx
    return bool(context.check_hostname) and context.verify_mode == ssl.CERT_REQUIRED


@pytest.mark.no_service
def test_a_ca_alone_lets_pymysql_take_any_certificate(tmp_path: Path) -> None:
    own = str(write_certificate(tmp_path))
    assert not verifies(database(f"mysql://u:p@db/name?ssl_ca={own}")["OPTIONS"])
    with pytest.raises(TypeError):
        verifies(database(f"mysql://u:p@db/name?ssl-ca={own}")["OPTIONS"])


@pytest.mark.skipif(not REDIS_URL, reason="needs REDIS_URL")
def test_redis_is_spoken_to_as_the_url_says() -> None:
    for protocol in (2, 3):
        url = f"{REDIS_URL}?protocol={protocol}"
        client = redis.Redis.from_url(url, **redis_options())
        assert int(client.client_info()["resp"]) == protocol
