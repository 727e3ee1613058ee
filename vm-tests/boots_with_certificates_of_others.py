"""Certificates that other tools made boot: X.509 version 1, and a server chain with an intermediate.

valve-infra's `openssl ca` makes gateways' certificates without extensions, so of version 1. iPXE knows
only the root's fingerprint: without the root in the server's chain, nothing boots.
"""

from pathlib import Path

from common import certificates
from common.host import BootHost
from common.scenario import Scenario

_EXTENSIONS = """\
[middle]
basicConstraints = critical, CA:true
keyUsage = critical, keyCertSign, cRLSign
[server]
extendedKeyUsage = serverAuth
subjectAltName = IP:10.0.2.2, IP:127.0.0.1
"""


def scenario(t: Scenario) -> None:
    with t.boot_host() as host:
        certificate, key = certificates.version_1(host.authority, "lab-1", host.scratch / "v1")
        host.farmgate("gateway", "add", "lab-1", "--cert", certificate)
        host.publish("lab-1")
        image = host.seal(host.base_image(), certificate, key, "lab-1")
        with host.serving():
            t.together(
                {
                    "version 1 boots under BIOS through own TLS": lambda: t.boots(image),
                    "version 1 boots under UEFI through own TLS": lambda: t.boots(image, "uefi"),
                }
            )
        with host.serving(door="nginx"), t.subtest("version 1 boots through nginx"):
            t.boots(image)
        host.farmgate("gateway", "revoke", "lab-1")
        with host.serving(), t.subtest("once revoked, version 1 does not boot"):
            t.does_not_boot(host, image)

    with t.boot_host(name="chain") as host:
        certificates.replace_authority(host, "-days", "30000")
        leaf, middle = _chain(host)
        image = host.image("lab-1")
        host.publish("lab-1")
        root = host.authority[0]
        server = host.state / "pki" / "server.crt"
        server.write_text("".join(path.read_text() for path in (leaf, middle, root)))
        host.farmgate("serve", "--check")
        with host.serving():
            t.together(
                {
                    "a chain with an intermediate and the root boots under BIOS": (
                        lambda: t.boots(image)
                    ),
                    "a chain with an intermediate and the root boots under UEFI": (
                        lambda: t.boots(image, "uefi")
                    ),
                }
            )
        server.write_text(leaf.read_text() + middle.read_text())
        with t.subtest("a chain without the root is refused by `serve --check`"):
            done = host.run("serve", "--check")
            assert done.returncode == 1 and "missing in the chain" in done.stderr, done.stderr
        with host.serving(), t.subtest("a chain without the root does not boot"):
            t.does_not_boot(host, image)


def _chain(host: BootHost) -> tuple[Path, Path]:
    """(server's certificate, intermediate); the server's key is in its place."""
    where = host.scratch
    (where / "extensions").write_text(_EXTENSIONS)
    middle = _signed(where, "middle", *host.authority)
    leaf = _signed(where, "server", middle, where / "middle.key")
    (host.state / "pki" / "server.key").write_bytes((where / "server.key").read_bytes())
    return leaf, middle


def _signed(where: Path, name: str, issuer: Path, issuer_key: Path) -> Path:
    request, key, path = (where / f"{name}.{end}" for end in ("csr", "key", "crt"))
    certificates.openssl(
        *("req", "-new", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={name}"),
        *("-keyout", key, "-out", request),
    )
    certificates.openssl(
        *("x509", "-req", "-in", request, "-CA", issuer, "-CAkey", issuer_key, "-days", "3000"),
        *("-CAcreateserial", "-extfile", where / "extensions", "-extensions", name, "-out", path),
    )
    return path
