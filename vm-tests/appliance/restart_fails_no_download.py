"""A restart of the service fails no download and no request, behind nginx and with own TLS.

Fifty slow downloads are under way when it is restarted, and requests come in all the while.
"""

COUNT, BYTES, RATE = 50, 1_000_000, 60_000

# Fifty connections, and beside them one request after the other, each on a new connection. The same
# address fifty times: what follows # is not sent.
SCRIPT = f"""\
cd /tmp/downloads
curl="curl --silent --cacert {CA} $1"
$curl --fail --parallel --parallel-immediate --parallel-max {COUNT} --limit-rate {RATE} --max-time 150 \\
    --range 1000-{1000 + BYTES - 1} --output '#1.part' \\
    --write-out '%{{exitcode}} %{{size_download}} %{{errormsg}}\\n' \\
    "{BOOT}/g/1/vmlinuz#[1-{COUNT}]" >results &
$curl --max-time 100 --header 'Connection: close' --rate 2/s --output '/tmp/answer-#1' \\
    --write-out '%{{http_code}}\\n' "{BOOT}/g/1/boot.ipxe#[1-30]" >answers || true
wait
touch over
"""

farmgate("gateway add lab-1")
publish("lab-1")
mine = identity("lab-1")
host.succeed(f"cat >/tmp/downloads.sh <<'END'\n{SCRIPT}END\n")
# Small buffers, so that what is not fetched yet is not sent yet either.
host.succeed(
    "sysctl --quiet net.ipv4.tcp_rmem='4096 32768 65536' net.ipv4.tcp_wmem='4096 32768 65536'"
)


def downloads_survive() -> None:
    """Restarts the service in the middle of the downloads, and looks at what they and the others got."""
    host.succeed("rm -rf /tmp/downloads && mkdir /tmp/downloads")
    expect(200, "/g/1/boot.ipxe", mine)
    before = host.get_unit_property("farmgate.service", "MainPID")
    host.succeed(f"setsid bash /tmp/downloads.sh '{mine}' </dev/null >/dev/null 2>&1 & true")
    host.wait_until_succeeds(
        f"test $(find /tmp/downloads -name '*.part' -size +8k | wc -l) = {COUNT}", timeout=240
    )
    host.succeed("test ! -s /tmp/downloads/results", "systemctl restart farmgate.service 2>&1")
    assert host.get_unit_property("farmgate.service", "MainPID") != before, "it is the same process"
    host.wait_for_file("/tmp/downloads/over", timeout=300)
    results = host.succeed("sort /tmp/downloads/results | uniq -c")
    assert results.split() == [str(COUNT), "0", str(BYTES)], results
    part = f"head -c {1000 + BYTES} {TEST}/generation/vmlinuz | tail -c {BYTES}"
    got = host.succeed("sha256sum /tmp/downloads/*.part | cut -c1-64 | sort -u")
    assert got == host.succeed(f"{part} | sha256sum | cut -c1-64"), "the bytes are wrong"
    answers = host.succeed("sort /tmp/downloads/answers | uniq -c").split()
    assert answers == ["30", "200"], f"others got {answers}"


with subtest(
    f"{COUNT} downloads through nginx survive a restart, and every other request is answered"
):
    downloads_survive()

with subtest("with own TLS, the service has no network but systemd's socket"):
    host.succeed("systemctl stop nginx.service farmgate.socket farmgate.service 2>&1")
    host.succeed("systemctl start farmgate-tls.socket 2>&1")
    expect(200, "/g/1/boot.ipxe", mine)
    assert host.get_unit_property("farmgate.service", "PrivateNetwork") == "yes"
    pid = host.get_unit_property("farmgate.service", "MainPID")
    links = host.succeed(f"nsenter --target {pid} --net ip -brief link").split("\n")
    assert [line.split()[0] for line in links if line] == ["lo"], links

with subtest(
    f"{COUNT} downloads with own TLS survive a restart, and every other request is answered"
):
    downloads_survive()
