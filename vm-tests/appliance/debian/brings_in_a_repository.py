"""The service brings in a git repository from within its sandbox: by ssh, by HTTPS, and when a forge says so."""

import base64

GIT, WORK = "/srv/git/fleet.git", "/srv/git/work"
SETTINGS = f"{STATE}/farmgate.toml"
PASSWORD, TOKEN = "unmistakable-password", "unmistakable-token-of-a-forge"
PUSH = f"--header 'X-Gitlab-Event: Push Hook' --header 'X-Gitlab-Token: {TOKEN}' --data"

# The smallest thing that counts as a kernel: a setup header, and as many bytes as it says.
KERNEL = bytearray(2048)
KERNEL[0x1F1], KERNEL[0x1F4], KERNEL[0x1FE:0x200] = 1, 64, b"\x55\xaa"
KERNEL[0x202:0x208] = b"HdrS\x0f\x02"


def as_git(command: str) -> str:
    """Runs a command as the user who owns the repository."""
    return host.succeed(f"runuser -u git -- bash -c {shlex.quote(f'cd {WORK} && {command}')} 2>&1")


def push(mark: str, options: str = "") -> str:
    """Pushes a boot script with this mark; returns the short id of the commit."""
    # All in one: each command on the boot host takes its time.
    script = f"#!ipxe\\necho {mark}\\nkernel --timeout 9 vmlinuz panic=30\\nboot || reboot\\n"
    said = as_git(
        f"printf '{script}' >profiles/debian/boot.ipxe && git add -A && "
        f"git {options} commit --quiet --message {mark} && git push --quiet origin HEAD:main && "
        f"git -C {GIT} update-server-info && git rev-parse HEAD"
    )
    return said.strip()[:12]


def follow(remote: str, more: str = "") -> None:
    """Names this remote in the configuration."""
    section = f'[sync]\\nremote = "{remote}"\\ninterval = "1d"\\n{more}'
    host.succeed(f"sed -i '/^\\[sync\\]/,$d' {SETTINGS} && printf '{section}' >>{SETTINGS}")


def served() -> str:
    """The script of the gateway's next boot."""
    where = re.search(r"(?im)^location: (\S+)", expect(302, "/boot/ipxe", mine))
    assert where, "no address"
    return expect(200, where[1].strip().removeprefix(BOOT), mine)


farmgate("gateway add lab-1")
publish_script("lab-1")
mine = identity("lab-1")
# Each line that is waited for names a commit, a remote or a file, and comes once.
began = now()
kernel = base64.b64encode(KERNEL).decode()
host.succeed(
    "useradd --system --create-home --home-dir /srv/git --shell /bin/bash git",
    "chmod 755 /srv/git",
    "printf '[user]\nname = Ada\nemail = ada@example.org\n[init]\ndefaultBranch = main\n' >/srv/git/.gitconfig",
    f"runuser -u git -- git init --quiet --bare {GIT}",
    f"cd / && runuser -u git -- git clone --quiet {GIT} {WORK} 2>&1",
    f"cd {WORK} && mkdir -p gateways profiles/debian && touch fleet.toml && "
    f"echo {kernel} | base64 --decode >profiles/debian/vmlinuz && "
    "echo 'profile = \"debian\"' >gateways/lab-1.toml && chown -R git: .",
)

with subtest("without network.conf gateways boot on, and the journal says why"):
    # An sshd that lets in one key, to read repositories.
    host.succeed(
        "mkdir -p /run/sshd /etc/farmgate /srv/git/.ssh",
        "ssh-keygen -q -t ed25519 -N '' -C farmgate -f /etc/farmgate/sync-key",
        "cp /etc/farmgate/sync-key.pub /srv/git/.ssh/authorized_keys && chown -R git: /srv/git/.ssh",
        # An exchange of keys that an emulated processor does in little time.
        "ssh-keygen -A 2>&1 && systemd-run --collect --unit=test-sshd /usr/sbin/sshd -D -e "
        f"-o ListenAddress={ADDRESS} -o PasswordAuthentication=no -o KexAlgorithms=curve25519-sha256 2>&1",
    )
    commit = push("by-ssh")
    follow(f"ssh://git@{ADDRESS}{GIT}")
    host.succeed("systemctl enable --now farmgate.service 2>&1")
    wait_for_journal(began, "sync failed, and nothing was changed: cannot fetch main of ssh://")
    assert "this is the script of lab-1" in served()

with subtest("with it, by ssh, with a deploy key and a host key that was written down"):
    # As docs/sync.md says; the files belong to root alone, and systemd hands them over.
    host.succeed(
        f'printf \'username = "farm"\\npassword = "{PASSWORD}"\\n\' >/etc/farmgate/sync',
        f"echo {TOKEN} >/etc/farmgate/sync-webhook",
        "chmod 600 /etc/farmgate/sync /etc/farmgate/sync-webhook",
        "mkdir -p /etc/systemd/system/farmgate.service.d",
        "sed 's/^#LoadCredential=sync/LoadCredential=sync/' /usr/share/doc/farmgate/network.conf "
        ">/etc/systemd/system/farmgate.service.d/network.conf",
        f"ssh-keyscan -t ed25519 {ADDRESS} >{STATE}/sync/known_hosts 2>/dev/null",
        "systemctl daemon-reload && systemctl restart farmgate.service 2>&1",
    )
    wait_for_journal(began, f"sync: in force: {commit} (by-ssh) by Ada")

with subtest("by HTTPS, with a password and a CA of its own, if an allowed signer signed it"):
    host.succeed(
        f"printf 'farm:%s\\n' $(openssl passwd -apr1 {PASSWORD}) >/run/passwords",
        "printf 'server { listen 8444 ssl; root /srv/git; access_log /run/git.log; "
        f"ssl_certificate {STATE}/pki/server.crt; ssl_certificate_key {STATE}/pki/server.key; "
        "auth_basic git; auth_basic_user_file /run/passwords; }\\n' >/etc/nginx/conf.d/git.conf",
        "systemctl reload nginx",
        "runuser -u git -- ssh-keygen -q -t ed25519 -N '' -f /srv/git/signer",
        "(printf 'ada@example.org '; cat /srv/git/signer.pub) >/etc/farmgate/signers",
    )
    follow(f"{BOOT}:8444/fleet.git", f'ca = "{CA}"\\nallowed-signers = "/etc/farmgate/signers"\\n')
    host.succeed("systemctl reload farmgate.service 2>&1")
    wait_for_journal(began, "is not signed by anybody in /etc/farmgate/signers")
    assert " 401 " in host.succeed("cat /run/git.log"), "nobody asked for the password"

with subtest("when a forge says so, through nginx"):
    signed = "-c gpg.format=ssh -c user.signingkey=/srv/git/signer -c commit.gpgsign=true"
    commit = push("signed", signed)
    expect(403, "/update-cfg", f"{PUSH.replace(TOKEN, 'guess')} '{{}}'")
    expect(202, "/update-cfg", f'{PUSH} \'{{"ref": "refs/heads/main"}}\'')
    wait_for_journal(began, f"sync: in force: {commit} (signed) by Ada")
    assert "echo signed" in served()

with subtest("doctor sees it all, and no secret is in the journal or a file of the state"):
    found = host.succeed("CREDENTIALS_DIRECTORY=/etc/farmgate farmgate doctor 2>&1")
    assert re.search(rf"(?m)^ok +sync .* main is at {commit}, which is in force", found), found
    host.fail(f"journalctl --no-pager | grep -F -e {PASSWORD} -e {TOKEN}")
    host.fail(f"grep -rqF -e {PASSWORD} -e {TOKEN} {STATE}")
