"""`make cluster`: start the cluster, watch it, break it, and prove that nothing is lost.

python -m deploy.cluster                  start it here, watch it, Ctrl-C ends it
python -m deploy.cluster status           one look at it, from elsewhere
python -m deploy.cluster fail postgres    break something, and repair it
python -m deploy.cluster crowd            send phones (options as of benchmarks.crowd)
python -m deploy.cluster stop             end it, also what is left of a crash
python -m deploy.cluster prove            a cluster of its own: every failure three times
"""

import argparse
import signal
import subprocess
import sys
import time
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from prove.plan import say
from prove.servers import ROOT, MissingProgram

from .cluster import HOME, Cluster, NoCluster, running
from .failures import FAILURES
from .proof import CONTROL, TIMES, crowd_command, prove
from .watch import ClusterWatch


def main(arguments: list[str] | None = None) -> int:
    made = parser()
    options, others = made.parse_known_args(arguments)
    if others and options.command != "crowd":
        made.error(f"unknown: {' '.join(others)}")
    try:
        match options.command:
            case "start":
                return start(options)
            case "status":
                return status(Cluster.existing(options.folder))
            case "fail":
                return fail(Cluster.existing(options.folder), options.names)
            case "crowd":
                return crowd(Cluster.existing(options.folder), others)
            case "stop":
                return stop(Cluster.left(options.folder))
            case _:
                return prove_it(options)
    except (MissingProgram, NoCluster, TimeoutError) as error:
        say(str(error))
        return 1


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        prog="python -m deploy.cluster",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = ("start", "status", "fail", "crowd", "stop", "prove")
    made.add_argument("command", nargs="?", choices=commands, default="start")
    names = [*FAILURES, CONTROL]
    made.add_argument(
        "names", nargs="*", choices=[*names, []], metavar="failure", help=", ".join(names)
    )
    made.add_argument("--folder", type=Path, default=HOME, help="where everything of it is")
    made.add_argument("--lag", type=int, default=0, help="seconds by which the replica is late")
    made.add_argument("--direct", action="store_true", help="nodes know all PostgreSQLs: no proxy")
    made.add_argument("--workers", type=int, default=2, help="processes of each node of the site")
    made.add_argument("--times", type=int, default=TIMES, help="how often each failure is tried")
    made.add_argument("--report", type=Path, default=ROOT / "var" / "cluster.md")
    return made


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
    watch = ClusterWatch(cluster)
    watch.line()  # requests a second are what came since an earlier look
    time.sleep(1)
    say(watch.line())
    missing = cluster.what_is_missing()
    say(missing or "whole 完好")
    return int(bool(missing))


def fail(cluster: Cluster, names: list[str]) -> int:
    if len(names) != 1 or names[0] not in FAILURES:
        raise NoCluster(f"Name one failure 请指定一种故障: {', '.join(FAILURES)}")
    failure = FAILURES[names[0]]
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


def crowd(cluster: Cluster, options: list[str]) -> int:
    command = crowd_command(cluster, ROOT / "var" / "crowd.html", *options)
    return subprocess.run(command, cwd=ROOT, check=False).returncode


def stop(cluster: Cluster) -> int:
    cluster.stop()
    say("Ended 已结束")
    return 0


def prove_it(options: argparse.Namespace) -> int:
    cluster = new_cluster(options)
    names = options.names or [*FAILURES, CONTROL]
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
