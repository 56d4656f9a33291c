"""Which module may import which: read from the source, imports inside functions included."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.documented import blocks_of

pytestmark = pytest.mark.no_service

ROOT = Path(__file__).resolve().parent.parent

# From the lowest to the highest: each may import those below it, and no other.
PACKAGES = ("core", "wechat", "audit", "accounts", "groups", "console", "groupsite")
ALLOWED: dict[str, set[str]] = {
    package: set(PACKAGES[:floor]) for floor, package in enumerate(PACKAGES)
}
FILES = sorted(path for package in ALLOWED for path in (ROOT / package).rglob("*.py"))

# Within an app, from the lowest to the highest: each may import those below it.
FLOORS = [
    {"models"},
    {"ranking"},
    {"services"},
    {"serializers"},
    {"api", "server_api", "views"},
]
CIPHERS = {"Crypto", "cryptography"}
CIPHERS_LIVE_IN = {"wechat/crypto.py", "core/vault.py"}
HTTP = {"requests", "urllib3", "httpx", "aiohttp", "http.client", "urllib.request"}


def module_of(path: Path) -> list[str]:
    parts = list(path.relative_to(ROOT).with_suffix("").parts)
    return parts[:-1] if parts[-1] == "__init__" else parts


def imported(path: Path, text: str | None = None) -> Iterator[str]:
    """Yield every module and name that a file imports, in full: `groups.models.Group`."""
    package = module_of(path) if path.name == "__init__.py" else module_of(path)[:-1]
    for node in ast.walk(ast.parse(path.read_text() if text is None else text)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = [*base, *([node.module] if node.module else [])]
            yield from (".".join([*module, alias.name]) for alias in node.names)


def within(name: str, modules: set[str]) -> bool:
    """Tell whether the imported name is one of the modules or something in it."""
    return any(name == module or name.startswith(f"{module}.") for module in modules)


def offenders(files: list[Path], modules: set[str]) -> list[str]:
    return [
        f"{path.relative_to(ROOT)}: {name}"
        for path in files
        for name in imported(path)
        if within(name, modules)
    ]


def files_of(package: str) -> list[Path]:
    return [path for path in FILES if module_of(path)[0] == package]


@pytest.mark.parametrize("package", ALLOWED)
def test_dependencies_go_one_way(package: str) -> None:
    assert files_of(package)
    others = set(ALLOWED) - ALLOWED[package] - {package}
    assert offenders(files_of(package), others | {"tests"}) == []


@pytest.mark.parametrize("app", ["accounts", "groups"])
@pytest.mark.parametrize("floor", range(len(FLOORS)))
def test_within_an_app_each_module_imports_only_those_below(app: str, floor: int) -> None:
    """Keep api, server_api and views side by side: what two of them need belongs further down."""
    here = [path for path in files_of(app) if set(module_of(path)[1:2]) & FLOORS[floor]]
    assert here or (app, floor) == ("accounts", 1)
    above = {f"{app}.{module}" for names in FLOORS[floor + 1 :] for module in names}
    assert offenders(here, above) == []


@pytest.mark.parametrize("app", ["accounts", "groups"])
def test_api_server_api_and_views_never_import_each_other(app: str) -> None:
    calls = [f"{app}.{name}" for name in ("api", "server_api", "views")]
    here = [path for path in files_of(app) if ".".join(module_of(path)) in calls]
    assert len(here) >= 2
    for path in here:
        assert offenders([path], set(calls) - {".".join(module_of(path))}) == []


def test_models_import_neither_ranking_nor_services() -> None:
    forbidden = {f"{app}.{name}" for app in ("accounts", "groups") for name in ("services", "api")}
    models = [path for path in FILES if module_of(path)[1:2] == ["models"]]
    assert {module_of(path)[0] for path in models} == {"audit", "accounts", "groups", "console"}
    assert offenders(models, forbidden | {"groups.ranking"}) == []


def test_ciphers_live_in_two_places() -> None:
    here = [path for path in FILES if str(path.relative_to(ROOT)) not in CIPHERS_LIVE_IN]
    assert offenders(here, CIPHERS) == []
    assert offenders([ROOT / "wechat/crypto.py"], {"Crypto"})


def test_only_one_file_imports_the_ciphers_for_wechat() -> None:
    here = [path for path in FILES if path != ROOT / "wechat/crypto.py"]
    assert offenders(here, {"Crypto"}) == []


def test_only_wechat_sends_http_requests() -> None:
    here = [path for path in FILES if module_of(path)[0] != "wechat"]
    assert offenders(here, HTTP) == []
    assert offenders([ROOT / "wechat/client.py"], HTTP)


def test_no_test_module_is_imported() -> None:
    """Keep what test modules share in helper modules, as tests/cast.py and e2e/cast.py are."""
    files = sorted(path for folder in ("tests", "e2e") for path in (ROOT / folder).rglob("*.py"))
    tests = {
        ".".join(module_of(path)) for path in files if path.name.startswith(("test_", "conftest."))
    }
    assert len(tests) >= 60
    assert offenders(files, tests) == []


def test_the_second_ranking_imports_nothing_of_the_product() -> None:
    oracle = [ROOT / "tests" / "ranking_oracle.py"]
    assert offenders(oracle, {*PACKAGES, "django", "rest_framework", "tests"}) == []
    assert offenders(oracle, {"zoneinfo"})


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("import groups.views", "groups.views"),
        ("import groups.views as pages", "groups.views"),
        ("from groups import views", "groups.views"),
        ("from . import views", "groups.views"),
        ("from .views import group_list", "groups.views.group_list"),
        ("from .. import groupsite", "groupsite"),
        ("def late():\n    from .views import private", "groups.views.private"),
    ],
)
def test_every_way_to_write_an_import_is_read(text: str, name: str) -> None:
    assert name in list(imported(ROOT / "groups" / "api.py", text))


def test_the_map_shows_what_may_import_what() -> None:
    [block] = blocks_of("tests/test_layers.py::test_the_map_shows_what_may_import_what")
    [chain] = re.findall(r"^ *(\w+(?: --> \w+)+)$", block.code, re.MULTILINE)
    assert chain.split(" --> ") == list(reversed(PACKAGES))
    assert set(re.findall(r"^ *(\w+)\[", block.code, re.MULTILINE)) == set(PACKAGES)
