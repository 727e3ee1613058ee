"""A gateway boots whatever its clock says: a dead battery, decades ahead, the last two-digit year.

iPXE for BIOS reads two digits of the year and assumes this century, so it reads 1980 as 2080. A CA
that ended in 2056 locked such a machine out forever.
"""

from functools import partial

from common import certificates
from common.scenario import Scenario

CLOCKS = ("1980-01-01T00:00:00", "2040-06-01T12:00:00", "2099-12-31T00:00:00")
MEDIA = {"bios": "cd", "uefi": "usb"}


def scenario(t: Scenario) -> None:
    with t.boot_host() as host, host.serving():
        image = host.image("lab-1")
        host.publish("lab-1")
        t.together(
            {
                f"a gateway boots under {firmware.upper()} when its clock says {clock[:4]}": (
                    partial(t.boots, image, firmware, medium, clock=clock)
                )
                for clock in CLOCKS
                for firmware, medium in MEDIA.items()
            }
        )

    with t.boot_host(name="old") as host:
        # The CA of older states.
        certificates.replace_authority(host, "-days", "10950")
        image = host.image("lab-1")
        host.publish("lab-1")
        with host.serving():
            with t.subtest("a CA with an end boots within its time"):
                t.boots(image)
            with t.subtest("a CA that ends before 2080 is why a clock of 1980 does not boot"):
                t.does_not_boot(host, image, clock=CLOCKS[0])
