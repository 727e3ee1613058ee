"""A gateway boots by IPv4 if IPv6 leads nowhere.

If the network names a DNS server by IPv6, iPXE prefers the AAAA record and never tries the A record.
"""

from common.network import NOWHERE6
from common.network import Network
from common.process import Failure
from common.scenario import Scenario
from common.scenario import booted_as


def scenario(t: Scenario) -> None:
    with Network(t.logs, ipv6_to_nowhere=True) as network, t.boot_host(network=network) as host:
        image = host.image("lab-1")
        host.publish("lab-1")
        with host.serving():
            with t.subtest("a gateway boots although the network's IPv6 leads nowhere"):
                with t.gateway(image, network=network) as machine:
                    booted_as(machine, "lab-1", 1, timeout=900)
        with t.subtest("IPv6 is tried too, where IPv4 comes to nothing"):
            # No server runs now.
            with t.gateway(image, network=network) as machine:
                machine.wait_for(r"has address fd00:77:", timeout=900)
                machine.wait_for(r"(?s)has address fd00:77:.*no boot from", timeout=900)
            said = (t.logs / "dnsmasq.log").read_text()
            if f"{network.name} is {NOWHERE6}" not in said:
                raise Failure(f"nobody asked for the address by IPv6:\n{said[-2000:]}")
