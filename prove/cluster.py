"""The cluster of deploy/cluster/ is broken under load, and asked what it kept; and so is one that
acknowledges too early, which has to lose something."""

from deploy.cluster.cluster import Cluster
from deploy.cluster.failures import FAILURES
from deploy.cluster.proof import CONTROL, TIMES, prove, text_of

from .kills import tell_missing
from .plan import Plan, TrialResult
from .servers import MissingProgram, scratch


def run(plan: Plan) -> TrialResult:
    """Make one failure and the control; in the long form each failure three times."""
    outcome = TrialResult()
    names = [*(FAILURES if plan.long else ["postgres"]), CONTROL]
    times = plan.amount or (TIMES if plan.long else 1)
    with scratch() as (folder, _stack):
        try:
            cluster = Cluster.new(folder / "cluster")
        except MissingProgram as error:
            tell_missing(outcome, str(error))
            return outcome
        attempts = prove(cluster, names, times, plan.state / "cluster.md")
    for attempt in attempts:
        outcome.facts.append(text_of(attempt))
        for problem in attempt.problems:
            outcome.fail(f"{attempt.name}: {problem}")
    return outcome
