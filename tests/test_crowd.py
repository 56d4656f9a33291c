"""The crowd that `python -m benchmarks.crowd` sends, and the report about it."""

import asyncio
import random
import re
import socket
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from threading import Thread
from typing import Any
from xml.etree import ElementTree

import pytest
from django.core.servers.basehttp import WSGIServer
from django.core.wsgi import get_wsgi_application
from django.db import connections
from django.test.testcases import QuietWSGIRequestHandler

from accounts.models import WeChatUser
from benchmarks import crowd, phones
from benchmarks.crowd_report import CrowdReport
from benchmarks.phones import SEEN, WECHAT, Arrival
from groups.models import Group, Membership, Score
from wechat.sandbox import Sandbox

PHONES, SECONDS = 10, 0.5
SITE = {"login", "bind", "ranking", "again", "scores", "around"}


class OneByOneServer(WSGIServer):
    """A server that answers one call after the other, since all use one connection of SQLite."""

    request_queue_size = 64


@pytest.fixture
def site(transactional_db: None, sandbox: Sandbox) -> Iterator[str]:
    def serve() -> None:
        connections["default"] = connection_of_test
        server.serve_forever(poll_interval=0.05)

    connection_of_test = connections["default"]
    connection_of_test.inc_thread_sharing()
    server = OneByOneServer(("127.0.0.1", 0), QuietWSGIRequestHandler)
    server.set_app(get_wsgi_application())
    thread = Thread(target=serve)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()
    connection_of_test.dec_thread_sharing()


def people(count: int) -> list[Arrival]:
    arrivals = crowd.schedule(count, SECONDS, 6, random.Random(1), 1)
    return [arrival._replace(pauses=(0.05, 0.05)) for arrival in arrivals]


def send(site: str, sandbox: Sandbox, board: str, arrivals: list[Arrival]) -> tuple[Any, str]:
    target = crowd.Target(site, sandbox.url, board)
    gone, share = asyncio.run(crowd.run(target, arrivals, SECONDS))
    assert gone.took < SECONDS + crowd.LINGER
    return gone, CrowdReport(gone, "<a setting>", share).render()


def plots(page: str) -> list[ElementTree.Element]:
    """Return the plots of a report, each followed by its table. Raises for one that is not XML."""
    found = re.findall(r'(<svg class="plot.*?)<details>', page)
    return [ElementTree.fromstring(plot) for plot in found]


def test_each_phone_logs_in_binds_reads_and_submits(
    site: str, sandbox: Sandbox, make_board: Any, capsys: Any
) -> None:
    board = make_board(scope="group")
    arrivals = people(PHONES)
    gone, page = send(site, sandbox, board.key, arrivals)
    assert (gone.finished, gone.given_up, len(gone.arrived)) == (PHONES, 0, PHONES)
    assert not [call for call in gone.calls if call.error]
    assert Counter(call.name for call in gone.calls) == {
        **dict.fromkeys(SITE, PHONES),
        SEEN: PHONES,
        WECHAT: 3 * PHONES,
    }
    # The phone that was sent ahead was erased again.
    assert WeChatUser.objects.count() == Membership.objects.count() == PHONES
    assert Group.objects.count() == len({arrival.chat for arrival in arrivals}) > 1
    scores = Score.objects.filter(board=board)
    assert scores.values("user").distinct().count() == PHONES
    assert set(scores.values_list("value", flat=True)) == {each.score for each in arrivals}
    assert f"arrived {PHONES}/{PHONES}  完成 finished {PHONES}" in capsys.readouterr().out

    over_time, latency, by_call = plots(page)
    assert len(over_time.findall(".//rect[@class='came']")) >= 1
    assert [path.get("class") for path in latency.iter("path")] == ["p50", "p90", "p99"]
    assert len(by_call.findall(".//line[@class='median']")) == len(SITE) + 2
    assert "没有出错" in page and "&lt;a setting&gt;" in page
    assert "<script" not in page and not re.search(r"""(src|href)=|url\(|@import""", page)


def test_a_phone_that_meets_an_error_gives_up_and_the_report_counts_it(
    site: str, sandbox: Sandbox
) -> None:
    gone, page = send(site, sandbox, "no-such-board", people(2))
    assert (gone.finished, gone.given_up) == (0, 2)
    assert Counter(call.error for call in gone.calls if call.error) == {"404 not_found": 2}
    assert len(plots(page)[3].findall(".//rect")) == 1
    assert "<b>0/2</b>" in page and "<b>∞</b>" in page, "who saw no ranking waited for ever"


def test_a_call_counts_from_when_it_was_due(site: str, sandbox: Sandbox) -> None:
    late = people(1)[0]._replace(at=-5)
    gone, _page = send(site, sandbox, "", [late])
    first = {call.name: call.took for call in reversed(gone.calls)}
    assert first[WECHAT] > 5 and first[SEEN] > 5 > first["login"]
    assert gone.late[0] > 5 and "scores" not in first


def test_a_site_that_does_not_ask_the_sandbox_is_left_alone(
    site: str, sandbox: Sandbox, settings: Any
) -> None:
    settings.WECHAT_API_URL = "http://127.0.0.1:9"
    with pytest.raises(SystemExit, match="has to ask that sandbox"):
        send(site, sandbox, "", people(2))


@pytest.mark.no_service
@pytest.mark.parametrize(("patience", "error"), [(0.1, "timeout"), (30, "cut off")])
def test_a_call_without_an_answer_counts_as_an_error(
    monkeypatch: pytest.MonkeyPatch, patience: float, error: str
) -> None:
    monkeypatch.setattr(phones, "PATIENCE", patience)

    async def visit(url: str) -> phones.Crowd:
        gone = phones.Crowd(url, phones.HttpClient(url), "", is_ours=False)
        with suppress(TimeoutError):
            await asyncio.wait_for(gone.visit(people(1)[0]._replace(at=0)), 0.5)
        return gone

    with socket.create_server(("127.0.0.1", 0)) as silent:
        gone = asyncio.run(visit(f"http://127.0.0.1:{silent.getsockname()[1]}"))
    [call] = gone.calls
    assert call.error == f"sandbox {error}" and call.took > 0.1
    assert gone.given_up == (error == "timeout") and not gone.finished


@pytest.mark.no_service
@pytest.mark.parametrize(
    ("sent", "body", "is_kept"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", b"{}", True),
        (b"HTTP/1.1 304 Not Modified\r\n\r\n", b"", True),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n1;a\r\n}\r\n0\r\n\r\n",
            b"{}",
            True,
        ),
        (b"HTTP/1.1 200 OK\r\n\r\n{}", b"{}", False),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\n{}", b"{}", False),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n{}", None, False),
        (b"", None, False),
    ],
    ids=["length", "no body", "chunks", "until closed", "old", "cut short", "nothing"],
)
def test_answers_are_read_to_their_end(sent: bytes, body: bytes | None, is_kept: bool) -> None:
    async def read() -> phones.HttpAnswer:
        reader = asyncio.StreamReader()
        reader.feed_data(sent)
        reader.feed_eof()
        return await phones.read_answer(reader)

    if body is None:
        with pytest.raises(ConnectionResetError):
            asyncio.run(read())
        return
    answer = asyncio.run(read())
    assert answer.body == body
    assert (answer.headers.get("connection") != "close") == is_kept


@pytest.mark.no_service
def test_most_of_a_group_comes_within_seconds_of_its_card() -> None:
    def largest(seed: int) -> list[float]:
        arrivals = crowd.schedule(400, 60, 100, random.Random(seed), seed)
        assert arrivals == sorted(arrivals) and len(arrivals) == 400
        assert all(0 <= arrival.at <= 60 for arrival in arrivals)
        sizes = Counter(arrival.chat for arrival in arrivals)
        assert max(sizes.values()) == 100 and min(sizes.values()) < 10
        [(chat, _size)] = sizes.most_common(1)
        return [arrival.at for arrival in arrivals if arrival.chat == chat]

    came = largest(7)
    assert came == largest(7) != largest(8)
    fastest = min(later - earlier for earlier, later in zip(came, came[60:], strict=False))
    assert fastest < 10, "60 of 100 within ten of sixty seconds"
    assert came[0] < 20 and came[-1] > 40, "others come at any time"


@pytest.mark.no_service
def test_wechat_itself_is_never_a_target(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    options = ["--site", "http://127.0.0.1:8000", "--sandbox", "https://api.weixin.qq.com"]
    monkeypatch.setattr("sys.argv", ["crowd", *options])
    with pytest.raises(SystemExit):
        crowd.read_options()
    assert "WeChat itself" in capsys.readouterr().err
