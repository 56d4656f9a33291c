"""Run the tests against deliberate faults in the code: each fault has to make one fail."""

import subprocess
import sys

from .plan import Plan, TrialResult
from .servers import ROOT


def run(plan: Plan) -> TrialResult:
    """Run `python -m scripts.mutants`; the long form alone, as it takes as long as many tests."""
    outcome = TrialResult()
    if not plan.long:
        outcome.gaps.append("the deliberate faults are tried by the long form alone")
        return outcome
    command = [sys.executable, "-m", "scripts.mutants"]
    done = subprocess.run(  # noqa: S603
        command, cwd=ROOT, capture_output=True, text=True, check=False
    )
    lines = (done.stdout + done.stderr).splitlines()
    outcome.facts += lines[-1:]
    if done.returncode:
        outcome.fail(f"`python -m scripts.mutants` failed: {' / '.join(lines[-5:])}")
    return outcome
