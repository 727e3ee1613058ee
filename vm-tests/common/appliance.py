"""Helpers for the scenarios in vm-tests/appliance/: a boot host and its gateways.

This is the beginning of each scenario's script, not a module. It uses the globals that
vm-tests/README.md lists: `host`, `gateway`, `subtest`. The NixOS driver checks the types of the whole.
"""

import re
import shlex

STATE = "/var/lib/farmgate"
CA = f"{STATE}/pki/ca.crt"
ADDRESS = "192.168.1.1"
BOOT = "https://boot.farmgate.test"
TEST = "/etc/farmgate-test"
# No time server: the test's network has none.
PARTS = f"--ipxe {TEST}/ipxe --syslinux {TEST}/syslinux --ntp none"


def farmgate(words: str) -> str:
    """What a command of farmgate prints; it must succeed."""
    return host.succeed(f"farmgate {words} 2>&1")


def now() -> str:
    """A cursor: this moment in the journal."""
    host.succeed("journalctl --sync")
    shown = host.succeed("journalctl --no-pager --lines=0 --show-cursor")
    return shown.strip().partition("-- cursor: ")[2]


def journal(since: str) -> str:
    """The log lines of all units after the cursor `since`.

    With --unit journalctl would leave out the first line when the cursor is at another unit's.
    """
    return host.succeed(f"journalctl --no-pager --after-cursor='{since}'")


def wait_for_journal(since: str, text: str) -> None:
    """Waits until somebody logs this text after the cursor `since`."""
    lines = f"journalctl --no-pager --after-cursor='{since}'"
    host.wait_until_succeeds(f"{lines} | grep -F -- {shlex.quote(text)}", timeout=120)


def make_gateway(name: str) -> str:
    """Registers a gateway; returns the path of its image on the boot host."""
    farmgate(f"gateway add {name}")
    return make_image(name)


def make_image(name: str) -> str:
    # Not in /tmp, which is empty after a restart.
    farmgate(f"iso make {name} -o /var/tmp/{name}.iso {PARTS}")
    return f"/var/tmp/{name}.iso"


def publish(name: str, change: str = "true") -> None:
    """Publishes the test system for a gateway, after the command `change` was run in its folder.

    It is a generation more, also of the same files.
    """
    host.succeed(
        f"rm -rf /tmp/generation && cp -rL {TEST}/generation /tmp/generation && "
        f"chmod -R u+w /tmp/generation && cp {CA} /tmp/generation/ca.crt && "
        f"cd /tmp/generation && {change} && farmgate publish --force {name} /tmp/generation 2>&1"
    )


def publish_script(name: str) -> None:
    """Publishes only a script, which is enough for tests that do not boot."""
    host.succeed(
        "rm -rf /tmp/generation && mkdir /tmp/generation && cd /tmp/generation && "
        f"printf '#!ipxe\\necho this is the script of {name}\\nreboot\\n' >boot.ipxe && "
        f"farmgate publish --force {name} /tmp/generation 2>&1"
    )


def reload() -> None:
    """Makes the service reload its settings, and waits until it has; systemd does not wait."""
    since = now()
    host.succeed("systemctl reload farmgate.service 2>&1")
    wait_for_journal(since, "INFO reloaded")


def identity(name: str, state: str = STATE) -> str:
    """curl's options for a gateway's certificate and key."""
    where = f"{state}/gateways/{name}"
    files = host.succeed(f"ls {where}/*.crt {where}/*.key").split()
    assert len(files) == 2, f"not one certificate and one key: {files}"
    return f"--cert {files[0]} --key {files[1]}"


def ask(path: str, options: str = "", url: str = BOOT, ca: str = CA) -> tuple[int, str]:
    """(HTTP status, headers and body) of one request; status 0 when there is no answer."""
    curl = f"curl --silent --show-error --include --path-as-is --max-time 60 --cacert {ca}"
    curl += f" {options} --write-out '\\n%{{http_code}}'"
    answer = host.succeed(f"{curl} '{url}{path}' 2>&1 || true")
    # curl's message about a failure comes after the status.
    lines = answer.split("\n")
    status = next((line for line in reversed(lines) if len(line) == 3 and line.isdigit()), "000")
    return int(status), answer


def expect(status: int, path: str, options: str = "", url: str = BOOT, ca: str = CA) -> str:
    """The answer to one request, which must have this status."""
    got, answer = ask(path, options, url, ca)
    assert got == status, f"{url}{path}: {got}, not {status}\n{answer}"
    return answer


def refused(paths: tuple[str, ...], options: str = "", url: str = BOOT) -> None:
    """Requests that must be refused, with no answer at all or with an error status."""
    curl = f"curl --silent --path-as-is --max-time 60 --cacert {CA} {options}"
    curl += " --write-out '%{http_code}\n'"
    urls = " ".join(f"--output /dev/null '{url}{path}'" for path in paths)
    got = host.succeed(f"{curl} {urls} || true").split()
    answers = dict(zip(paths, got, strict=True))
    assert set(got) <= {"000", "400", "403"}, f"{url}: {answers}"


def boots(
    image: str,
    name: str,
    generation: int = 1,
    firmware: str = "bios",
    medium: str = "cd",
) -> None:
    """A gateway with this image boots to userspace, and acknowledges."""
    machine = gateway(image, firmware=firmware, medium=medium)
    machine.start()
    booted = f"FARMGATE-BOOTED gateway={name} generation={generation}"
    machine.wait_for_console_text(booted, timeout=240)
    machine.wait_for_console_text("FARMGATE-ACK ", timeout=180)
    machine.wait_for_shutdown()
    log = machine.get_console_log()
    assert "FARMGATE-ACK yes" in log, f"it does not acknowledge:\n{log[-2000:]}"


def does_not_boot(image: str, firmware: str = "bios", medium: str = "cd") -> None:
    """A gateway with this image asks, is refused, and starts no kernel."""
    machine = gateway(image, firmware=firmware, medium=medium)
    machine.start()
    # The number of an error, after the address that the gateway asked.
    machine.wait_for_console_text(r"boot\.farmgate\.test[\s\S]*ipxe\.org/[0-9a-f]{8}", timeout=240)
    log = machine.get_console_log()
    machine.crash()
    assert "Linux version" not in log and "FARMGATE-BOOTED" not in log, "it boots all the same"


def second_nginx(servers: str) -> None:
    """Starts another nginx with the server blocks in the file `servers`, beside the system's own.

    It runs as the same user and in the group that may open farmgate's socket.
    """
    program = host.succeed("readlink /proc/$(systemctl show -P MainPID nginx)/exe").strip()
    user = host.succeed("ps -o user= --ppid $(systemctl show -P MainPID nginx) | head -n 1").strip()
    group = host.succeed("stat -c %G /run/farmgate.sock").strip()
    paths = "".join(
        f"{kind}_temp_path /run/second-nginx/{kind};"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    text = (
        f"daemon off; pid /run/second-nginx/pid; user {user} {group};\n"
        "error_log stderr info; events { worker_connections 256; }\n"
        f"http {{ access_log off; {paths}\ninclude {servers}; }}\n"
    )
    command = f"{program} -e stderr -c /run/second-nginx/nginx.conf"
    host.succeed(
        "mkdir -p /run/second-nginx",
        f"printf %s {shlex.quote(text)} >/run/second-nginx/nginx.conf",
        "systemctl stop second-nginx 2>/dev/null || true",
        f"{command} -t 2>&1",
        f"systemd-run --collect --unit=second-nginx {command} 2>&1",
    )
    host.wait_until_succeeds("test -s /run/second-nginx/pid", timeout=120)


def override(unit: str, text: str) -> None:
    """Changes a unit until the next start of the machine."""
    host.succeed(
        f"mkdir -p /run/systemd/system/{unit}.d",
        f"printf %s {shlex.quote(text)} >/run/systemd/system/{unit}.d/test.conf",
        "systemctl daemon-reload",
    )


def serves_certless_names_alone(public: str, ca: str, mine: str) -> None:
    """Subtests of a second name: booted systems acknowledge there, and it serves nothing else.

    `public` is its URL, `ca` the file of the authority that it has its certificate from, and `mine`
    curl's options for the identity of lab-1, which has a generation.
    """
    with subtest("the gateway boots from our name, and is told the public one too"):
        where = re.search(r"(?im)^location: (\S+)", expect(302, "/boot/ipxe", mine))
        assert where, "no address"
        script = expect(200, where[1].strip().removeprefix(BOOT), mine)
        told = re.search(r"(?m)^set public_ack_url (\S+)", script)
        assert told and told[1].startswith(f"{public}/boot/ack/"), script
        assert f"set ack_url {BOOT}/boot/ack/" in script, script

    with subtest(
        "the booted system acknowledges there, with the public authority's certificate alone"
    ):
        path = told[1].removeprefix(public)
        assert ask(path, "--data ''", BOOT, ca)[0] == 0, "our name has a public certificate"
        assert ask(path, "--data ''", public, CA)[0] == 0, "the public name has our certificate"
        expect(200, path, "--data ''", public, ca)
        assert '"good": true' in farmgate("--json generations lab-1")

    with subtest("nothing that needs a certificate is there under the public name"):
        for path in ("/boot/ipxe", "/g/1/boot.ipxe", "/files/boot.ipxe", "/farmgate-blobs/"):
            for options in ("", mine):
                expect(404, path, options, public, ca)

    with subtest(
        "nor for those who say our name in the request, and the public one in the handshake"
    ):
        for path in ("/boot/ipxe", "/g/1/boot.ipxe"):
            status, answer = ask(path, f"{mine} --header 'Host: boot.farmgate.test'", public, ca)
            assert status in (400, 403, 404, 421), f"{path}: {status}\n{answer}"
