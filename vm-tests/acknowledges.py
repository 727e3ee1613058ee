"""systemd/farmgate-ack acknowledges the boot or reports clearly that it could not, and never shows the token.

The unchanged script runs here with another kernel command line; falls_back.py runs it in a booted
system.
"""

import contextlib
import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

from common.host import BootHost
from common.host import free_port
from common.process import Word
from common.process import pause
from common.scenario import Scenario
from common.scenario import Skip

SYSTEMD = Path(__file__).resolve().parent.parent / "systemd"
SCRIPT, UNIT = SYSTEMD / "farmgate-ack", SYSTEMD / "farmgate-ack.service"
INSTALLED = "/usr/lib/farmgate/farmgate-ack"


def scenario(t: Scenario) -> None:
    with t.boot_host() as host, t.boot_host(name="other") as other:
        host.farmgate("gateway", "add", "lab-1")
        for client in ("curl", "wget"):
            host.publish("lab-1")
            with host.serving():
                url = boot(host)
                with t.subtest(f"it acknowledges with {client}"):
                    assert not last(host)["good"]
                    run(host, client, f"quiet farmgate.ack={url} panic=30", says="acknowledged by")
                    assert last(host)["good"], "the boot host does not know of it"

                with t.subtest(f"it trusts nobody but the fleet's own CA ({client})"):
                    ca = other.authority[0]
                    run(
                        host,
                        client,
                        f"farmgate.ack={url}",
                        ca=ca,
                        says="NOT ACKNOWLEDGED",
                        status=1,
                    )

                with t.subtest(f"a token of no boot is refused until it gives up ({client})"):
                    wrong = url[:-1] + ("0" if url[-1] != "0" else "1")
                    run(host, client, f"farmgate.ack={wrong}", says="NOT ACKNOWLEDGED", status=1)

            host.publish("lab-1")
            with t.subtest(f"it asks again until the boot host is there ({client})"):
                with host.serving():
                    url = boot(host)
                asking = start(host, client, f"farmgate.ack={url}", limit=60)
                pause(2)
                with host.serving():
                    finish(asking, url, says="acknowledged by", status=0)
                    assert last(host)["good"], "the boot host does not know of it"

        with t.subtest("without farmgate.ack= there is nothing to do"):
            run(host, "curl", "quiet panic=30", says="nothing to acknowledge")

        with t.subtest("a CA that is not there, an address that is not https: it gives up at once"):
            line = f"farmgate.ack=https://127.0.0.1:{free_port()}/boot/ack/x"
            run(host, "curl", line, ca="/nowhere/ca.crt", says="/nowhere/ca.crt", status=1)
            for url in ("http://127.0.0.1/boot/ack/x", 'https://a/b"c', "https://", "-x"):
                run(host, "curl", f"farmgate.ack={url}", says="not a", status=1)

        with t.subtest("without a kernel command line it says so"):
            line = f"farmgate.ack=https://127.0.0.1:{free_port()}/boot/ack/x"
            finish(
                start(host, "curl", line, cmdline="/nowhere"), line, "/nowhere cannot be read", 1
            )

        with t.subtest("without curl and GNU wget it says so"):
            line = f"farmgate.ack=https://127.0.0.1:{free_port()}/boot/ack/x"
            run(host, None, line, says="neither curl nor GNU wget", status=1)

    with t.subtest("systemd has nothing to say against the unit, and rates it as safe"):
        verify(t)


def boot(host: BootHost) -> str:
    """Begins a boot as the gateway would; its ack_url on the loopback."""
    identity = host.identity("lab-1")
    status, answer = host.curl("/boot/ipxe", identity=identity)
    assert status == 302, answer
    where = re.search(r"(?im)^location: (\S+)", answer)
    assert where, answer
    status, answer = host.curl(where[1], identity=identity)
    assert status == 200, answer
    told = re.search(r"(?m)^set ack_url https://[^/]+(\S+)", answer)
    assert told, answer
    return f"https://127.0.0.1:{host.port}{told[1]}"


def last(host: BootHost) -> Any:
    return json.loads(host.farmgate("--json", "generations", "lab-1"))["generations"][-1]


def start(
    host: BootHost,
    client: str | None,
    line: str,
    ca: Word | None = None,
    limit: int = 2,
    cmdline: Word | None = None,
) -> subprocess.Popen[str]:
    """The script with this kernel command line and no other client than this one."""
    if client and not shutil.which(client):
        raise Skip(f"{client} is not installed")
    tools = host.scratch / f"tools-{client}"
    tools.mkdir(exist_ok=True)
    for name in ("sh", "sleep", client):
        found = name and shutil.which(name)
        if name and found:
            with contextlib.suppress(FileExistsError):
                (tools / name).symlink_to(found)
    written = host.scratch / "cmdline"
    written.write_text(f"{line} farmgate.ca={ca or host.authority[0]}\n")
    environment = {
        "PATH": str(tools),
        "FARMGATE_ACK_CMDLINE": str(cmdline or written),
        "FARMGATE_ACK_TIMEOUT": str(limit),
        "no_proxy": "*",
    }
    return subprocess.Popen(
        [SCRIPT], env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def finish(process: subprocess.Popen[str], line: str, says: str, status: int) -> None:
    said, _ = process.communicate(timeout=90)
    assert process.returncode == status, f"status {process.returncode}, not {status}: {said}"
    assert says in said, said
    token = re.search(r"/boot/ack/([\w.-]{8,})", line)
    assert not token or token[1] not in said, f"the token is in what it says: {said}"


def run(
    host: BootHost, client: str | None, line: str, says: str, status: int = 0, **options: Any
) -> None:
    finish(start(host, client, line, **options), line, says, status)


def verify(t: Scenario) -> None:
    if not shutil.which("systemd-analyze"):
        raise Skip("systemd-analyze is not here")
    copy = t.logs / UNIT.name
    text = UNIT.read_text()
    assert f"ExecStart={INSTALLED}\n" in text
    copy.write_text(text.replace(INSTALLED, str(SCRIPT)))
    rating = ("security", "--offline=true", "--threshold=20")
    for words in (("verify", "--man=no"), rating):
        done = subprocess.run(
            ["systemd-analyze", *words, copy],
            env={**os.environ, "SYSTEMD_COLORS": "0", "SYSTEMD_PAGER": ""},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stdout[-800:] + done.stderr
        # `verify` also says what it does not fail for.
        assert words == rating or not done.stderr.strip(), done.stderr
