"""deploy/monitoring/ and docs/monitoring.md: every name exists, every command works.

`python -m prove alerts` makes each alert fire.
"""

import json
import os
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import yaml

from core.metrics import Histogram, Metric
from groupsite.errors import CATALOGUE
from tests.scrapes import TOKEN, gunicorn
from tests.servers import ROOT, find_program

pytestmark = pytest.mark.no_service

MONITORING = ROOT / "deploy" / "monitoring"
RULES = yaml.safe_load((MONITORING / "alerts.yml").read_text())["groups"][0]["rules"]
DASHBOARD = json.loads((MONITORING / "grafana.json").read_text())
PAGES = ("monitoring.md", "monitoring.zh-CN.md")
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]

EXPRESSIONS = {rule["alert"]: rule["expr"] for rule in RULES}
EXPRESSIONS |= {
    f"{panel['title']} {target['refId']}": target["expr"]
    for panel in PANELS
    for target in panel["targets"]
}
NAME = re.compile(r"\b(groupsite_\w+)(?:\{([^}]*)\})?")
LABEL = re.compile(r'(\w+)\s*(?:=~|!=|!~|=)\s*"')
for _module in ("core.postgresql.base", "groupsite.middleware", "groupsite.monitoring"):
    import_module(_module)  # in which some are declared
SERIES = {
    f"{name}{suffix}": metric
    for name, metric in Metric.declared.items()
    for suffix in (("_bucket", "_count", "_sum") if isinstance(metric, Histogram) else ("",))
}
OF_PROMETHEUS = {"instance", "job", "le"}


@pytest.mark.parametrize("title", EXPRESSIONS)
def test_every_name_and_label_of_an_expression_exists(title: str) -> None:
    found = NAME.findall(EXPRESSIONS[title])
    assert found or title == "GroupsiteDown"
    for name, labels in found:
        assert name in SERIES, name
        assert set(LABEL.findall(labels)) <= {*SERIES[name].labels, *OF_PROMETHEUS}, labels
    grouped = re.findall(r"\bby \(([^)]*)\)", EXPRESSIONS[title])
    known = {label for name, _labels in found for label in SERIES[name].labels} | OF_PROMETHEUS
    assert {label.strip() for labels in grouped for label in labels.split(",")} <= known


def test_every_metric_is_on_the_dashboard() -> None:
    found = [name for text in EXPRESSIONS.values() for name, _labels in NAME.findall(text)]
    assert {SERIES[name].name for name in found} == set(Metric.declared)


def test_outcomes_that_an_alert_counts_are_codes() -> None:
    codes = {row.code for row in CATALOGUE}
    text = " ".join(EXPRESSIONS.values())
    assert set(re.findall(r'outcome="(\w+)"', text)) <= codes


def test_every_title_has_both_languages() -> None:
    titles = [panel["title"] for panel in DASHBOARD["panels"]]
    assert len(titles) == len(set(titles)) > 25
    for title in titles:
        assert re.search("[A-Za-z]{3}", title) and re.search("[\u4e00-\u9fff]", title), title
    for rule in RULES:
        assert re.search("[\u4e00-\u9fff]", rule["annotations"]["summary_zh"])
        assert not re.search("[\u4e00-\u9fff]", rule["annotations"]["summary"])


def test_panels_do_not_overlap() -> None:
    taken: dict[tuple[int, int], str] = {}
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        for x in range(place["x"], place["x"] + place["w"]):
            for y in range(place["y"], place["y"] + place["h"]):
                assert x < 24 and taken.setdefault((x, y), panel["title"]) == panel["title"]


@pytest.mark.parametrize("page", PAGES)
def test_the_page_explains_every_metric_and_alert_and_no_other(page: str) -> None:
    text = (ROOT / "docs" / page).read_text()
    assert set(re.findall(r"`(groupsite_\w+)`", text)) == set(Metric.declared)
    rows = re.findall(r"^\| `(Groupsite\w+)` \|", text, re.MULTILINE)
    assert rows == [row for row in rows if row in EXPRESSIONS]
    assert set(rows) == {rule["alert"] for rule in RULES}


def test_prometheus_reads_rules_and_every_expression(tmp_path: Path) -> None:
    promtool = find_program("promtool")
    for expression in EXPRESSIONS.values():
        assert "$__rate_interval" not in expression or "rate(" in expression
    rules = [
        {"record": f"trial:{n}", "expr": expr.replace("$__rate_interval", "1m")}
        for n, expr in enumerate(EXPRESSIONS.values())
    ]
    ours = tmp_path / "dashboard.yml"
    ours.write_text(yaml.safe_dump({"groups": [{"name": "trial", "rules": rules}]}))
    for file in (MONITORING / "alerts.yml", ours):
        done = subprocess.run([promtool, "check", "rules", file], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr


# The commands of the pages

BLOCK = re.compile(r"^ *```sh\n(.*?)\n *```$", re.MULTILINE | re.DOTALL)
PIP = """
import sys
from importlib import import_module
from pathlib import Path
*options, file = sys.argv[1:]
assert options == ["install", "--require-hashes", "-r"]
assert "prometheus-client==" in Path(file).read_text()
"""


def commands(page: str) -> list[str]:
    blocks = BLOCK.findall((ROOT / "docs" / page).read_text())
    return [re.sub(r"^ +", "", block, flags=re.MULTILINE) for block in blocks]


def test_both_pages_have_the_same_commands() -> None:
    english, chinese = (commands(page) for page in PAGES)
    assert english == chinese and len(english) == 3


@pytest.mark.django_db
def test_the_commands_of_the_page_work(tmp_path: Path) -> None:
    find_program("promtool")
    here = tmp_path / "groupsite"
    for name in ("requirements", "deploy/monitoring"):
        (here / name).parent.mkdir(parents=True, exist_ok=True)
        subprocess.run(["cp", "-r", ROOT / name, here / name], check=True)
    (here / "deploy/monitoring/metrics.token").unlink(missing_ok=True)
    tools = tmp_path / "tools"
    tools.mkdir()
    for name, code in {"pip": PIP, "python": ""}.items():
        start = (
            f"#!{sys.executable}\n{code}" if code else f'#!/bin/sh\nexec {sys.executable} "$@"\n'
        )
        (tools / name).write_text(start)
        (tools / name).chmod(0o755)
    make, ask, check = commands(PAGES[0])
    environment = {"PATH": f"{tools}:{os.environ['PATH']}", "HOME": str(tmp_path)}

    def run(command: str) -> str:
        done = subprocess.run(
            ["sh", "-e", "-c", command], cwd=here, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, (command, done.stdout, done.stderr)
        return done.stdout

    run(make)
    [token] = re.findall(r"^METRICS_TOKEN=([\w-]{40})$", (here / ".env").read_text())
    folder = tmp_path / "site"
    folder.mkdir()
    with gunicorn(folder, METRICS_TOKEN=token) as served:
        assert "groupsite_database_up 1.0" in run(ask.replace("http://127.0.0.1:8000", served.url))
    run(check)
    kept = here / "deploy/monitoring/metrics.token"
    assert kept.read_text() == token and kept.stat().st_mode & 0o077 == 0
    assert token != TOKEN


def test_the_token_of_prometheus_is_not_committed() -> None:
    done: Any = subprocess.run(
        ["git", "check-ignore", "deploy/monitoring/metrics.token"], cwd=ROOT, capture_output=True
    )
    assert done.returncode == 0
