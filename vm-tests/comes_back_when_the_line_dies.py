"""A gateway notices when the line dies in the middle of the kernel, and boots when the line is back.

Without `--timeout`, `kernel` of iPXE 1.21.1 waits forever.
"""

from common.network import Network
from common.scenario import Scenario
from common.scenario import booted_as


def scenario(t: Scenario) -> None:
    with t.subtest("a gateway gives the dead download up, and boots when the line is back"):
        with Network(t.logs) as network, t.boot_host(network=network) as host:
            image = host.image("lab-1")
            host.publish("lab-1")
            network.limit("8mbit")
            with host.serving(), t.gateway(image, network=network) as machine:
                machine.wait_for(r"vmlinuz\.\.\. *[1-9][0-9]?%", timeout=900)
                network.cut()
                machine.wait_for("could not be loaded", timeout=900)
                network.mend()
                booted_as(machine, "lab-1", 1, timeout=900)
