"""An unchanged boot host from the template works: a gateway is added, gets its medium there, and boots."""

import json

with subtest("everything that the template deploys has started"):
    failed = host.succeed("systemctl list-units --failed --plain --no-legend 'farmgate*' 'nginx*'")
    assert not failed, failed

with subtest("an image is made without naming iPXE or isolinux, which the module brought"):
    farmgate("gateway add lab-1")
    farmgate("iso make lab-1 -o /var/tmp/lab-1.iso --ntp none")

with subtest("the gateway boots, and acknowledges"):
    publish("lab-1")
    boots("/var/tmp/lab-1.iso", "lab-1")

with subtest("doctor has nothing to say against the host"):
    found = json.loads(host.succeed("farmgate --json doctor"))
    # The test's network has no time server.
    bad = [
        one for one in found if one["verdict"] in ("warning", "error") and one["check"] != "clock"
    ]
    assert not bad, bad
