"""A certificate of another CA boots nothing, even if it contains the same gateway name."""

from common.scenario import Scenario


def scenario(t: Scenario) -> None:
    with t.boot_host() as host, t.boot_host(name="stranger", url=host.url) as stranger:
        host.farmgate("gateway", "add", "lab-1")
        host.publish("lab-1")
        # Both are made from the one base image, so that they trust this host and differ in nothing
        # but the identity.
        base = host.base_image()
        ours = host.seal(base, *host.identity("lab-1"), "ours")
        foreign = host.spliced(base, stranger.image("lab-1"), "foreign")

        for door in ("own", "nginx"):
            with host.serving(door):
                through = "through nginx" if door == "nginx" else "through own TLS"
                with t.subtest(f"our CA's certificate boots {through}"):
                    t.boots(ours)
                with t.subtest(f"another CA's certificate does not boot {through}"):
                    t.does_not_boot(host, foreign)
