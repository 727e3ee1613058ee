"""A missing credential file keeps one gateway from its secrets, and no other gateway from booting.

systemd used to refuse to start the whole service.
"""

import re

host.succeed("mkdir -p /run/keys && printf 'PROOF=4711 of $gateway_name\n' >/run/keys/lab-1.env")
for name in ("lab-1", "lab-2", "lab-3"):
    farmgate(f"gateway add {name}")
    publish_script(name)


def secrets_url(name: str) -> str:
    """The path of the secrets that this gateway's boot script gets; empty without secrets."""
    where = re.search(r"(?im)^location: (\S+)", expect(302, "/boot/ipxe", identity(name)))
    assert where, "no address"
    script = expect(200, where[1].strip().removeprefix(BOOT), identity(name))
    told = re.search(r"(?m)^set secrets_url (\S+)", script)
    return told[1].removeprefix(BOOT) if told else ""


with subtest("the gateway whose credential is there gets its secrets"):
    assert "PROOF=4711 of lab-1" in expect(200, secrets_url("lab-1"))

with subtest("a gateway without secrets boots"):
    assert not secrets_url("lab-3")

with subtest(
    "the gateway whose credential is missing is told to come again, and the journal says why"
):
    since = now()
    expect(500, "/g/1/boot.ipxe", identity("lab-2"))
    wait_for_journal(since, "secrets-lab-2 is empty")

with subtest("once the file is there, a restart is all that it wants"):
    host.succeed(
        "printf 'PROOF=4712\n' >/run/keys/lab-2.env", "systemctl restart farmgate.service 2>&1"
    )
    assert "PROOF=4712" in expect(200, secrets_url("lab-2"))
