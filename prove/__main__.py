"""`make prove`: run the trials that are named, or all of them, and write a report."""

import argparse
import importlib
import signal
import sys
import time
import traceback
from datetime import datetime
from pathlib import Path

from .plan import Plan, TrialResult, say

# Each is a module here with `run(plan)`, in the order in which they are run.
TRIALS = {
    "envelopes": "random, altered and oddly filled envelopes: nothing but documented refusals",
    "pushes": "random, altered and forged pushes: nothing but documented refusals",
    "forgery": "three ways into groups that WeChat did not name",
    "kills": "application and database killed under load: no acknowledged write lost or doubled",
    "restores": "a backup restored: all that was acknowledged before it is there, no one erased is",
    "faults": "WeChat, Redis, disk and clock fail: documented answers, and well again soon",
    "alerts": "each alert of deploy/monitoring/ is fired by its fault, and none with nothing wrong",
    "container": "the commands of Dockerfile and compose.yml, without an engine",
    "cluster": "PostgreSQL with Patroni fails under load: no acknowledged write lost or doubled",
    "mutants": "deliberate faults in the code: each is found by the tests",
}
HOME = Path(__file__).resolve().parent.parent / "var" / "prove"


def main(arguments: list[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    outcomes: dict[str, TrialResult] = {}
    begun = datetime.now().astimezone()
    until = time.monotonic() + options.minutes * 60 if options.minutes else float("inf")
    plan = Plan(options.long, options.state, options.processes, options.piece, until, options.count)
    for name in options.trials or TRIALS:
        say(f"== {name}: {TRIALS[name]}")
        outcomes[name] = try_one(name, plan)
        plan.progress.end()
        for text in text_of(outcomes[name]):
            say(f"  {text}")
        # After each, so that there is one of a run that was stopped.
        options.report.parent.mkdir(parents=True, exist_ok=True)
        options.report.write_text(report(outcomes, begun, long=options.long))
    say(f"Report 报告: {options.report}")
    return int(any(outcome.failures for outcome in outcomes.values()))


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog="python -m prove", description=__doc__)
    made.add_argument(
        "trials", nargs="*", choices=[*TRIALS, []], metavar="trial", help=", ".join(TRIALS)
    )
    made.add_argument("--long", action="store_true", help="the long forms; they take hours")
    made.add_argument("--short", dest="long", action="store_false", help="the forms of CI")
    made.add_argument("--state", type=Path, default=HOME, help="where long forms keep their place")
    made.add_argument("--report", type=Path, default=HOME / "report.md")
    made.add_argument("--processes", type=int, default=2)
    made.add_argument("--piece", type=int, help="repeat this piece of envelopes, pushes, forgery")
    made.add_argument("--count", type=int, help="so many inputs or kills, instead of the usual")
    made.add_argument("--minutes", type=float, help="begin nothing more after so many minutes")
    return made


def try_one(name: str, plan: Plan) -> TrialResult:
    begun = time.monotonic()
    try:
        outcome: TrialResult = importlib.import_module(f"prove.{name}").run(plan)
    except Exception:
        outcome = TrialResult()
        outcome.fail(f"stopped by an error of its own: {traceback.format_exc()[-2000:]}")
    outcome.seconds = time.monotonic() - begun
    return outcome


def text_of(outcome: TrialResult) -> list[str]:
    """Return the lines about a trial: facts, gaps, failures, the verdict."""
    verdict = "❌ failed" if outcome.failures else "✔ nothing failed"
    lines = [*outcome.facts, *(f"… {gap}" for gap in outcome.gaps)]
    lines += [f"❌ {failure}" for failure in outcome.failures]
    return [*lines, f"{verdict}, {outcome.seconds:.0f} s"]


def report(outcomes: dict[str, TrialResult], begun: datetime, *, long: bool) -> str:
    """Return the report of a run, in Markdown."""
    form = "long" if long else "short"
    lines = [
        "# What was tried",
        "",
        f"`make prove`, {form} forms, begun {begun:%Y-%m-%d %H:%M %z}.",
    ]
    for name, outcome in outcomes.items():
        lines += ["", f"## {name}", "", f"{TRIALS[name].capitalize()}.", ""]
        lines += [f"- {text}" for text in text_of(outcome)]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    for _ending in (signal.SIGINT, signal.SIGTERM):  # so that everything started is ended
        signal.signal(_ending, signal.default_int_handler)
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit("Stopped 已停止")
