"""A revoked certificate boots nothing from that moment on: no restart, no reload."""

from common.process import pause
from common.scenario import Scenario


def scenario(t: Scenario) -> None:
    for door in ("own", "nginx"):
        through = "through nginx" if door == "nginx" else "through own TLS"
        with t.boot_host(name=door) as host:
            image, other = host.image("lab-1"), host.image("lab-2")
            host.publish("lab-1")
            host.publish("lab-2")
            with host.serving(door):
                with t.subtest(f"the gateway boots {through} before"):
                    t.boots(image)

                with t.subtest(f"a second after the revocation it is refused {through}"):
                    identity = host.identity("lab-1")
                    status, answer = host.curl("/g/1/boot.ipxe", identity=identity)
                    assert status == 200, f"before: {status}\n{answer}"
                    host.farmgate("gateway", "revoke", "lab-1")
                    pause(1)
                    assert not host.front.ended() and not host.server.ended()
                    for path in ("/boot/ipxe", "/g/1/boot.ipxe", "/g/1/vmlinuz", "/files/vmlinuz"):
                        status, answer = host.curl(path, identity=identity)
                        assert status in (0, 400, 403), f"{path}: {status}\n{answer}"

                with t.subtest(f"its image does not boot {through} any more"):
                    t.does_not_boot(host, image)
                with t.subtest(f"another gateway still boots {through}"):
                    t.boots(other, gateway="lab-2")
