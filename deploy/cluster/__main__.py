"""`make cluster`: start the cluster, watch it, break it, and prove that nothing is lost.

`python -m deploy.cluster --help` lists the verbs, `python -m deploy.cluster fail --help` what one
of them takes.
"""

import argparse
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from benchmarks.crowd import phone_options
from prove.plan import say
from prove.servers import ROOT, MissingProgram

from .cluster import HOME, Cluster, NoCluster, running
from .failures import FAILURES
from .proof import CONTROL, LONG, TIMES, crowd_command, prove
from .watch import EVERY, ClusterWatch

ALL = "all"
VERBS = {
    "start": "start it here and print a line a second; Ctrl-C ends it 启动并逐秒显示",
    "status": "look at it once, from elsewhere; exit 1 unless it is whole 查看一次",
    "fail": "make a failure, repair it, and wait until all is whole 制造一种故障并恢复",
    "crowd": "send phones to its site 让一群手机访问站点",
    "stop": "end it, also what is left of a crash 结束，包括崩溃后遗留的进程",
    "prove": "make failures under load in a cluster of its own, and see that nothing is lost "
    "另起一个集群，在负载下制造故障，检查是否丢失数据",
}


def main(arguments: list[str] | None = None) -> int:
    options = read_options(sys.argv[1:] if arguments is None else arguments)
    try:
        match options.verb:
            case "start":
                return start(options)
            case "status":
                return status(Cluster.existing(options.folder))
            case "fail":
                return fail(Cluster.existing(options.folder), options.failure)
            case "crowd":
                return crowd(Cluster.existing(options.folder), options)
            case "stop":
                return stop(Cluster.left(options.folder))
            case _:
                return prove_it(options)
    except (MissingProgram, NoCluster, TimeoutError) as error:
        say(str(error))
        return 1


def read_options(arguments: Sequence[str]) -> argparse.Namespace:
    """Return what a command line says; without a verb it is `start`."""
    if not {*arguments[:1]} & {*VERBS, "-h", "--help"}:
        arguments = ["start", *arguments]
    parser = argparse.ArgumentParser(
        prog="python -m deploy.cluster",
        description="Several PostgreSQLs and nodes of the site on this machine, to look at and to "
        "break: docs/cluster.md 在本机运行多数据库、多节点的集群，见 docs/cluster.zh-CN.md",
        epilog="Without a verb it is start. What each takes 各命令的选项: … VERB --help",
    )
    taken = parser.add_subparsers(dest="verb", title="verbs", metavar="VERB")
    of_cluster = argparse.ArgumentParser(add_help=False)
    of_cluster.add_argument("--folder", type=Path, default=HOME, help="where everything of it is")
    parents = {"crowd": [phone_options()]}
    words = [f"  {each.name:<13}{each.words}" for each in FAILURES.values()]
    known = {
        "fail": words,
        "prove": [*words, f"  {CONTROL:<13}asynchronous, so that something has to be lost"],
    }
    verbs = {
        name: taken.add_parser(
            name,
            help=text,
            description=text,
            parents=[of_cluster, *parents.get(name, [])],
            epilog="\n".join(["failures:", *known[name]]) if name in known else None,
            formatter_class=HelpFormatter,
        )
        for name, text in VERBS.items()
    }
    for name in ("start", "prove"):
        add = verbs[name].add_argument
        add("--lag", type=int, default=0, help="seconds by which the replica for reads is late")
        add("--direct", action="store_true", help="nodes know all PostgreSQLs: no proxy between")
        add("--workers", type=int, default=2, help="processes of each node of the site")
    verbs["fail"].add_argument(
        "failure", choices=FAILURES, metavar="FAILURE", help="one of those below"
    )
    verbs["crowd"].set_defaults(seconds=LONG)
    add = verbs["prove"].add_argument
    names = [*FAILURES, CONTROL, ALL]
    add("names", nargs="*", choices=names, default=ALL, metavar="FAILURE", help="of those below")
    add("--times", type=int, default=TIMES, help="how often each is made")
    add("--report", type=Path, default=ROOT / "var" / "cluster.md", help="what was found")
    return parser.parse_args(arguments)


class HelpFormatter(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Says defaults, and leaves the list of failures as it is."""


def new_cluster(options: argparse.Namespace) -> Cluster:
    return Cluster.new(
        options.folder, lag=options.lag, is_direct=options.direct, workers=options.workers
    )


def start(options: argparse.Namespace) -> int:
    begun = time.monotonic()
    cluster = new_cluster(options)
    say(f"Starting in {cluster.folder}, which takes half a minute 启动中，约需半分钟")
    with suppress(KeyboardInterrupt), running(cluster):
        say(f"Whole after {time.monotonic() - begun:.0f} s 已就绪\n")
        for name, value in addresses(cluster).items():
            say(f"{name:<24} {value}")
        # In the form in which a shell takes them, for `make test` and others.
        say("\n" + " ".join(f"{name}='{value}'" for name, value in cluster.urls.items()))
        failures = ", ".join(FAILURES)
        say(f"\nIn another terminal 在另一个终端: make cluster ARGS='fail …' ({failures})")
        say("Ctrl-C ends it 结束\n")
        ClusterWatch(cluster).run()
    say("\nEnded 已结束")
    return 0


def addresses(cluster: Cluster) -> dict[str, str]:
    local = "http://127.0.0.1"
    return {
        "site 站点": cluster.site_url,
        **{node.name: f"{local}:{node.port}" for node in cluster.nodes},
        "sandbox 沙箱": cluster.sandbox_url,
        "HAProxy": f"{local}:{cluster.statistics_port}/",
        "etcd": f"{local}:{cluster.etcd.port}",
        **{
            each.name: f"127.0.0.1:{each.port}, Patroni {each.rest_port}"
            for each in cluster.members
        },
    }


def status(cluster: Cluster) -> int:
    """Say each thing as soon as it is known: while no one leads, some take seconds."""
    watch = ClusterWatch(cluster)
    watch.nodes()  # requests a second are what came since an earlier look
    say(f"{datetime.now():%H:%M:%S}  {watch.leading()}")
    missing = cluster.what_is_missing()
    say(missing or "whole 完好")
    for each in watch.following():
        say(each)
    time.sleep(EVERY)
    for each in watch.nodes():
        say(each)
    say(watch.writing())
    return int(bool(missing))


def fail(cluster: Cluster, name: str) -> int:
    failure = FAILURES[name]
    if missing := cluster.what_is_missing():
        raise NoCluster(f"It is not whole 集群不完好: {missing}")
    say(f"{datetime.now():%H:%M:%S}  {failure.words}")
    begun = time.monotonic()
    repair = failure.make(cluster)
    repair()
    say(f"{datetime.now():%H:%M:%S}  repaired, waiting until it is whole 已恢复，等待完好")
    cluster.wait_until_whole()
    say(f"{datetime.now():%H:%M:%S}  whole after {time.monotonic() - begun:.1f} s 完好")
    return 0


def crowd(cluster: Cluster, options: argparse.Namespace) -> int:
    given = [
        f"--{name}={getattr(options, name)}" for name in ("phones", "seconds", "group", "seed")
    ]
    command = crowd_command(cluster, options.report, *given)
    return subprocess.run(command, cwd=ROOT, check=False).returncode


def stop(cluster: Cluster) -> int:
    cluster.stop()
    say("Ended 已结束")
    return 0


def prove_it(options: argparse.Namespace) -> int:
    cluster = new_cluster(options)
    names = [*FAILURES, CONTROL] if ALL in options.names else options.names
    attempts = prove(cluster, names, options.times, options.report)
    say(f"Report 报告: {options.report}")
    return int(any(each.problems for each in attempts))


if __name__ == "__main__":
    for _ending in (signal.SIGINT, signal.SIGTERM):  # so that everything started is ended
        signal.signal(_ending, signal.default_int_handler)
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit("Stopped 已停止")
