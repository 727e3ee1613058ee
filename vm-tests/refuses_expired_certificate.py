"""A certificate boots until it expires and not a moment longer, on a running server.

One image with one short-lived certificate is booted before and after, so that only the time is
different.
"""

import datetime

from common import certificates
from common.process import pause
from common.qemu import turn
from common.scenario import Scenario

# A boot comes to the handshake in 10 seconds, and on a very busy machine in 40.
LIFE = datetime.timedelta(seconds=70)


def scenario(t: Scenario) -> None:
    with t.boot_host() as host, host.serving():
        base = host.base_image()
        # The certificate must not expire while this waits for a free machine.
        with turn():
            ends = certificates.now() + LIFE
            where = host.scratch / "short-lived"
            certificate, key = certificates.issue(host.authority, "lab-1", ends, where)
            host.farmgate("gateway", "add", "lab-1", "--cert", certificate)
            host.publish("lab-1")
            image = host.seal(base, certificate, key, "short-lived")

            with t.subtest("the certificate boots while it is valid"):
                t.boots(image)

        pause(max(0, (ends - certificates.now()).total_seconds()) + 1)
        with t.subtest("the same certificate does not boot after its end"):
            t.does_not_boot(host, image)
