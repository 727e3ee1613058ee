"""A gateway boots through a switch port that passes nothing for 20 s after each link-up.

LACP, 802.1X, and a bridge with a forward delay do that. A medium that closed its card after each try
for an address made the port start over every time, and never booted.
"""

from common.network import Network
from common.scenario import Scenario
from common.scenario import booted_as

DELAY = 20


def scenario(t: Scenario) -> None:
    with t.subtest("a gateway behind such a port gets an address, and boots"):
        with Network(t.logs) as network, t.boot_host(network=network) as host:
            image = host.image("lab-1")
            host.publish("lab-1")
            with host.serving(), t.gateway(image, network=network) as machine:
                with network.slow_port(machine, DELAY):
                    machine.wait_for("got no address", timeout=900)
                    booted_as(machine, "lab-1", 1, timeout=900)
