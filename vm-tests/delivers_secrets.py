"""A gateway's secrets reach its initramfs over mutual TLS, once, and stay out of every log."""

import re

from common.scenario import Scenario

TEMPLATE = "FARMGATE_PROOF=${gateway}-in-$generation\nFARMGATE_PASSWORD=correct-horse\n"


def scenario(t: Scenario) -> None:
    for door in ("own", "nginx"):
        delivers(t, door)


def delivers(t: Scenario, door: str) -> None:
    through = "through nginx" if door == "nginx" else "through own TLS"
    with t.boot_host(name=door) as host:
        image = host.image("lab-1")
        host.publish("lab-1", host.folder("with", "secrets.ipxe", files={"secrets": TEMPLATE}))
        with host.serving(door, log_all=False):
            said = None
            with t.subtest(f"the booted system has them in a file with mode 600 ({through})"):
                pattern = r"(?s)^SECRETS-URL=(\S*?)=$.*^FARMGATE-SECRETS (mode=\S* proof=\S*)$"
                said = t.boots_and_says(image, pattern)
                assert said[2] == "mode=600 proof=lab-1-in-1", said[2]

            if said:
                told = re.fullmatch(r"https://[^/]*/secrets/([\w-]{43})", said[1])
                assert told, f"no address of secrets: {said[1]}"
                token = told[1]
                with t.subtest(f"they are gone once they were read ({through})"):
                    for identity in (None, host.identity("lab-1")):
                        status, answer = host.curl(f"/secrets/{token}", identity=identity)
                        assert status == 404 and "horse" not in answer, answer

                with t.subtest(f"neither they nor their address are in a log ({through})"):
                    host.log.wait_for("secrets read", timeout=10)
                    if host.access:
                        assert host.access.search("GET /g/1/boot.ipxe"), "nginx logs nothing at all"
                    logs = sorted(host.logs.glob(f"{door}-*.log"))
                    assert len(logs) >= (1 if door == "own" else 4), logs
                    for log in logs:
                        for secret in (token, "horse", "lab-1-in-1"):
                            assert secret not in log.read_text(), f"{secret} is in {log}"

            host.publish("lab-1", host.folder("without", "secrets.ipxe"))
            with t.subtest(f"a generation without secrets gets no address, and boots ({through})"):
                pattern = r"(?s)^SECRETS-URL==$.*^FARMGATE-SECRETS (none)$"
                t.boots_and_says(image, pattern, generation=2)
