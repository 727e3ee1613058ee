"""A reload applies a valid configuration, and keeps the old one if the new one is wrong."""

import re

CONFIGURATION = f"{STATE}/farmgate.toml"

farmgate("gateway add lab-1")
publish_script("lab-1")
mine = identity("lab-1")


# The boot is requested once, and its script again and again.
found = re.search(r"(?im)^location: (\S+)", expect(302, "/boot/ipxe", mine))
assert found, "no address"
script = found[1].removeprefix(BOOT)


def public_name() -> str:
    """The public name of the boot host, as the service gives it to booting gateways."""
    told = re.search(r"(?m)^set public_ack_url (\S+)/boot/ack/", expect(200, script, mine))
    return told[1] if told else "none"


with subtest("a changed configuration is in force after a reload, and not before"):
    assert public_name() == "none"
    pid = host.get_unit_property("farmgate.service", "MainPID")
    host.succeed(f"sed -i '1i public-url = \"https://public.farmgate.test\"' {CONFIGURATION}")
    assert public_name() == "none"
    reload()
    assert public_name() == "https://public.farmgate.test"

with subtest("an unknown key: `systemctl reload` fails, and the journal says the key"):
    host.succeed(f"sed -i '1i pubic-url = \"https://wrong.farmgate.test\"' {CONFIGURATION}")
    since = now()
    host.fail("systemctl reload farmgate.service 2>&1")
    wait_for_journal(since, "pubic-url")
    assert public_name() == "https://public.farmgate.test"

with subtest("by a bare SIGHUP too: the old settings stay, and the journal says why"):
    since = now()
    host.succeed(f"kill -HUP {pid}")
    wait_for_journal(since, "not reloaded")
    assert "pubic-url" in journal(since), journal(since)
    assert public_name() == "https://public.farmgate.test"

with subtest("what is right is taken up again, by the same process"):
    host.succeed(f"sed -i '1,2d' {CONFIGURATION}")
    reload()
    assert public_name() == "none"
    assert host.get_unit_property("farmgate.service", "MainPID") == pid
