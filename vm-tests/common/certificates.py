"""Certificates that `farmgate` would not issue, made with openssl from a state's own CA."""

import datetime
import subprocess

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


def issue(authority, name, ends, where):
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


def authority(name, where):
    """A CA of this name; (certificate, key)."""
    where.mkdir(parents=True)
    certificate, key = where / "ca.crt", where / "ca.key"
    openssl(
        *("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={name}", "-days", "30"),
        *("-keyout", key, "-out", certificate),
    )
    return certificate, key


def now():
    return datetime.datetime.now(datetime.timezone.utc)


def openssl_time(moment):
    return moment.strftime("%Y%m%d%H%M%SZ")


def openssl(*arguments):
    """Runs openssl; its standard output."""
    command = ["openssl", *(str(argument) for argument in arguments)]
    done = subprocess.run(command, capture_output=True, timeout=60, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"openssl {arguments[0]}: {done.stderr.decode().strip()}")
    return done.stdout
