"""With iPXE 2.0 all keys of a fleet may be P-256: server, gateways and CA.

iPXE 1.21.1 has no ECDSA. An image with it would never boot, so farmgate refuses to make one.
"""

from functools import partial

from common.scenario import Scenario
from common.scenario import Skip


def scenario(t: Scenario) -> None:
    with t.boot_host(key_type="p256") as host:
        with t.subtest("an image for a P-256 gateway is refused with iPXE 1.21.1"):
            host.farmgate("gateway", "add", "lab-1")
            output = host.scratch / "refused.iso"
            done = host.run("iso", "make", "lab-1", "-o", output, "--ipxe", t.tools.ipxe)
            assert done.returncode == 1, f"exit status {done.returncode}"
            assert "2.0" in done.stderr, f"it does not say what is needed: {done.stderr}"
            assert not output.exists(), "an image was written all the same"

        boots = {"bios": "cd", "uefi": "usb"}
        if t.tools.ipxe2 is None:
            for firmware in boots:
                with t.subtest(f"a P-256 gateway boots under {firmware.upper()}"):
                    raise Skip("no iPXE 2.0 (FARMGATE_IPXE2 names one)", allowed_in_ci=True)
            return

        image = host.image("lab-1", ipxe=t.tools.ipxe2)
        host.publish("lab-1")
        with host.serving():
            t.together(
                {
                    f"a P-256 gateway boots from {medium.upper()} under {firmware.upper()}": (
                        partial(t.boots, image, firmware, medium)
                    )
                    for firmware, medium in boots.items()
                }
            )
