"""A gateway boots over a line that silently loses long frames.

Tunnels and PPPoE do that. iPXE always offers an MSS of 1460, so a boot host that uses it sends frames
which never arrive. The gateway's first request still comes through, and the answer does not.
"""

from pathlib import Path

from common.network import Network
from common.scenario import Scenario
from common.scenario import booted_as

LONGEST = 1414
SYSCTL = Path(__file__).resolve().parent.parent / "systemd" / "farmgate.sysctl.conf"


def scenario(t: Scenario) -> None:
    with Network(t.logs) as network, t.boot_host(network=network) as host:
        image = host.image("lab-1")
        host.publish("lab-1")
        network.lose_frames_over(LONGEST)
        settings("net.ipv4.tcp_mtu_probing=0")
        with t.subtest("a gateway boots over such a line from farmgate's own TLS"):
            with host.serving(), t.gateway(image, network=network) as machine:
                booted_as(machine, "lab-1", 1, timeout=900)
        with t.subtest("behind nginx it does not come through until the package's sysctl is set"):
            with host.serving("nginx"), t.gateway(image, network=network) as machine:
                machine.wait_for("no boot from", timeout=900)
                settings(*SYSCTL.read_text().splitlines())
                booted_as(machine, "lab-1", 1, timeout=900)


def settings(*lines: str) -> None:
    """Sets kernel parameters in this network, as systemd-sysctl would."""
    for line in lines:
        if line.strip() and not line.startswith("#"):
            name, value = (part.strip() for part in line.split("="))
            path = Path("/proc/sys", *name.split("."))
            path.write_text(value)
            assert path.read_text().strip() == value
