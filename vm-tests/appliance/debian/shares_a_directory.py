"""A store in a directory needs ReadWritePaths= in the hardened service; without it, gateways still boot."""

SHARED = "/srv/farm"
READY = "curl --silent --fail http://127.0.0.1:9180/readyz"

farmgate("gateway add lab-1")
publish_script("lab-1")
mine = identity("lab-1")
host.succeed(
    f"install -d -o farmgate -g farmgate -m 700 {SHARED}",
    f'printf \'\\n[store]\\nurl = "file://{SHARED}"\\ninterval = "2s"\\n\' >>{STATE}/farmgate.toml',
)

with subtest("without it gateways boot, and the service says that it cannot write there"):
    since = now()
    host.succeed("systemctl restart farmgate.service")
    wait_for_journal(since, "Read-only file system")
    expect(302, "/boot/ipxe", mine)
    assert "store away since" in host.succeed(READY)

with subtest("with it the store gets in sync: what is here is there"):
    override("farmgate.service", f"[Service]\nReadWritePaths=-{SHARED}\n")
    host.succeed("systemctl restart farmgate.service")
    host.wait_until_succeeds(f"{READY} | grep 'store in sync'", timeout=180)
    there = host.succeed(f"cd {SHARED} && find blobs gateways -type f").split()
    ours = "-type f -not -name lock -not -name journal.jsonl"
    kept = host.succeed(f"cd {STATE}/store && find blobs gateways {ours}").split()
    assert kept and set(kept) <= set(there), f"{kept} are not all in {there}"
