"""A gateway boots through nginx, and nginx itself sends the kernel and the initramfs.

farmgate answers a request for an asset with X-Accel-Redirect and no body; nginx's log shows both sizes.
"""

import re

from common.host import BootHost
from common.scenario import Scenario


def scenario(t: Scenario) -> None:
    with t.boot_host() as host:
        image = host.image("lab-1")
        host.publish("lab-1")
        with host.serving(door="nginx"):
            t.together(
                {
                    "a gateway boots from CD under BIOS": lambda: t.boots(image, "bios", "cd"),
                    "a gateway boots from USB under UEFI": lambda: t.boots(image, "uefi", "usb"),
                }
            )

            with t.subtest("the connections were mutual TLS 1.2 or later, verified by nginx"):
                assert host.access
                for line in host.access.lines():
                    assert "verify=SUCCESS" in line and "protocol=TLSv1." in line, line

            for name in ("vmlinuz", "initrd.img"):
                with t.subtest(f"nginx sent every byte of {name}, and farmgate none of them"):
                    sent_by_nginx(host, name, (t.tools.generation / name).stat().st_size)


def sent_by_nginx(host: BootHost, name: str, size: int) -> None:
    pattern = rf"^200 GET /g/1/{name} sent=(\d+) upstream=(\d+) accel=(\S+)"
    assert host.access
    answers = [found for line in host.access.lines() if (found := match(pattern, line))]
    assert len(answers) == 2, f"{len(answers)} answers, not one a boot:\n{host.access.tail()}"
    for sent, upstream, accel in answers:
        assert int(sent) == size, f"{sent} bytes were sent, the file has {size}"
        assert int(upstream) < 2048, f"farmgate itself sent {upstream} bytes"
        assert accel.startswith("/"), f"there was no X-Accel-Redirect, but {accel!r}"


def match(pattern: str, line: str) -> tuple[str, ...] | None:
    found = re.search(pattern, line)
    return found and found.groups()
