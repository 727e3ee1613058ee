"""Certificates that `farmgate` would not issue, made with openssl from a state's own CA."""

import datetime
import subprocess
from pathlib import Path

from .host import BootHost
from .host import Identity
from .process import Word

_CONFIGURATION = """\
[ca]
default_ca = this
[this]
new_certs_dir = {where}
database = {where}/index.txt
serial = {where}/serial
default_md = sha256
policy = any
x509_extensions = client
unique_subject = no
[any]
commonName = supplied
[client]
basicConstraints = critical, CA:false
keyUsage = critical, digitalSignature, keyEncipherment
extendedKeyUsage = clientAuth
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
"""


def issue(authority: Identity, name: str, ends: datetime.datetime, where: Path) -> Identity:
    """A client certificate for `name` that ends at `ends`; (certificate, key)."""
    where.mkdir(parents=True)
    certificate, key, request = where / "gateway.crt", where / "gateway.key", where / "request.pem"
    configuration = where / "openssl.cnf"
    configuration.write_text(_CONFIGURATION.format(where=where))
    (where / "index.txt").touch()
    (where / "serial").write_text("7f00000000000001\n")
    ca_certificate, ca_key = authority
    openssl("genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out", key)
    openssl("req", "-new", "-key", key, "-subj", f"/CN={name}", "-out", request)
    begins = min(ends, now()) - datetime.timedelta(days=1)
    openssl(
        *("ca", "-batch", "-notext", "-config", configuration, "-in", request),
        *("-cert", ca_certificate, "-keyfile", ca_key, "-out", certificate),
        *("-startdate", openssl_time(begins), "-enddate", openssl_time(ends)),
    )
    return certificate, key


def version_1(authority: Identity, name: str, where: Path) -> Identity:
    """A client certificate without extensions: X.509 version 1; (certificate, key).

    `openssl ca` and `openssl x509 -req` make such ones up to OpenSSL 3.1; later ones need to be asked.
    """
    where.mkdir(parents=True)
    certificate, key, configuration = where / "v1.crt", where / "v1.key", where / "openssl.cnf"
    configuration.write_text("[req]\ndistinguished_name = dn\n[dn]\n")
    helped = subprocess.run(["openssl", "req", "-help"], capture_output=True, check=False)
    later = ["-x509v1"] if b"-x509v1" in helped.stdout + helped.stderr else []
    ca_certificate, ca_key = authority
    openssl(
        *("req", "-x509", "-config", configuration, "-newkey", "rsa:2048", "-nodes"),
        *("-subj", f"/CN={name}", "-days", "30", *later),
        *("-CA", ca_certificate, "-CAkey", ca_key, "-keyout", key, "-out", certificate),
    )
    text = openssl("x509", "-noout", "-text", "-in", certificate)
    assert b"Version: 1 " in text, text.decode()
    return certificate, key


def replace_authority(host: BootHost, *options: str) -> None:
    """Replaces the host's own CA with one made by `openssl req -x509` with `options`.

    The server's certificate is its first; gateways that are there lose their way.
    """
    certificate, key_file = host.authority
    openssl(
        *("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=other CA"),
        *("-keyout", str(key_file), "-out", str(certificate), *options),
    )
    (host.state / "pki" / "server.key").unlink()
    host.farmgate("pki", "renew")


def authority(name: str, where: Path) -> Identity:
    """A CA of this name; (certificate, key)."""
    where.mkdir(parents=True)
    certificate, key = where / "ca.crt", where / "ca.key"
    openssl(
        *("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={name}", "-days", "30"),
        *("-keyout", key, "-out", certificate),
    )
    return certificate, key


def now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)


def openssl_time(moment: datetime.datetime) -> str:
    return moment.strftime("%Y%m%d%H%M%SZ")


def openssl(*arguments: Word) -> bytes:
    """Runs openssl; its standard output."""
    command = ["openssl", *(str(argument) for argument in arguments)]
    done = subprocess.run(command, capture_output=True, timeout=60, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"openssl {arguments[0]}: {done.stderr.decode().strip()}")
    return done.stdout
