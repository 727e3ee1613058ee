"""A gateway is identified by its TLS handshake with nginx, whatever headers it sends.

The attacks ask for lab-2's script without a certificate, with lab-1's certificate, and with
another CA's, and always with headers that claim to be lab-2.
"""

import urllib.parse

from common.host import BootHost
from common.host import Identity
from common.scenario import Scenario

MARK = "this is the script of"


def scenario(t: Scenario) -> None:
    with t.boot_host() as host, t.boot_host(name="stranger") as stranger:
        for name in ("lab-1", "lab-2"):
            host.farmgate("gateway", "add", name)
            folder = host.scratch / f"generation-{name}"
            folder.mkdir()
            (folder / "boot.ipxe").write_text(f"#!ipxe\necho {MARK} {name}\nreboot\n")
            host.farmgate("publish", name, folder)
        stranger.farmgate("gateway", "add", "lab-2")

        certificate, _ = host.identity("lab-2")
        claim = urllib.parse.quote(certificate.read_text())
        callers: dict[str, Identity | None] = {
            "without a certificate": None,
            "with lab-1's certificate": host.identity("lab-1"),
            "with another CA's certificate": stranger.identity("lab-2"),
        }
        with host.serving(door="nginx"):
            with t.subtest("lab-2's own certificate gets lab-2's script"):
                status, answer = host.curl("/g/1/boot.ipxe", identity=host.identity("lab-2"))
                assert status == 200 and f"{MARK} lab-2" in answer, f"{status}\n{answer}"
                status, answer = host.curl("/boot/ipxe", identity=host.identity("lab-2"))
                assert status == 302 and "/g/1/boot.ipxe" in answer, f"{status}\n{answer}"

            with t.subtest("lab-2's own certificate with forged headers is still lab-2"):
                options = headers(("X-SSL-Client-Cert", "rubbish"), ("X-SSL-Client-Verify", "NONE"))
                lab2 = host.identity("lab-2")
                status, answer = host.curl("/g/1/boot.ipxe", *options, identity=lab2)
                assert status == 200 and f"{MARK} lab-2" in answer, f"{status}\n{answer}"

            for caller, identity in callers.items():
                for how, options in forgeries(claim).items():
                    with t.subtest(f"nobody becomes lab-2 by {how}, {caller}"):
                        refused(host, identity, options)


def forgeries(claim: str) -> dict[str, list[str]]:
    """Ways to claim lab-2's certificate and nginx's verdict about it."""
    cert, verify = "X-SSL-Client-Cert", "X-SSL-Client-Verify"
    return {
        "forged headers": headers((cert, claim), (verify, "SUCCESS")),
        "forged headers in lower case": headers((cert.lower(), claim), (verify.lower(), "SUCCESS")),
        "forged headers with underscores": headers(
            (cert.replace("-", "_"), claim), (verify.replace("-", "_"), "SUCCESS")
        ),
        "forged headers sent twice": headers(
            (cert, claim), (cert, claim), (verify, "SUCCESS"), (verify, "SUCCESS")
        ),
        "a forged certificate alone": headers((cert, claim)),
        "a forged verdict alone": headers((verify, "SUCCESS")),
        "forged headers named in Connection": headers(
            (cert, claim), (verify, "SUCCESS"), ("Connection", f"close, {cert}, {verify}")
        ),
    }


def headers(*pairs: tuple[str, str]) -> list[str]:
    return [word for name, value in pairs for word in ("--header", f"{name}: {value}")]


def refused(host: BootHost, identity: Identity | None, options: list[str]) -> None:
    for path in ("/g/1/boot.ipxe", "/files/boot.ipxe", "/boot/ipxe"):
        status, answer = host.curl(path, *options, identity=identity)
        assert f"{MARK} lab-2" not in answer, f"{path}: {status}\n{answer}"
        # lab-1 may get its own files; all others get nothing.
        ours = identity and str(identity[0]).startswith(str(host.state))
        assert ours or status in (0, 400, 403), f"{path}: {status}\n{answer}"
        if ours and status == 200:
            assert f"{MARK} lab-1" in answer, f"{path}: {status}\n{answer}"
