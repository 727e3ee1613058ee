"""The first request starts the service, and is answered."""

farmgate("gateway add lab-1")
publish_script("lab-1")
mine = identity("lab-1")

with subtest("the sockets listen, and the service does not run"):
    for unit in ("farmgate.socket", "farmgate-admin.socket"):
        host.wait_for_unit(unit)
    assert host.systemctl("is-active farmgate.service")[1].strip() == "inactive"

with subtest("the first request through nginx is answered, by a service that runs now"):
    expect(302, "/boot/ipxe", mine)
    host.wait_for_unit("farmgate.service")

with subtest("the service says that it is ready, and how many gateways it has"):
    status = host.get_unit_property("farmgate.service", "StatusText")
    assert "1 gateway" in status, status

with subtest("after a stop, a request on the admin socket starts it again"):
    host.succeed("systemctl stop farmgate.service 2>&1")
    assert host.systemctl("is-active farmgate.service")[1].strip() == "inactive"
    assert "ready" in host.succeed(
        "curl --silent --fail --max-time 30 http://127.0.0.1:9180/readyz"
    )
    host.wait_for_unit("farmgate.service")

with subtest("fifty first requests at once are all answered by one service"):
    host.succeed("systemctl stop farmgate.service 2>&1")
    since = now()
    curl = f"curl --silent --parallel --parallel-immediate --parallel-max 50 --max-time 60 --cacert {CA}"
    # Fifty times the same address: what follows # is not sent.
    answers = host.succeed(
        f"{curl} {mine} --output '/tmp/answer-#1' --write-out '%{{http_code}}\n' "
        f"'{BOOT}/g/1/boot.ipxe#[1-50]' | sort | uniq -c"
    )
    # Requests of one gateway wait for each other. When the queue is full, a request is told to come again.
    counts = dict(zip(answers.split()[1::2], map(int, answers.split()[::2]), strict=True))
    assert set(counts) <= {"200", "503"} and sum(counts.values()) == 50, answers
    assert counts["200"] > 10, answers
    assert journal(since).count("Started farmgate") <= 1, journal(since)
