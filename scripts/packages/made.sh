# shellcheck shell=bash
# The third job of scripts/install-packages, which sources this: what is made here, and left in the
# cache. That is the disk of a boot host, a small Debian of this host's release, made with mmdebstrap,
# which needs root, once; and programs that Debian does not have, or not in the version that counts:
# compiled from crates.io, or from PyPI in a Python environment of their own.

# --- The disk of a boot host ---

# What the boot host of the appliance test consists of, besides what every Debian has. Its kernel is
# the one that gateways boot; dnsmasq is the network's DHCP and DNS. git and ssh bring in a repository, from
# an sshd and an nginx on the same host.
appliance=(systemd systemd-sysv udev dbus kmod nginx curl openssl dnsmasq-base iproute2 procps
  git openssh-client openssh-server)

# make_disk FILE: an ext4 file system with these packages, which appears complete or not at all.
# shellcheck disable=SC2016 # mmdebstrap expands what is in its hook.
make_disk() {
  local temp root size proxies
  on_debian || { say "a boot host is only made on Debian, and this is $host_id"; return 1; }
  ((EUID == 0)) || { say "only root can make a boot host's disk (once: $1)"; return 1; }
  say "making the disk of a boot host, ${#appliance[@]} packages of Debian's $suite, in $1"
  refresh "$suite" || return 1
  temp=$(mktemp -d "$cache/$suite/.unpack.XXXXXX")
  root=$temp/root
  proxies=$temp/proxies
  apt-config dump | grep -E '^Acquire::https?::Proxy' >"$proxies" || true
  if mmdebstrap --mode=root --variant=minbase --architectures=amd64 \
    --include="$(IFS=, && echo "${appliance[*]}")" --aptopt="$proxies" \
    --aptopt='APT::Install-Recommends "false"' --dpkgopt='path-exclude=/usr/share/doc/*' \
    --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
    --customize-hook='cd "$1"/etc && rm -f apt/sources.list dpkg/dpkg.cfg.d/* && : >machine-id' \
    "$suite" "$root" "$cache/apt/$suite/sources.list" >"$temp/log" 2>&1 </dev/null &&
    size=$(du -s --block-size=1M "$root" | cut -f1) &&
    mke2fs -q -t ext4 -d "$root" "$temp/disk" "$((size + 1024))M" >>"$temp/log" 2>&1; then
    mv -T "$temp/disk" "$1"
    rm -rf --one-file-system "$temp"
  else
    tail -n 20 "$temp/log" | sed 's/^/    /' >&2
    rm -rf --one-file-system "$temp"
    return 1
  fi
}

if [[ $purpose == appliance && -z ${FARMGATE_APPLIANCE:-} ]]; then
  key=$({ printf '%s\n' "${appliance[@]}" && declare -f make_disk; } | sha256sum | cut -c1-12)
  FARMGATE_APPLIANCE=$cache/$suite/appliance-$key.ext4
  [[ -e $FARMGATE_APPLIANCE ]] || make_disk "$FARMGATE_APPLIANCE" || fail "no boot host to test with"
fi
[[ -z ${FARMGATE_APPLIANCE:-} ]] || result FARMGATE_APPLIANCE "$FARMGATE_APPLIANCE"

# --- Programs of crates.io and PyPI ---

# python_environment FOLDER PACKAGE...: an environment in the cache with these packages.
python_environment() {
  local folder=$cache/$1
  shift
  [[ $(cat "$folder/.complete" 2>/dev/null) == "$*" ]] && return 0
  say "fetching $* into $folder"
  rm -rf "$folder"
  if ! { python3 -m venv "$folder" && "$folder/bin/pip" install -q "$@"; } >&2; then
    rm -rf "$folder"
    return 1
  fi
  echo "$*" >"$folder/.complete"
}

# A real object store, and a stand-in for Backblaze's, for the tests of buckets and of the store. Where
# one cannot be had, the tests that need it say so, and fail in CI.
if [[ $purpose == test || $purpose == appliance ]]; then
  garage=2.5.0
  # Its admin API hashes a token at each request, which a debug build on an emulated machine does for
  # ten seconds and more.
  profile=(--config 'profile.dev.package.argon2.opt-level=3' --config 'profile.dev.package.blake2.opt-level=3')
  built="$garage ${profile[*]}"
  if [[ -z ${FARMGATE_GARAGE:-} && $(cat "$cache/garage/built" 2>/dev/null) != "$built" ]]; then
    say "building garage $garage into $cache/garage: about three minutes, and 1 GB of memory"
    mkdir -p "$cache/garage"
    # A debug build: a third of the time, and quick enough. Its 750 MB of intermediate files go.
    if CARGO_PROFILE_DEV_DEBUG=0 CARGO_TARGET_DIR=$cache/garage/target \
      cargo install garage --version "$garage" --locked --debug --force --no-default-features \
      --features bundled-libs,lmdb "${profile[@]}" --root "$cache/garage" >"$cache/garage/build.log" 2>&1; then
      echo "$built" >"$cache/garage/built"
    else
      say "WARNING: garage cannot be built, see $cache/garage/build.log: buckets and the store are not tested with it"
    fi
    rm -rf "$cache/garage/target"
  fi
  [[ ${FARMGATE_GARAGE:-} ]] || FARMGATE_GARAGE=$cache/garage/bin/garage
  [[ ! -x $FARMGATE_GARAGE ]] || result FARMGATE_GARAGE "$FARMGATE_GARAGE"
fi

if [[ $purpose == test ]]; then
  if [[ -z ${FARMGATE_B2_PYTHON:-} ]]; then
    python_environment b2sdk b2sdk==2.13.1 ||
      say "WARNING: no b2sdk: buckets are not tested with the stand-in for B2"
    FARMGATE_B2_PYTHON=$cache/b2sdk/bin/python
  fi
  [[ ! -x $FARMGATE_B2_PYTHON ]] || result FARMGATE_B2_PYTHON "$FARMGATE_B2_PYTHON"
fi

# axe-core for `make test-page`. Debian and PyPI have it only inside of other packages; of this one nothing
# else is used.
if [[ $purpose == test ]]; then
  if [[ -z ${FARMGATE_AXE:-} ]]; then
    python_environment axe --no-deps axe-playwright-python==0.1.8 ||
      say "WARNING: no axe-core: the status page is not looked at for barriers"
    for FARMGATE_AXE in "$cache"/axe/lib/python3*/site-packages/axe_playwright_python/axe.min.js; do :; done
  fi
  [[ ! -r $FARMGATE_AXE ]] || result FARMGATE_AXE "$FARMGATE_AXE"
fi

# How a file is formatted depends on the version, so it is one for everybody. scripts/lint says what is
# not checked without these.
if [[ $purpose == lint ]]; then
  python_environment python-lint ruff==0.17.6 mypy==2.4.1 || true
  python_environment yamllint yamllint==1.37.1 || true

  # Does what nixfmt 1.2 does, and Debian has none.
  nixfmt=0.5.3
  if [[ $(cat "$cache/nixfmt/built" 2>/dev/null) != "$nixfmt" ]] && command -v cargo >/dev/null; then
    say "building nixfmt_rs $nixfmt into $cache/nixfmt"
    mkdir -p "$cache/nixfmt"
    if CARGO_TARGET_DIR=$cache/nixfmt/target cargo install nixfmt_rs --version "$nixfmt" --locked \
      --debug --force --root "$cache/nixfmt" >"$cache/nixfmt/build.log" 2>&1; then
      echo "$nixfmt" >"$cache/nixfmt/built"
    fi
    rm -rf "$cache/nixfmt/target"
  fi
fi
