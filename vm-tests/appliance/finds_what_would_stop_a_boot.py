"""`farmgate doctor` finds no problem on a working boot host, and says what is wrong with a broken one."""

import json

farmgate("gateway add lab-1")
publish_script("lab-1")
expect(302, "/boot/ipxe", identity("lab-1"))


def doctor() -> dict[str, list[str]]:
    """What it finds: for each verdict, "check: what", and "fix: what to do" after it."""
    said = host.execute("farmgate --json doctor 2>/dev/null")[1]
    found: dict[str, list[str]] = {"ok": [], "skipped": [], "warning": [], "error": []}
    for finding in json.loads(said):
        found[finding["verdict"]].append(f"{finding['check']}: {finding['what']}")
        found[finding["verdict"]].append(f"fix: {finding.get('way_out', '')}")
    return found


def has(found: dict[str, list[str]], verdict: str, text: str) -> None:
    assert any(text in line for line in found[verdict]), f"no {verdict} {text!r} in {found}"


with subtest("the host that works has no error"):
    found = doctor()
    assert not found["error"], found
    host.succeed("farmgate doctor 2>&1")
    for text in ("server: it runs", "url: https://boot.farmgate.test answers", "files: all of"):
        has(found, "ok", text)

with subtest("nginx without farmgate behind it"):
    host.succeed("systemctl stop farmgate.socket farmgate-admin.socket farmgate.service 2>&1")
    found = doctor()
    has(found, "error", "answers 502: nginx does not reach farmgate")
    has(found, "error", "nothing listens for nginx at /run/farmgate.sock")
    assert host.execute("farmgate doctor 2>&1")[0] == 1
    host.succeed("systemctl start farmgate.socket farmgate-admin.socket 2>&1")
    host.succeed("farmgate doctor 2>&1")

with subtest("no nginx"):
    host.succeed("systemctl stop nginx.service 2>&1")
    has(doctor(), "error", "url: https://boot.farmgate.test cannot be reached")
    host.succeed("systemctl start nginx.service 2>&1")
    host.succeed("farmgate doctor 2>&1")

with subtest("a file of root's, which the server cannot read, and the way out"):
    event = host.succeed(f"ls {STATE}/store/gateways/*/*.json | head -n 1").strip()
    host.succeed(f"chown root {event}")
    found = doctor()
    has(found, "error", event)
    ways_out = [line for line in found["error"] if line.startswith("fix: chown")]
    host.succeed(ways_out[0].removeprefix("fix: "))
    host.succeed("farmgate doctor 2>&1")
