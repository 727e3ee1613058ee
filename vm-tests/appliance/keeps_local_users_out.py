"""Users of the boot host can neither claim to be nginx nor read a key or a secret."""

import urllib.parse

farmgate("gateway add lab-1")
host.succeed(
    "rm -rf /tmp/generation && mkdir /tmp/generation",
    "printf '#!ipxe\\necho this is the script of lab-1\\nreboot\\n' >/tmp/generation/boot.ipxe",
    "echo PASSWORD=correct-horse >/tmp/generation/secrets",
    "farmgate publish lab-1 /tmp/generation 2>&1",
    "rm -rf /tmp/generation",
)
NOBODY = "runuser -u nobody --"

with subtest("the gateway gets its script, so that there is something to protect"):
    assert "the script of lab-1" in expect(200, "/g/1/boot.ipxe", identity("lab-1"))

with subtest("a user can open neither nginx's socket nor the state"):
    claim = urllib.parse.quote(host.succeed(f"cat {STATE}/gateways/lab-1/*.crt"))
    sha1 = f"openssl x509 -noout -fingerprint -sha1 -in {STATE}/gateways/lab-1/*.crt"
    fingerprint = host.succeed(f"{sha1} | cut -d= -f2 | tr -d : | tr A-F a-f").strip()
    secret = host.succeed(f"cut -d'\"' -f2 {STATE}/proxy-mark.conf").strip()
    claims = "curl --silent --show-error --fail --unix-socket /run/farmgate.sock"
    for name, value in (("Cert", claim), ("Verify", "SUCCESS")):
        claims += f" --header 'X-SSL-Client-{name}: {value}'"
    address = "http://boot.farmgate.test/g/1/boot.ipxe 2>&1"
    forged = f"{claims} --header 'X_Farmgate_Proxy: {secret} {fingerprint}' {address}"
    # nginx sends exactly this.
    assert "the script of lab-1" in host.succeed(forged)
    host.fail(f"{NOBODY} {forged}")
    # A value that anybody can compute is not enough, even for root.
    host.fail(f"{claims} --header 'X_Farmgate_Proxy: {fingerprint}' {address}")
    folders = (
        "",
        "/pki",
        "/gateways",
        "/store",
        "/store/gateways",
        "/store/blobs",
        "/store/private",
        "/cache",
    )
    for folder in folders:
        host.fail(f"{NOBODY} ls {STATE}{folder} 2>&1")

with subtest("no file of the state that holds a key or a secret can be read by a user"):
    holders = host.succeed(f"grep -rlE 'PRIVATE KEY|correct-horse' {STATE}").split()
    for what in ("ca.key", "server.key", "/gateways/lab-1/"):
        assert any(what in path for path in holders), f"{what} is not among {holders}"
    assert len(holders) >= 4, f"the secrets are nowhere: {holders}"
    for path in holders:
        host.fail(f"{NOBODY} cat {path} 2>&1")
        # Not even nginx's group can read it.
        mode = host.succeed(f"stat -c %a {path}").strip()
        assert mode.endswith("00"), f"{path} has mode {mode}"

with subtest("a user's own state cannot stand in for the service's"):
    host.fail(f"{NOBODY} farmgate status 2>&1")
    said = host.execute(f"{NOBODY} farmgate status 2>&1")[1]
    assert STATE in said, said
