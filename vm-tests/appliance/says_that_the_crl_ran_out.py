"""An expired CRL keeps every gateway out; the boot host says so, and how to fix it."""

CONFIGURATION = """\
[ca]
default_ca = this
[this]
database = /tmp/crl/index.txt
crlnumber = /tmp/crl/number
default_md = sha256
"""

farmgate("gateway add lab-1")
publish_script("lab-1")
mine = identity("lab-1")
ready = "curl --silent --max-time 30 --write-out '\\n%{http_code}' http://127.0.0.1:9180/readyz"

with subtest("the gateway is served before, and the boot host is ready"):
    expect(302, "/boot/ipxe", mine)
    assert host.succeed(ready).endswith("200")

with subtest("with an expired CRL nginx refuses every gateway"):
    owner = host.succeed(f"stat -c %U:%G {STATE}/pki/crl.pem").strip()
    host.succeed(
        "mkdir /tmp/crl && touch /tmp/crl/index.txt && echo 7F >/tmp/crl/number",
        f"printf %s {shlex.quote(CONFIGURATION)} >/tmp/crl/openssl.cnf",
        "openssl ca -gencrl -config /tmp/crl/openssl.cnf "
        f"-cert {CA} -keyfile {STATE}/pki/ca.key -out {STATE}/pki/crl.pem "
        "-crl_lastupdate 20200101000000Z -crl_nextupdate 20200201000000Z 2>&1",
        f"chown {owner} {STATE}/pki/crl.pem",
        "systemctl reload nginx 2>&1",
    )
    host.wait_until_succeeds(
        f"test $(curl --silent --output /dev/null --write-out '%{{http_code}}' --cacert {CA} {mine} "
        f"{BOOT}/boot/ipxe) = 400",
        timeout=60,
    )

with subtest("the boot host is not ready, and says why and what to do"):
    said = host.succeed(ready)
    assert said.endswith("503") and "crl.pem" in said and "farmgate pki renew" in said, said

with subtest("a reload says it in the journal too"):
    since = now()
    host.execute("systemctl reload farmgate.service 2>&1")
    wait_for_journal(since, "crl.pem expired")

with subtest("what it says mends it"):
    farmgate("pki renew")
    host.succeed("systemctl reload farmgate.service nginx.service 2>&1")
    host.sleep(1)
    expect(302, "/boot/ipxe", mine)
    assert host.succeed(ready).endswith("200")
