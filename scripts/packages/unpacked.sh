# shellcheck shell=bash
# The second job of scripts/install-packages, which sources this: what only has to lie in a file (iPXE,
# a kernel, a static busybox), or would start a service or hook into the boot loader when installed
# (nginx, ipxe, a kernel), is downloaded with `apt-get download` and unpacked into the cache. That needs
# no root, changes nothing on the system, and works for a later suite as well: Debian 12's own iPXE is
# too old. A download is accepted only with the Debian archive's signature.

ipxe_suite=trixie    # 1.21.1+git20250501: the oldest with HTTPS that works for BIOS and UEFI
ipxe2_suite=forky    # 2.0.0: also speaks ECDSA
# What the gateways run comes from this host's own release, or Debian 12's on others.
suite=${host_codename:-bookworm}
on_debian || suite=bookworm

# --- How it is fetched ---

# apt-get with its own lists and cache for one suite, beside the system's configuration of proxies
# and the like.
apt_private() {
  local suite=$1
  shift
  local dir=$cache/apt/$suite
  local tool=$1
  shift
  "$tool" \
    -o "Dir::Etc::SourceList=$dir/sources.list" -o Dir::Etc::SourceParts=/dev/null \
    -o Dir::Etc::Preferences=/dev/null -o Dir::Etc::PreferencesParts=/dev/null \
    -o "Dir::State::Lists=$dir/lists" -o "Dir::Cache=$dir/cache" \
    -o "APT::Sandbox::User=$(id -un)" -o APT::Architecture=amd64 -o APT::Architectures::=amd64 \
    -o Acquire::Languages=none -o Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false \
    -o Acquire::Retries=2 -o APT::Update::Error-Mode=any -o Acquire::http::Timeout=60 \
    -o Acquire::https::Timeout=60 -q "$@" </dev/null
}

# The system's own mirrors, the likeliest first. Which of them is Debian's main archive shows when
# the wanted suite is asked of it: only a release signed by Debian's key is taken.
mirrors() {
  # shellcheck disable=SC2016 # These are apt's variables.
  apt-get indextargets --format '$(ORIGIN)/$(LABEL)|$(SITE)' 'Created-By: Packages' 2>/dev/null |
    awk -F'|' '$2 ~ /^cdrom:/ { next }
      { rank = 3 }
      $2 ~ /debian\/?$|debian\.list$/ { rank = 2 }
      $1 == "Debian/Debian" { rank = 1 }
      !seen[$2]++ { print rank "|" $2 }' |
    sort -s -t'|' -k1,1n | cut -d'|' -f2
}

# Refreshes the private lists of a suite, once per run.
declare -A refreshed=()
refresh() {
  local suite=$1 dir=$cache/apt/$1 keyring='' candidate mirror
  [[ ${refreshed[$suite]:-} ]] && return 0
  for candidate in /usr/share/keyrings/debian-archive-keyring.{pgp,gpg}; do
    [[ -r $candidate ]] && keyring=$candidate && break
  done
  [[ $keyring ]] || { say "no Debian archive keyring here (package debian-archive-keyring)"; return 1; }
  mkdir -p "$dir/lists/partial" "$dir/cache/archives/partial"
  : >"$dir/update.log"
  while read -r mirror; do
    echo "deb [arch=amd64 signed-by=$keyring] $mirror $suite main" >"$dir/sources.list"
    if apt_private "$suite" apt-get update >>"$dir/update.log" 2>&1 &&
      [[ $(apt_private "$suite" apt-cache show dpkg 2>/dev/null) == *"Package: dpkg"* ]]; then
      refreshed[$suite]=yes
      return 0
    fi
  done < <(mirrors)
  say "none of the system's apt sources gave the suite $suite:"
  sed 's/^/    /' "$dir/update.log" >&2 2>/dev/null || say "(there are no apt sources)"
  return 1
}

# unpack SUITE PACKAGE: leaves the package's files in $cache/SUITE/PACKAGE.
unpack() {
  [[ -d $cache/$1/$2 ]] && return 0
  announce "$@" || return 1
  unpack_into "$1" "$2" "$2" || return 1
  say "have $(cat "$cache/$1/$2/.packages")"
}

# unpack_with_all SUITE NAME PACKAGE...: leaves the files of these packages, and of all that they depend
# on, together in $cache/SUITE/NAME.
unpack_with_all() {
  local suite=$1 name=$2 all=()
  shift 2
  [[ -d $cache/$suite/$name ]] && return 0
  announce "$suite" "$@" "and what they need" || return 1
  mapfile -t all < <(apt_private "$suite" apt-cache depends --recurse --no-recommends --no-suggests \
    --no-conflicts --no-breaks --no-replaces --no-enhances "$@" | grep '^[a-z0-9]' | sort -u)
  unpack_into "$suite" "$name" "${all[@]/%//$suite}"
}

# announce SUITE PACKAGE...: says what is fetched, and makes the suite's lists ready.
announce() {
  on_debian || { say "${*:2}: only fetched on Debian, and this is $host_id"; return 1; }
  say "fetching ${*:2} from Debian's $1 into $cache/$1"
  refresh "$1"
}

# unpack_into SUITE NAME PACKAGE...: leaves the files of exactly these packages in $cache/SUITE/NAME.
# The directory appears complete or not at all, so a torn download spoils nothing.
unpack_into() {
  local suite=$1 target=$cache/$1/$2 temp
  shift 2
  mkdir -p "$cache/$suite"
  temp=$(mktemp -d "$cache/$suite/.unpack.XXXXXX")
  if (cd "$temp" && apt_private "$suite" apt-get download "$@" >download.log 2>&1 && mkdir root &&
    for deb in ./*.deb; do dpkg-deb -x "$deb" root && basename "$deb" || exit 1; done >packages); then
    mv "$temp/packages" "$temp/root/.packages"
    chmod -R u+rwX "$temp/root"
    mv -T "$temp/root" "$target"
    rm -rf "$temp"
  else
    sed 's/^/    /' "$temp/download.log" >&2
    rm -rf "$temp"
    return 1
  fi
}

# The package that a metapackage stands for.
real_package() {
  apt_private "$1" apt-cache depends --important "$2" 2>/dev/null |
    awk -v want="$3" '$1 == "Depends:" && $2 ~ want && !found++ { print $2 }'
}

# What an interrupted run left.
rm -rf "$cache"/*/.unpack.??????

# --- What is fetched ---

[[ $purpose == lint ]] && return 0

# What the agent's initramfs is made of besides the agent.
if [[ $purpose != appliance && -z ${FARMGATE_AGENT_ROOT:-} ]]; then
  FARMGATE_AGENT_ROOT=$cache/$suite/agent
  unpack_with_all "$suite" agent crun e2fsprogs busybox-static ca-certificates libgcc-s1 ||
    fail "no packages for the agent's initramfs: name a directory with crun, e2fsprogs, busybox-static, ca-certificates and their libraries in FARMGATE_AGENT_ROOT"
fi
[[ -z ${FARMGATE_AGENT_ROOT:-} ]] || result FARMGATE_AGENT_ROOT "$FARMGATE_AGENT_ROOT"
[[ $purpose == agent ]] && return 0

if [[ -z ${FARMGATE_IPXE:-} ]]; then
  unpack "$ipxe_suite" ipxe ||
    fail "iPXE 1.21.1 or later is missing: name a directory that has ipxe.lkrn and ipxe.efi in FARMGATE_IPXE"
  FARMGATE_IPXE=$cache/$ipxe_suite/ipxe/usr/lib/ipxe
fi
result FARMGATE_IPXE "$FARMGATE_IPXE"

if [[ $purpose != demo && -z ${FARMGATE_IPXE2:-} ]]; then
  if unpack "$ipxe2_suite" ipxe; then
    FARMGATE_IPXE2=$cache/$ipxe2_suite/ipxe/usr/lib/ipxe
  else
    say "WARNING: no iPXE 2.0 from $ipxe2_suite: the P-256 boots will be skipped"
  fi
fi
[[ -z ${FARMGATE_IPXE2:-} ]] || result FARMGATE_IPXE2 "$FARMGATE_IPXE2"

if [[ -z ${FARMGATE_KERNEL:-} ]]; then
  have=("$cache/$suite"/linux-image-*-cloud-amd64/boot/vmlinuz-*)
  if [[ ! -e ${have[0]} ]]; then
    image=
    on_debian && refresh "$suite" &&
      image=$(real_package "$suite" linux-image-cloud-amd64 '^linux-image-[0-9].*cloud-amd64$')
    { [[ $image ]] && unpack "$suite" "$image"; } ||
      fail "no kernel for the gateways to boot: name a bzImage with serial console in FARMGATE_KERNEL"
    have=("$cache/$suite"/linux-image-*-cloud-amd64/boot/vmlinuz-*)
  fi
  FARMGATE_KERNEL=${have[-1]}
fi
result FARMGATE_KERNEL "$FARMGATE_KERNEL"

if [[ -z ${FARMGATE_BUSYBOX:-} ]]; then
  # Not installed: the package would replace the system's busybox.
  unpack "$suite" busybox-static ||
    fail "no userspace for the gateways to boot: name a static busybox in FARMGATE_BUSYBOX"
  for have in "$cache/$suite"/busybox-static/{usr/,}bin/busybox; do
    [[ -x $have ]] && FARMGATE_BUSYBOX=$have && break
  done
fi
result FARMGATE_BUSYBOX "$FARMGATE_BUSYBOX"

if [[ $purpose != demo && -z ${FARMGATE_NGINX:-} ]]; then
  if ! FARMGATE_NGINX=$(command -v nginx); then
    # Not installed: its package starts a server on port 80.
    unpack "$suite" nginx || fail "nginx is missing: name the program in FARMGATE_NGINX"
    FARMGATE_NGINX=$cache/$suite/nginx/usr/sbin/nginx
    "$FARMGATE_NGINX" -v >/dev/null 2>&1 ||
      fail "the nginx that was fetched does not run here: $("$FARMGATE_NGINX" -v 2>&1 | head -n1)"
  fi
fi
[[ -z ${FARMGATE_NGINX:-} ]] || result FARMGATE_NGINX "$FARMGATE_NGINX"

# The rest is for the tests in Rust. Where one of these cannot be had, the tests that need it say so, and
# fail in CI.
[[ $purpose == test ]] || return 0

if [[ -z ${FARMGATE_RCLONE:-} ]] && ! FARMGATE_RCLONE=$(command -v rclone); then
  unpack "$suite" rclone || say "WARNING: no rclone: keys of buckets are not tested with it"
  FARMGATE_RCLONE=$cache/$suite/rclone/usr/bin/rclone
fi
[[ ! -x $FARMGATE_RCLONE ]] || result FARMGATE_RCLONE "$FARMGATE_RCLONE"

if [[ -z ${FARMGATE_REGISTRY:-} ]] && ! FARMGATE_REGISTRY=$(command -v docker-registry); then
  # Not installed: its package starts a server.
  unpack "$suite" docker-registry || say "WARNING: no docker-registry: images are not fetched from a real one"
  FARMGATE_REGISTRY=$cache/$suite/docker-registry/usr/bin/docker-registry
fi
[[ ! -x $FARMGATE_REGISTRY ]] || result FARMGATE_REGISTRY "$FARMGATE_REGISTRY"

if [[ -z ${FARMGATE_SSHD:-} ]] && ! FARMGATE_SSHD=$(command -v sshd); then
  # Not installed: its package starts a server on port 22.
  unpack "$suite" openssh-server || say "WARNING: no sshd: git is not tested by ssh"
  FARMGATE_SSHD=$cache/$suite/openssh-server/usr/sbin/sshd
fi
if [[ -x $FARMGATE_SSHD ]]; then
  # Run by root, it wants this user, which its package makes.
  if ((EUID == 0)) && ! getent passwd sshd >/dev/null; then
    useradd --system --no-create-home --home-dir /run/sshd --shell /usr/sbin/nologin sshd ||
      say "WARNING: no user sshd: git is not tested by ssh"
  fi
  result FARMGATE_SSHD "$FARMGATE_SSHD"
fi

if [[ -z ${FARMGATE_PROMTOOL:-} ]] && ! FARMGATE_PROMTOOL=$(command -v promtool); then
  # Not installed: its package starts a server.
  unpack "$suite" prometheus || say "WARNING: no promtool: /metrics is not read by Prometheus's own parser"
  FARMGATE_PROMTOOL=$cache/$suite/prometheus/usr/bin/promtool
fi
[[ ! -x $FARMGATE_PROMTOOL ]] || result FARMGATE_PROMTOOL "$FARMGATE_PROMTOOL"
