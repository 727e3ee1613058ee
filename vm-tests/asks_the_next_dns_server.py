"""If the first of two DNS servers is dead, a gateway asks the second.

The medium used to copy the list as text, which cuts it to the first server, and never booted.
"""

from common.network import DEAD
from common.network import HOST
from common.network import Network
from common.scenario import Scenario
from common.scenario import booted_as


def scenario(t: Scenario) -> None:
    with t.subtest("a gateway boots although the first DNS server that DHCP names is dead"):
        with Network(t.logs, dns=(DEAD, HOST)) as network, t.boot_host(network=network) as host:
            image = host.image("lab-1")
            host.publish("lab-1")
            with host.serving(), t.gateway(image, network=network) as machine:
                machine.wait_for(rf"DNS {DEAD}", timeout=900)
                booted_as(machine, "lab-1", 1, timeout=900)
