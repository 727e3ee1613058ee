"""Booted systems acknowledge under a name with a public certificate; gateways boot only from ours."""

import re

# As a public authority's: who trusts it knows nothing of farmgate's own CA.
PUBLIC = "https://public.farmgate.test"
PUBLIC_CA = "/tmp/public/ca.crt"
REQUEST = "openssl req -newkey rsa:2048 -nodes"

farmgate("gateway add lab-1")
publish_script("lab-1")
mine = identity("lab-1")
host.succeed(
    "mkdir /tmp/public",
    f"echo {ADDRESS} public.farmgate.test >>/etc/hosts",
    f"{REQUEST} -x509 -days 30 -subj /CN=public -keyout /tmp/public/ca.key -out {PUBLIC_CA} 2>&1",
    f"{REQUEST} -subj /CN=public.farmgate.test -keyout /tmp/public/key -out /tmp/public/request 2>&1",
    "printf 'subjectAltName=DNS:public.farmgate.test' >/tmp/public/extensions",
    f"openssl x509 -req -in /tmp/public/request -CA {PUBLIC_CA} -CAkey /tmp/public/ca.key -days 30 "
    "-CAcreateserial -extfile /tmp/public/extensions -out /tmp/public/crt 2>&1",
    f'sed -i \'1i public-url = "{PUBLIC}"\' {STATE}/farmgate.toml',
    "farmgate nginx-config --public-certificate /tmp/public/crt --public-key /tmp/public/key "
    ">/etc/nginx/conf.d/farmgate.conf",
    "systemctl reload nginx.service 2>&1",
)
host.sleep(1)

with subtest("the gateway boots from our name, and is told the public one too"):
    where = re.search(r"(?im)^location: (\S+)", expect(302, "/boot/ipxe", mine))
    assert where, "no address"
    script = expect(200, where[1].strip().removeprefix(BOOT), mine)
    told = re.search(r"(?m)^set public_ack_url (\S+)", script)
    assert told and told[1].startswith(f"{PUBLIC}/boot/ack/"), script
    assert f"set ack_url {BOOT}/boot/ack/" in script, script

with subtest("the booted system acknowledges there, with the public authority's certificate alone"):
    path = told[1].removeprefix(PUBLIC)
    assert ask(path, "--data ''", BOOT, PUBLIC_CA)[0] == 0, "our name has a public certificate"
    assert ask(path, "--data ''", PUBLIC, CA)[0] == 0, "the public name has our certificate"
    expect(200, path, "--data ''", PUBLIC, PUBLIC_CA)
    assert '"good": true' in farmgate("--json generations lab-1")

with subtest("nothing that needs a certificate is there under the public name"):
    for path in ("/boot/ipxe", "/g/1/boot.ipxe", "/files/boot.ipxe", "/farmgate-blobs/"):
        for options in ("", mine):
            expect(404, path, options, PUBLIC, PUBLIC_CA)

with subtest("nor for those who say our name in the request, and the public one in the handshake"):
    for path in ("/boot/ipxe", "/g/1/boot.ipxe"):
        status, answer = ask(path, f"{mine} --header 'Host: boot.farmgate.test'", PUBLIC, PUBLIC_CA)
        assert status in (400, 403, 404, 421), f"{path}: {status}\n{answer}"
