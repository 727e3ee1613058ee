"""A gateway boots from CD and from USB stick, under BIOS and under UEFI.

This test runs without nginx: farmgate speaks TLS itself.
"""

from collections.abc import Callable

from common.qemu import FIRMWARES
from common.qemu import MEDIA
from common.scenario import Scenario


def scenario(t: Scenario) -> None:
    with t.boot_host() as host:
        image = host.image("lab-1")
        host.publish("lab-1")

        def boot(firmware: str, medium: str) -> Callable[[], object]:
            return lambda: t.boots(image, firmware, medium, gateway="lab-1", generation=1)

        with host.serving():
            t.together(
                {
                    f"a gateway boots from {medium.upper()} under {firmware.upper()}": (
                        boot(firmware, medium)
                    )
                    for firmware in FIRMWARES
                    for medium in MEDIA
                }
            )
