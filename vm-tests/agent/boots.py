"""The agent runs a container, in memory or from a drive, and acknowledges."""

from common.agent import FakeHost
from common.agent import Gateway
from common.agent import drive
from common.agent import profile
from common.agent import shell
from common.agent import tools_of
from common.scenario import Scenario

SCRIPT = """
echo "IN-CONTAINER user=$(busybox id -u) host=$(busybox hostname) $(busybox cat /shared/seen)"
[ "$PASSWORD" = correct-horse ] && echo "IN-CONTAINER has the secret"
busybox date >/shared/seen
exec /bin/busybox sleep 1000
"""


def scenario(t: Scenario) -> None:
    tools = tools_of(t)
    image = shell(tools.busybox, SCRIPT)
    container = {
        "environment": {"PASSWORD": {"secret": "password"}},
        "mounts": [{"source": "cache", "target": "/shared"}],
    }
    wanted = profile(image, container=container)
    with t.subtest("without a drive it runs in memory, and says why"):
        with FakeHost(t.logs / "host-1", image) as host:
            with Gateway(tools, host, wanted, t.logs / "memory.log") as gateway:
                gateway.wait_for("IN-CONTAINER has the secret")
                host.wait_until_acknowledged()
                step = host.wait_for("drive")
                assert step["kind"] == "memory" and LABEL_MISSING in step["trouble"], step
                assert host.wait_for("network")["address"].startswith("10.0.2."), host.reports
                assert host.wait_for("image")["fetched"] > 0, host.reports
                host.wait_for("healthy")

    with drive(t.logs, label=None) as disk:
        with t.subtest("a blank drive becomes the cache drive"):
            with FakeHost(t.logs / "host-2", image) as host:
                with Gateway(tools, host, wanted, t.logs / "blank.log", disk) as gateway:
                    host.wait_until_acknowledged()
                    assert host.wait_for("drive")["kind"] == "formatted", host.reports

        with t.subtest("the next boot finds its layers and its files there"):
            with FakeHost(t.logs / "host-3", image) as host:
                with Gateway(tools, host, wanted, t.logs / "again.log", disk) as gateway:
                    gateway.wait_for(r"IN-CONTAINER user=0 host=lab-1 \w")
                    host.wait_until_acknowledged()
                    assert host.wait_for("drive")["kind"] == "cache", host.reports
                    step = host.wait_for("image")
                    assert step["fetched"] == 0 and step["reused"] > 0, step


LABEL_MISSING = "FARMGATE_CACHE is missing"
