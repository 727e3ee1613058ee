"""Without a certificate there is nothing to boot.

A medium without an identity says so and does not ask; a client without a certificate that does
ask gets nothing, through either door.
"""

from common.scenario import Scenario

PATHS = ("/boot/ipxe", "/g/1/boot.ipxe", "/g/1/vmlinuz", "/files/vmlinuz")


def scenario(t: Scenario) -> None:
    with t.boot_host() as host:
        sealed = host.image("lab-1")
        empty = host.base_image()
        identity = host.identity("lab-1")
        host.publish("lab-1")
        with host.serving():
            with t.subtest("the sealed image boots"):
                t.boots(sealed)
            for firmware, medium in (("bios", "cd"), ("uefi", "usb")):
                with t.subtest(f"the base image does not boot under {firmware.upper()}"):
                    t.does_not_boot(host, empty, firmware, medium, shown="holds no identity")

        for door in ("own", "nginx"):
            through = "through nginx" if door == "nginx" else "through own TLS"
            with host.serving(door):
                with t.subtest(f"a caller with its certificate gets its files {through}"):
                    for path in PATHS:
                        status, answer = host.curl(path, "--head", identity=identity)
                        assert status in (200, 302), f"{path}: {status}\n{answer}"
                with t.subtest(f"a caller without a certificate gets nothing {through}"):
                    for path in PATHS:
                        status, answer = host.curl(path, "--head")
                        assert status in (0, 403), f"{path}: {status}\n{answer}"
