"""A gateway boots through DHCP, nginx and the service that systemd starts for it, and acknowledges.

Nobody but the gateway's own request starts the service.
"""

import json

image = make_gateway("lab-1")
publish("lab-1")

with subtest("the service does not run before somebody asks"):
    assert host.systemctl("is-active farmgate.service")[1].strip() == "inactive"

for firmware, medium in (("bios", "cd"), ("uefi", "usb")):
    with subtest(
        f"a gateway boots from {medium.upper()} under {firmware.upper()}, and acknowledges"
    ):
        boots(image, "lab-1", firmware=firmware, medium=medium)

with subtest("`farmgate status` tells of the boot and its acknowledgement"):
    (status,) = json.loads(host.succeed("farmgate --json status"))
    assert status["gateway"] == "lab-1" and status["generation"] == 1, status
    assert status["last_boot"] and status["acknowledged"], status

with subtest("nginx sent the assets, and the service did not end in between"):
    host.wait_for_unit("farmgate.service")
    assert host.get_unit_property("farmgate.service", "NRestarts") == "0"
