"""The fenced blocks of the documentation, and for each the test that executes it.

A test takes its blocks from here, by its own name: `blocks_of("tests/test_x.py::test_y")`, or reads
the page itself. `tests/test_documented.py` fails for a block that is not listed, and for an entry
whose test does neither.
"""

import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FENCE = re.compile(r"(?P<indent> *)(?P<ticks>`{3,}|~{3,}) *(?P<language>[\w-]*)(?P<rest>.*)")


@dataclass(frozen=True)
class Block:
    page: str
    line: int
    language: str
    code: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line} ({self.language or 'no language'})"


@dataclass(frozen=True)
class Executed:
    """Blocks and the test that executes them, or else the reason why none can."""

    pages: str
    """A pattern, as for a shell; so is the language."""
    language: str
    test: str = ""
    words: str = ""
    """Only blocks with these words."""
    reason: str = ""

    def holds(self, block: Block) -> bool:
        return (
            fnmatch(block.page, self.pages)
            and fnmatch(block.language, self.language)
            and self.words in block.code
        )


CALLS = "tests/test_documented.py::test_the_calls_of_the_page_work_in_its_order"
MIGRATING = "tests/test_migrating.py"
OPERATING = "tests/test_operating.py"
MONITORING = "tests/test_monitoring.py"
KEYS = "tests/test_keys.py"
CLUSTER = "tests/test_cluster.py"
INSTALLS = "e2e/test_documented.py::test_the_kit_installs_as_said"
NODE = "e2e/test_documented.py::test_the_code_runs_on_a_phone"
WECHAT = "e2e/test_documented.py::test_wechats_own_compiler_takes_the_block"
TYPES = "e2e/test_frameworks.py::test_the_types_of_the_kit_and_its_components_fit"
GUIDE = "e2e/test_skill.py::test_the_guide_ends_at_rank_1"
SKILL = "miniprogram/skills/wechat-group-ranking"
SKILL_NATIVE = "e2e/test_skill.py::test_an_empty_native_project_ends_at_rank_1"
SKILL_OTHERS = "e2e/test_skill.py::test_an_empty_project_of_a_framework_ends_at_rank_1"

# The first that holds a block counts.
EXECUTED = (
    # READMEs
    Executed(
        "README*.md",
        "sh",
        "e2e/test_demo.py::test_make_demo_serves_what_it_prints_and_can_be_run_again",
        "make demo",
    ),
    Executed("README*.md", "sh", CALLS, "curl"),
    Executed("README*.md", "js", NODE),
    Executed("README*.md", "html", WECHAT),
    # The server
    Executed("docs/server-api*.md", "sh", CALLS),
    Executed("docs/server-api*.md", "json", CALLS),
    Executed(
        "docs/server-api*.md",
        "python",
        "tests/test_server_api.py::test_the_example_of_the_documentation_runs",
    ),
    Executed("docs/errors.md", "json", "tests/test_documented.py::test_an_error_looks_as_said"),
    Executed(
        "docs/migrating.md", "sh", "tests/test_migrating.py::test_every_block_of_the_page_works"
    ),
    Executed("docs/migrating.zh-CN.md", "sh", f"{MIGRATING}::test_both_pages_say_the_same_to_run"),
    # `make guide` runs this in CI, and takes its blocks by their headings.
    Executed("docs/deploy.md", "sh", "deploy/trial/__main__.py::try_one"),
    Executed(
        "docs/deploy.zh-CN.md",
        "sh",
        "tests/test_deploy_guide.py::test_both_guides_have_the_same_commands",
    ),
    Executed(
        "docs/backup.md",
        "sh",
        "tests/test_backup.py::test_the_rehearsal_touches_nothing",
        "rehearsal",
    ),
    Executed(
        "docs/backup.md",
        "sh",
        "tests/test_backup.py::test_a_restore_has_what_the_backup_has_and_no_one_who_was_erased",
    ),
    Executed(
        "docs/upgrade.md", "sh", "tests/test_upgrade.py::test_old_and_new_code_serve_side_by_side"
    ),
    Executed("docs/move-database.md", "sh", "tests/test_move_database.py::test_everything_moves"),
    *(
        Executed(
            f"docs/{page.replace('_', '-')}.zh-CN.md",
            "sh",
            f"tests/test_{page}.py::test_both_pages_say_the_same_to_run",
        )
        for page in ("backup", "upgrade", "move_database")
    ),
    Executed("docs/operating.md", "sh", f"{OPERATING}::test_each_command_of_the_page_runs"),
    Executed("docs/operating.zh-CN.md", "sh", f"{OPERATING}::test_both_pages_run_the_same"),
    Executed("docs/monitoring.md", "sh", f"{MONITORING}::test_the_commands_of_the_page_work"),
    Executed(
        "docs/monitoring.zh-CN.md", "sh", f"{MONITORING}::test_both_pages_have_the_same_commands"
    ),
    Executed(
        "docs/keys.md",
        "sh",
        f"{KEYS}::test_keys_are_changed_over_two_servers_without_a_failure",
        "FIELD_KEYS=",
    ),
    Executed("docs/keys*.md", "sh", f"{KEYS}::test_the_page_says_the_same_in_both_languages"),
    Executed("docs/keys*.md", "", reason="what a command prints, as an example"),
    Executed("docs/cluster*.md", "", reason="a picture"),
    Executed("docs/cluster.md", "sh", f"{CLUSTER}::test_each_command_of_the_page_is_one"),
    Executed("docs/cluster.zh-CN.md", "sh", f"{CLUSTER}::test_both_pages_say_the_same_to_run"),
    Executed(
        "docs/container*.md",
        "sh",
        reason="there is no container engine where the tests run; tests/test_container.py holds "
        "the names to compose.yml, and runs the image's own commands outside of a container",
    ),
    Executed(
        "docs/*.md",
        "*",
        "tests/test_checks.py::test_the_environment_of_the_guide_is_complete",
        "SECRET_KEY=…",
    ),
    Executed(
        "docs/architecture.md",
        "mermaid",
        "tests/test_layers.py::test_the_map_shows_what_may_import_what",
    ),
    Executed("docs/security*.md", "mermaid", reason="a drawing of who attacks what"),
    Executed(
        "docs/scaling*.md", "ini", "tests/test_scaling.py::test_the_settings_of_the_page_are_taken"
    ),
    Executed(
        "docs/scaling*.md",
        "sh",
        reason="six minutes, on a PostgreSQL of its own; tests/test_benchmarks.py runs its parts",
    ),
    Executed(
        "docs/benchmarks.md",
        "sh",
        words="make bench",
        reason="five minutes, with servers of its own; tests/test_benchmarks.py runs its parts",
    ),
    Executed(
        "docs/benchmarks.md",
        "sh",
        "tests/test_documented.py::test_a_crowd_takes_the_options_of_the_page",
    ),
    Executed(
        "docs/simulation.md",
        "sh",
        "tests/test_simulation.py::test_the_commands_of_the_page_are_understood",
    ),
    # The mini-program
    *(
        Executed(page, language, test, words)
        for page, test in (
            ("docs/miniprogram.zh-CN.md", GUIDE),
            ("docs/miniprogram.md", "e2e/test_skill.py::test_both_guides_have_the_same_code"),
        )
        for language, words in (
            ("json", ""),
            ("sh", "npm pack"),
            ("js", "demo-alice"),
            ("xml", "bind:entry"),
            ("js", "onShareAppMessage"),
        )
    ),
    Executed("docs/miniprogram*.md", "js", NODE),
    Executed("docs/miniprogram*.md", "xml", WECHAT),
    Executed("docs/miniprogram*.md", "css", WECHAT),
    Executed("docs/skyline.md", "json", WECHAT),
    Executed("docs/skyline.md", "css", WECHAT),
    # Frameworks
    Executed(
        "docs/*.md", "sh", "e2e/test_documented.py::test_the_kit_installs_as_said", "npm pack"
    ),
    *(Executed(f"docs/{page}.md", kind, TYPES) for page, kind in (("taro", "ts"), ("taro", "tsx"))),
    Executed("docs/uni-app.md", "ts", "e2e/test_documented.py::test_the_copy_is_made", "cpSync"),
    Executed("docs/uni-app.md", "ts", TYPES),
    Executed("docs/uni-app.md", "vue", TYPES),
    Executed("docs/uni-app.md", "json", TYPES),
    Executed(
        "examples/*/README.md",
        "sh",
        "e2e/test_frameworks.py::test_the_readme_names_the_script_that_is_run",
    ),
    # The kit's package
    Executed("miniprogram/README.md", "sh", INSTALLS),
    Executed("miniprogram/README.md", "js", NODE),
    Executed("miniprogram/README.md", "ts", TYPES),
    # The skill
    *(Executed(f"{SKILL}/SKILL.md", language, SKILL_NATIVE) for language in ("json", "sh")),
    *(
        Executed(f"{SKILL}/references/native.md", language, SKILL_NATIVE)
        for language in ("js", "json", "xml", "css")
    ),
    *(
        Executed(f"{SKILL}/references/taro.md", language, SKILL_OTHERS)
        for language in ("ts", "tsx", "sh")
    ),
    *(
        Executed(f"{SKILL}/references/uni-app.md", language, SKILL_OTHERS)
        for language in ("sh", "ts", "json", "vue")
    ),
    # For those who change the project
    Executed("CONTRIBUTING.md", "sh", words="git clone", reason="the fork is of the reader's own"),
    Executed(
        "CONTRIBUTING.md",
        "sh",
        "tests/test_install.py::test_without_a_network_make_installs_from_a_folder_of_wheels",
        "PIP_NO_INDEX",
    ),
    Executed(
        "CONTRIBUTING.md",
        "sh",
        words="MODEL_STEPS",
        reason="takes minutes; the suite itself runs this file with 3,000 steps",
    ),
    *(
        Executed(
            "CONTRIBUTING.md", language, "tests/test_documented.py::test_the_first_change_works"
        )
        for language in ("python", "diff")
    ),
)


def blocks_in(page: str, text: str) -> Iterator[Block]:
    """Yield the fenced blocks of a page; one that does not end is an error."""
    lines = enumerate(text.splitlines(), start=1)
    for number, line in lines:
        if not (fence := FENCE.fullmatch(line)):
            continue
        code = []
        for _number, inner in lines:
            if inner.strip() == fence["ticks"]:
                break
            code.append(inner.removeprefix(fence["indent"]))
        else:
            raise AssertionError(f"{page}:{number}: this block has no end")
        yield Block(page, number, fence["language"], "\n".join(code) + "\n")


@cache
def all_blocks() -> tuple[Block, ...]:
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "*.md"],
        cwd=ROOT,
        check=True,
        stdout=subprocess.PIPE,
    )
    pages = sorted(filter(None, listed.stdout.decode().split("\0")))
    return tuple(
        block
        for page in pages
        if (ROOT / page).exists()
        for block in blocks_in(page, (ROOT / page).read_text())
    )


def executed(block: Block) -> Executed | None:
    return next((entry for entry in EXECUTED if entry.holds(block)), None)


def blocks_of(test: str, pages: str = "*") -> list[Block]:
    """Return the blocks that a test executes, those of some pages alone if it says so."""
    found = [
        block
        for block in all_blocks()
        if fnmatch(block.page, pages) and (entry := executed(block)) and entry.test == test
    ]
    assert found, f"tests/documented.py has no block for {test}"
    return found
