"""With network.conf, the service reaches a store and a bucket provider; without it, gateways still boot."""

import re

KEY, SECRET, TOKEN = f"GK{'1f' * 12}", "5e" * 32, "unmistakable-admin-token"
# By a name that is looked up, and by TLS with a certificate that the system trusts, as at any
# provider's. The test's DNS server knows all names below its own.
NAME = "s3.boot.farmgate.test"
S3, ADMIN = f"https://{NAME}:3943", f"https://{NAME}:3944"
BUNDLE = "/etc/ssl/certs/ca-certificates.crt"
DROPINS = "/etc/systemd/system/farmgate.service.d"
READY = "curl --silent --fail http://127.0.0.1:9180/readyz"

GARAGE = f"""\
metadata_dir = "/var/lib/garage/meta"
data_dir = "/var/lib/garage/data"
db_engine = "lmdb"
lmdb_map_size = "256M"
compression_level = "none"
replication_factor = 1
rpc_bind_addr = "127.0.0.1:3901"
rpc_public_addr = "127.0.0.1:3901"
rpc_secret = "{"5a" * 32}"
[s3_api]
s3_region = "garage"
api_bind_addr = "127.0.0.1:3900"
[admin]
api_bind_addr = "127.0.0.1:3903"
admin_token = "{TOKEN}"
"""
GARAGE_UNIT = f"""\
[Service]
ExecStart={bring("garage")} -c /etc/garage.toml server --single-node --default-bucket
Environment=GARAGE_DEFAULT_ACCESS_KEY={KEY} GARAGE_DEFAULT_SECRET_KEY={SECRET}
Environment=GARAGE_DEFAULT_BUCKET=farm
"""
# Garage itself speaks no TLS.
PROXIES = "".join(
    f"server {{ listen {ADDRESS}:{port} ssl; server_name {NAME}; client_max_body_size 0;\n"
    "ssl_certificate /tmp/tls/crt; ssl_certificate_key /tmp/tls/key;\n"
    f"location / {{ proxy_pass http://127.0.0.1:{to}; proxy_set_header Host $http_host; }} }}\n"
    for port, to in ((3943, 3900), (3944, 3903))
)
SETTINGS = f"""
[store]
url = "s3://farm/hosts"
endpoint = "{S3}"
region = "garage"
interval = "2s"
timeout = "60s"

[buckets]
provider = "s3"
api-url = "{ADMIN}"
s3-endpoint = "{S3}"
s3-region = "garage"
timeout = "60s"
"""
CREDENTIALS = """\
[Service]
LoadCredential=store:/etc/farmgate/store
LoadCredential=bucket-provider:/etc/farmgate/bucket-provider
"""


def write(path: str, text: str, mode: str = "644") -> None:
    host.succeed(f"install -D -m {mode} /dev/null {path} && printf %s {shlex.quote(text)} >{path}")


def wait_for_garage() -> None:
    host.wait_until_succeeds("curl --silent --fail http://127.0.0.1:3903/health")


def garage_answers(status: int, path: str, options: str = "", key: str = f"{KEY}:{SECRET}") -> str:
    """Garage's answer to another client than farmgate, which must have this status."""
    sign = f"--aws-sigv4 aws:amz:garage:s3 --user {key}"
    sign += " --header 'x-amz-content-sha256: UNSIGNED-PAYLOAD'"
    return expect(status, path, f"{sign} {options}", S3, BUNDLE)


def wait_until_ready_says(text: str) -> str:
    command = f"{READY} | tee /tmp/ready | grep -F -- {shlex.quote(text)} && cat /tmp/ready"
    return host.wait_until_succeeds(command)


def script() -> str:
    """The script of a new boot."""
    where = re.search(r"(?im)^location: (\S+)", expect(302, "/boot/ipxe", mine))
    assert where, "no address"
    return expect(200, where[1].removeprefix(BOOT), mine)


def value(name: str, of: str) -> str:
    found = re.search(rf"(?m)^set {name} (\S+)", of)
    assert found, f"no {name} in the script:\n{of}"
    return found[1]


def wait_until_another_host_hears(generation: int) -> None:
    """Waits until it hears that the gateway has booted this generation, and acknowledged."""
    other = "farmgate --state /root/host-2"
    good = f"grep -E '^[* ] +{generation} .* yes *$'"
    host.wait_until_succeeds(
        f"CREDENTIALS_DIRECTORY=/etc/farmgate {other} store sync && {other} generations lab-1 | {good}",
    )


image = make_gateway("lab-1")
publish_script("lab-1")
mine = identity("lab-1")
request = "openssl req -newkey rsa:2048 -nodes"
host.succeed(
    "mkdir /tmp/tls",
    f"{request} -x509 -days 30 -subj /CN=public -keyout /tmp/tls/ca.key -out {BUNDLE} 2>&1",
    f"{request} -subj /CN={NAME} -keyout /tmp/tls/key -out /tmp/tls/request 2>&1",
    f"printf 'subjectAltName=DNS:{NAME}' >/tmp/tls/extensions",
    f"openssl x509 -req -in /tmp/tls/request -CA {BUNDLE} -CAkey /tmp/tls/ca.key -days 30 "
    "-CAcreateserial -extfile /tmp/tls/extensions -out /tmp/tls/crt 2>&1",
)
write("/etc/resolv.conf", f"nameserver {ADDRESS}\n")
write("/etc/nginx/conf.d/garage.conf", PROXIES)
write("/etc/garage.toml", GARAGE, "600")
write("/run/systemd/system/garage.service", GARAGE_UNIT)
write("/etc/farmgate/store", f'access-key-id = "{KEY}"\nsecret-access-key = "{SECRET}"\n', "600")
write("/etc/farmgate/bucket-provider", f'admin-token = "{TOKEN}"\n', "600")
write(f"{DROPINS}/credentials.conf", CREDENTIALS)
host.succeed(
    f"printf %s {shlex.quote(SETTINGS)} >>{STATE}/farmgate.toml",
    "systemctl daemon-reload && systemctl reload nginx.service 2>&1",
    "systemctl start garage.service",
)

with subtest("without network.conf gateways boot, and the service says that it reaches nobody"):
    since = now()
    host.succeed("systemctl restart farmgate.service")
    wait_for_journal(since, "gateways boot from local files")
    said = wait_until_ready_says("warning: the bucket of lab-1 is failed")
    assert "store away since" in said, said
    assert "s3_bucket_name" not in script()
    wait = "systemctl status farmgate.service | grep -F 'store away since'"
    host.wait_until_succeeds(wait, timeout=180)
    wait_for_garage()
    garage_answers(200, "/farm?list-type=2")

with subtest("with it the store gets in sync: what is here is in the bucket"):
    host.succeed(
        f"cp /usr/share/doc/farmgate/network.conf {DROPINS}/",
        "systemctl daemon-reload && systemctl restart farmgate.service",
    )
    wait_until_ready_says("store in sync")
    there = re.findall("<Key>hosts/([^<]+)</Key>", garage_answers(200, "/farm?list-type=2"))
    ours = "-type f -not -name lock -not -name journal.jsonl"
    kept = host.succeed(f"cd {STATE}/store && find blobs gateways {ours}").split()
    assert kept and set(kept) <= set(there), f"{kept} are not all in {there}"

with subtest("a boot that is acknowledged here is known to another host"):
    host.succeed("farmgate store new-host /root/host-2")
    expect(200, value("ack_url", script()).removeprefix(BOOT), "--data ''")
    wait_until_another_host_hears(1)

with subtest("the gateway has a bucket, and a key that opens no other"):
    host.wait_until_succeeds("farmgate bucket list | grep -E 'lab-1 .* ready'")
    boot = script()
    bucket = value("s3_bucket_name", boot)
    key = f"{value('s3_access_key_id', boot)}:{value('s3_access_key', boot)}"
    garage_answers(200, f"/{bucket}/cache", "--request PUT --data-binary hello", key)
    assert "hello" in garage_answers(200, f"/{bucket}/cache", "", key)
    garage_answers(403, "/farm?list-type=2", "", key)
    assert "warning" not in host.succeed(READY)

with subtest("a reload takes nothing of that away"):
    reload()
    wait_until_ready_says("store in sync")
    assert "s3_bucket_name" in script()

with subtest("`farmgate store sync` by root works beside the server, and leaves it the state"):
    roots = f"find {STATE} -type f -user root"
    before = host.succeed(roots)
    publish_script("lab-1")
    host.succeed(f"CREDENTIALS_DIRECTORY=/etc/farmgate farmgate --state {STATE} store sync 2>&1")
    assert host.succeed(roots) == before
    wait_until_ready_says("store in sync")

with subtest("the store is killed: a new generation boots all the same, and is acknowledged"):
    host.succeed("systemctl kill --signal=KILL garage.service")
    wait_until_ready_says("store away since")
    publish("lab-1")
    boots(image, "lab-1", generation=3)

with subtest("it is back: all is delivered, and known to the other host"):
    host.succeed("systemctl start garage.service")
    wait_for_garage()
    wait_until_ready_says("store in sync")
    wait_until_another_host_hears(3)

with subtest(
    "the service is locked up as before, but for the internet: an exposure of 1.5 or below"
):
    rated = host.succeed("systemd-analyze security --no-pager --threshold=15 farmgate.service 2>&1")
    print(f"       {rated.strip().splitlines()[-1].encode('ascii', 'replace').decode()}")
    families = host.get_unit_property("farmgate.service", "RestrictAddressFamilies").split()
    assert sorted(families) == ["AF_INET", "AF_INET6", "AF_UNIX"], families
    # This needs a socket of another family.
    host.succeed("bridge link")
    override("farmgate.service", "[Service]\nExecStartPost=-bridge link\n")
    since = now()
    host.succeed("systemctl restart farmgate.service")
    wait_for_journal(since, "Address family not supported by protocol")
    pid = host.get_unit_property("farmgate.service", "MainPID")
    assert host.succeed(f"stat -c %U /proc/{pid}").strip() == "farmgate"
    for path in ("/etc", "/var/log"):
        host.fail(f"nsenter --target {pid} --mount touch {path}/farmgate-was-here 2>&1")

with subtest(
    "the credentials are for the service's eyes alone, in no log and nowhere in the state"
):
    credentials = "/run/credentials/farmgate.service"
    for secret, file in ((SECRET, "store"), (TOKEN, "bucket-provider")):
        host.succeed(f"runuser -u farmgate -- grep -F {secret} {credentials}/{file}")
        host.fail(f"runuser -u www-data -- cat {credentials}/{file} 2>&1")
        host.fail(f"journalctl --no-pager -u farmgate | grep -F {secret}")
        host.fail(f"grep -rF {secret} {STATE}")
