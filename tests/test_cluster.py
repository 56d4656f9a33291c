"""The cluster of deploy/cluster/: its files, its failures, and that its proof finds a loss.

What is here needs no servers. `.venv/bin/python -m prove cluster` starts a cluster, kills the
PostgreSQL that leads, and lets the control lose something.
"""

import json
import os
import re
import shlex
import subprocess
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from deploy.cluster import engines, failures
from deploy.cluster.__main__ import ALL, VERBS, main, read_options, status
from deploy.cluster.cluster import PACKAGES, STATE, Cluster, Layout, NoCluster, empty, free_ports
from deploy.cluster.engines import HERE, RecordedService, born
from deploy.cluster.failures import FAILURES, CodeNotServed, check_code, copy_of_code
from deploy.cluster.proof import (
    CONTROL,
    FailureTrial,
    finish,
    longest_gap,
    report_of,
    text_of,
)
from deploy.cluster.watch import ClusterWatch, size
from groupsite.errors import Unavailable
from prove.kills import Person, Slaughter
from prove.servers import MissingProgram, find_program
from tests.documented import blocks_of
from tests.servers import ROOT

pytestmark = pytest.mark.no_service

PORT = 21000


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cluster:
    """Return a cluster whose files are written, and of which nothing runs."""
    monkeypatch.setattr(engines, "find_program", lambda name, folders="": f"/programs/{name}")
    monkeypatch.setattr(RecordedService, "is_root", False)
    made = Cluster(tmp_path, Layout(PORT, lag=5))
    made.keep()
    made.prepare()
    return made


# Its files


def patroni(cluster: Cluster, name: str) -> dict[str, Any]:
    return dict(yaml.safe_load((cluster.folder / name / "patroni.yml").read_text()))


def test_three_may_lead_and_the_one_for_reads_never_does(cluster: Cluster) -> None:
    for name in ("pg1", "pg2", "pg3"):
        found = patroni(cluster, name)
        assert found["tags"] == {"nofailover": False, "nosync": False}
        assert found["postgresql"]["recovery_conf"] == {"recovery_min_apply_delay": "0s"}
    reader = patroni(cluster, "reader")
    assert reader["tags"] == {"nofailover": True, "nosync": True}
    assert reader["postgresql"]["recovery_conf"] == {"recovery_min_apply_delay": "5s"}


def test_a_commit_waits_for_a_standby_and_a_crash_for_no_one(cluster: Cluster) -> None:
    settings = patroni(cluster, "pg1")["bootstrap"]["dcs"]
    assert settings["synchronous_mode"] is True
    assert settings["primary_start_timeout"] == 0
    # Patroni's own rule, or it would not start.
    assert settings["loop_wait"] + 2 * settings["retry_timeout"] <= settings["ttl"]


def test_each_has_ports_of_its_own(cluster: Cluster) -> None:
    ports = [each.port for each in cluster.services]
    ports += [each.rest_port for each in cluster.members]
    ports += [cluster.etcd.peer_port, cluster.primary_port, cluster.reads_port]
    ports += [cluster.statistics_port]
    assert len(set(ports)) == len(ports) == 18
    assert all(PORT <= port < PORT + 20 for port in ports)


def servers_of(cluster: Cluster, part: str) -> list[str]:
    text = (cluster.folder / "haproxy" / "haproxy.cfg").read_text()
    found = text.split(f" {part}\n")[1].split("\n\n")[0]
    return re.findall(r"^ +server (.+)$", found, re.MULTILINE)


def test_the_proxy_asks_patroni_who_leads(cluster: Cluster) -> None:
    leading = [f"pg{n} 127.0.0.1:{PORT + 9 + n} check port {PORT + 13 + n}" for n in (1, 2, 3)]
    assert servers_of(cluster, "primary") == leading
    reader = f"reader 127.0.0.1:{PORT + 13} check port {PORT + 17}"
    assert servers_of(cluster, "reads") == [reader, *(f"{each} backup" for each in leading)]


def test_the_proxy_takes_its_file(cluster: Cluster) -> None:
    try:
        haproxy = find_program("haproxy")
    except MissingProgram as error:
        pytest.skip(str(error))
    done = subprocess.run(
        [haproxy, "-c", "-f", cluster.folder / "haproxy" / "haproxy.cfg"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


def test_the_proxy_refuses_in_the_words_of_the_site() -> None:
    head, body = (HERE / "unavailable.http").read_text().split("\n\n")
    said = json.loads(body)
    assert head.startswith(f"HTTP/1.1 {Unavailable.status_code} ")
    assert said["code"] == Unavailable.default_code
    assert f"Retry-After: {said['retryAfter']}" in head


def test_both_nodes_have_the_settings_of_production(cluster: Cluster) -> None:
    found = cluster.environment()
    assert found["DATABASE_URL"] == f"postgres://groupsite@127.0.0.1:{PORT + 1}/groupsite"
    assert found["DATABASE_REPLICA_URL"] == f"postgres://groupsite@127.0.0.1:{PORT + 2}/groupsite"
    assert found["REDIS_URL"] == cluster.redis.url
    assert (found["DEBUG"], found["NUM_PROXIES"]) == ("False", "1")


def test_nodes_may_know_all_that_may_lead(tmp_path: Path) -> None:
    url = Cluster(tmp_path, Layout(PORT, is_direct=True)).database_url()
    hosts = ",".join(f"127.0.0.1:{PORT + 10 + n}" for n in range(3))
    assert url == f"postgres://groupsite@{hosts}/groupsite?target_session_attrs=read-write"


def test_what_is_installed_is_pinned_with_hashes() -> None:
    wanted, locked = ((HERE / f"requirements.{kind}").read_text() for kind in ("in", "txt"))
    versions = dict(re.findall(r"(?m)^([a-z0-9-]+)==(\S+)(?: ;.*)? \\\n +--hash=", locked))
    assert "==" + versions["patroni"] == re.findall(r"(?m)^patroni\[.+\](.+)$", wanted)[0]
    assert len(versions) == len(re.findall(r"(?m)^\w", locked)) > 10


# Start and end


def test_the_folder_of_others_is_not_emptied(tmp_path: Path) -> None:
    (tmp_path / PACKAGES).mkdir()
    (tmp_path / "photos").mkdir()
    with pytest.raises(NoCluster, match="not of a cluster"):
        empty(tmp_path)
    (tmp_path / STATE).write_text("{}")
    empty(tmp_path)
    assert {each.name for each in tmp_path.iterdir()} == {PACKAGES, STATE}


def test_a_port_in_use_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    first = free_ports()
    with engines.socket.socket() as taken:
        taken.bind(("127.0.0.1", first + 7))
        taken.listen()
        assert free_ports() > first


def test_another_command_ends_what_one_has_started(tmp_path: Path) -> None:
    class SleepingService(RecordedService):
        name = "sleep"

        def command(self) -> list[str]:
            return ["sleep", "60"]

        def is_ready(self) -> bool:
            return True

    started, seen = SleepingService(tmp_path, 0), SleepingService(tmp_path, 0)
    started.start()
    assert seen.pids == started.pids != []
    seen.kill()
    assert started.pids == []
    started.kill()


def test_a_process_that_has_the_pid_by_now_is_left_alone(tmp_path: Path) -> None:
    service = RecordedService(tmp_path, 0)
    (tmp_path / "pid").write_text(f"{os.getpid()} 1")
    assert service.pids == []
    service.kill()
    (tmp_path / "pid").write_text(f"{os.getpid()} {born(os.getpid())}")
    assert service.pids == [os.getpid()]


def test_what_does_not_run_is_said_in_a_sentence(
    tmp_path: Path, cluster: Cluster, capsys: pytest.CaptureFixture[str]
) -> None:
    for command in ("status", "fail postgres", "crowd"):
        assert main([*command.split(), "--folder", str(cluster.folder)]) == 1
        assert "集群未运行" in capsys.readouterr().out
    assert main(["stop", "--folder", str(tmp_path / "nowhere")]) == 1
    assert "没有集群" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("verb", "said", "not_said"),
    [
        ("start", ["--lag", "--direct", "--workers"], ["--phones", "FAILURE"]),
        ("status", ["exit 1", "--folder"], ["--lag", "FAILURE"]),
        (
            "fail",
            [f"{each.name:<13}{each.words}" for each in FAILURES.values()],
            ["--lag", CONTROL],
        ),
        ("crowd", ["--phones", "--seconds", "--group", "--seed", "--report"], ["--lag", "FAILURE"]),
        ("stop", ["left of a crash"], ["--lag", "FAILURE"]),
        ("prove", [*FAILURES, CONTROL, "--times", "--report"], ["--phones"]),
    ],
)
def test_each_verb_says_what_it_does_and_takes(
    capsys: pytest.CaptureFixture[str], verb: str, said: list[str], not_said: list[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main([verb, "--help"])
    page = capsys.readouterr().out
    assert ended.value.code == 0
    assert [each for each in [*VERBS[verb].split(";")[:1], *said] if each not in page] == []
    assert [each for each in not_said if each in page] == []


def test_help_lists_the_verbs_and_without_one_it_starts(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    page = capsys.readouterr().out
    assert [verb for verb in VERBS if f"    {verb} " not in page] == []
    assert read_options([]).verb == read_options(["--lag", "5"]).verb == "start"
    assert read_options(["prove"]).names == ALL
    assert read_options(["prove", "node", CONTROL]).names == ["node", CONTROL]
    for wrong in (["status", "--lag", "5"], ["fail"], ["fail", CONTROL], ["crowd", "--lag", "5"]):
        with pytest.raises(SystemExit):
            read_options(wrong)


def test_a_look_says_who_leads_before_it_waits_for_anything(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    said: dict[str, str] = {}

    def at(name: str, answer: Any) -> Any:
        def slow(*arguments: Any) -> Any:
            said.setdefault(name, capsys.readouterr().out)
            return answer

        return slow

    monkeypatch.setattr(ClusterWatch, "leading", lambda self: "❌ none leads")
    monkeypatch.setattr(Cluster, "what_is_missing", lambda self: "no PostgreSQL leads")
    monkeypatch.setattr(ClusterWatch, "lags", at("lags", [("pg2", "sync", 0, 0)]))
    monkeypatch.setattr(Cluster, "writes", at("writes", -503.0))
    assert status(cluster) == 1
    assert "❌ none leads" in said["lags"] and "no PostgreSQL leads" in said["lags"]
    assert "pg2 sync" in said["writes"] and "node1" in said["writes"]
    assert capsys.readouterr().out == "❌ writes 503\n"


def test_missing_programs_are_named_by_their_packages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def nowhere(name: str, folders: str = "") -> str:
        raise MissingProgram(name)

    monkeypatch.setattr(engines, "find_program", nowhere)
    assert main(["--folder", str(tmp_path)]) == 1
    said = capsys.readouterr().out
    for package in ("postgresql", "etcd-server", "haproxy", "redis-server"):
        assert package in said


# What fails


def test_there_are_the_failures_of_the_page() -> None:
    for page in ("cluster.md", "cluster.zh-CN.md"):
        text = (ROOT / "docs" / page).read_text()
        rows = re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE)
        assert [name for name in rows if name in {*FAILURES, CONTROL}] == [*FAILURES, CONTROL]


def test_new_code_differs_and_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = SimpleNamespace(folder=tmp_path)
    monkeypatch.setattr(failures, "ROOT", small_tree(tmp_path / "tree"))
    folder, number = copy_of_code(here)
    assert number == "1" and not (folder / "var").exists()
    answer = json.loads(
        re.findall(r"JsonResponse\((\{.*?\})\)", (folder / "groupsite/views.py").read_text())[0]
    )
    assert answer == {"status": "ok", "code": "1"}
    assert copy_of_code(here)[1] == "2"

    for said, is_right in (
        ({"status": "ok"}, False),
        ({"code": "1"}, False),
        ({"code": "2"}, True),
    ):
        monkeypatch.setattr(failures, "ask", lambda *a, said=said, **k: (200, said))
        node = SimpleNamespace(name="node1", port=1)
        if is_right:
            check_code(node, "2")
        else:
            with pytest.raises(CodeNotServed):
                check_code(node, "2")


def small_tree(folder: Path) -> Path:
    (folder / "groupsite").mkdir(parents=True)
    (folder / "var" / "cluster").mkdir(parents=True)
    views = (ROOT / "groupsite" / "views.py").read_text()
    (folder / "groupsite" / "views.py").write_text(views)
    return folder


# The proof


def test_the_longest_gap_is_between_two_writes_or_the_ends() -> None:
    assert longest_gap([1, 2, 5, 5.5, 9], 0, 6) == 3
    assert longest_gap([1, 2], 0, 10) == 8
    assert longest_gap([1, 2, 6], 4, 7) == 4
    assert longest_gap([], 4, 10) == 6


def judged(counts: dict[str, int], crowd: str, **changed: Any) -> FailureTrial:
    """Judge an attempt in which Alice sent two scores."""
    kept = {"names": {"1": ""}, "sums": [["1", 30]], "days": [], "members": [], "groups": {}}
    kept |= {"keys": [["1", "lap 1"], ["1", "lap 2"]]}
    here = SimpleNamespace(python=lambda *arguments: json.dumps(kept | changed))
    alice = Person("1", "token", 30, {"lap 1", "lap 2"})
    load = SimpleNamespace(counts=Counter(counts), failures=[], met=[alice])
    readers = SimpleNamespace(counts=Counter({"rankings: 200": 3}))
    attempt = FailureTrial("postgres", Slaughter("postgres"))
    finish(here, attempt, load, readers, ["7", crowd])
    return attempt


def test_what_is_there_once_is_right_whatever_was_refused_meanwhile() -> None:
    met = "503 unavailable × 3, broken × 1, refused × 1, timeout × 2, cut off × 9"
    attempt = judged({"scores: 200": 2, "scores: 503": 4, "no answer": 1}, met)
    assert attempt.problems == []
    assert attempt.errors == "503 × 4, no answer × 1"
    assert text_of(attempt).endswith(
        f"lost 0, doubled 0, errors {attempt.errors}; crowd: 7 finished, errors {met}"
    )


@pytest.mark.parametrize(
    ("changed", "lost", "doubled"),
    [
        ({"keys": [["1", "lap 1"]], "sums": [["1", 10]]}, 1, 0),
        ({"sums": [["1", 60]]}, 0, 1),
    ],
)
def test_a_loss_and_a_double_are_found(changed: dict[str, Any], lost: int, doubled: int) -> None:
    attempt = judged({"scores: 200": 2}, "0", **changed)
    assert (attempt.found.lost, attempt.found.doubled) == (lost, doubled)
    assert attempt.problems


@pytest.mark.parametrize(
    ("counts", "crowd"),
    [
        ({"rankings: 500": 1}, "0"),
        ({}, "500 server_error × 1"),
        ({}, "404 not_found × 1, broken × 2"),
    ],
)
def test_an_answer_that_is_none_of_a_failure_is_wrong(counts: dict[str, int], crowd: str) -> None:
    assert judged(counts, crowd).problems


def test_the_report_has_a_row_for_each_attempt_and_what_is_wrong() -> None:
    attempts = [judged({"scores: 200": 2}, "0"), judged({}, "0", sums=[["1", 60]])]
    text = report_of(attempts, "as always")
    assert text.count("| postgres |") == 2
    assert "\n## Wrong\n\n- postgres: sum of member 1" in text
    assert "Nothing is wrong." in report_of(attempts[:1], "as always")


def test_bytes_are_said_shortly() -> None:
    assert [size(n) for n in (None, 900, 2048, 5 << 20, 3 << 30)] == [
        "0 B",
        "900 B",
        "2 kB",
        "5 MB",
        "3 GB",
    ]


# The page


def test_each_command_of_the_page_is_one() -> None:
    found = blocks_of("tests/test_cluster.py::test_each_command_of_the_page_is_one")
    commands = [line for block in found for line in block.code.splitlines()]
    taken = []
    for line in commands:
        if line.startswith("apt-get install "):
            programs = set(engines.PACKAGES.values()) - {"python3"}
            assert programs | {"git", "make", "python3-venv"} == set(line.split()[2:])
        elif line.startswith("make cluster"):
            given = shlex.split(line)[2:]
            taken.append(read_options(given[0][5:].split() if given else []).verb)
        else:
            *urls, make, target = line.split()
            assert (make, target) == ("make", "test")
            assert dict(url.split("=", 1) for url in urls) == Cluster(ROOT, Layout(20000)).urls
    assert set(taken) == set(VERBS)


def test_both_pages_say_the_same_to_run() -> None:
    english, chinese = (
        [block.code for block in blocks_of(f"tests/test_cluster.py::{name}")]
        for name in ("test_each_command_of_the_page_is_one", "test_both_pages_say_the_same_to_run")
    )
    assert english == chinese != []


def test_the_pages_explain_every_setting_of_patroni() -> None:
    text = (HERE / "patroni.yml").read_text().split("dcs:")[1].split("postgresql:")[0]
    settings = re.findall(r"^    (\w+): ", text, re.MULTILINE)
    assert len(settings) == 6
    for page in ("cluster.md", "cluster.zh-CN.md"):
        said = (ROOT / "docs" / page).read_text()
        assert [each for each in settings if f"`{each}" not in said] == []
