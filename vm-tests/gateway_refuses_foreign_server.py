"""A gateway boots nothing from a server that its image does not trust.

The two images carry the same identity of this host; one is rooted in this host's CA, the other in
another CA.
"""

from common.qemu import REFUSED
from common.scenario import Scenario

# iPXE's "untrusted root certificate", or its failure to find a cross-signed one then, and no other
# reason to stop. The last two digits tell the firmware.
UNTRUSTED = REFUSED.replace("[0-9a-f]{8}", "(?:0216eb|1c2ee0)[0-9a-f]{2}")


def scenario(t: Scenario) -> None:
    with t.boot_host() as host, t.boot_host(name="stranger", url=host.url) as stranger:
        host.farmgate("gateway", "add", "lab-1")
        host.publish("lab-1")
        ours = host.seal(host.base_image(), *host.identity("lab-1"), "ours")
        theirs = stranger.spliced(stranger.base_image(), ours, "theirs")

        with host.serving():
            before = host.log.end()
            with t.subtest("the image rooted in another CA refuses our server (BIOS)"):
                t.does_not_boot(host, theirs, shown=UNTRUSTED)
            with t.subtest("the image rooted in another CA refuses our server (UEFI)"):
                t.does_not_boot(host, theirs, "uefi", "usb", shown=UNTRUSTED)
            after = host.log.end()

            with t.subtest("the image rooted in our CA boots"):
                t.boots(ours)
            with t.subtest("only that image asked the server for anything"):
                assert host.log.search("/boot/ipxe", after), f"no request:\n{host.log.tail()}"
                early = host.log.text(before)[: after - before]
                assert "/boot/ipxe" not in early, f"a request before:\n{host.log.tail()}"
