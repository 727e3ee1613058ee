# shellcheck shell=bash
# The first job of scripts/install-packages, which sources this: programs that come with many libraries
# (QEMU, xorriso ...) are installed with apt-get. None of them starts a service. Rust alone is not
# installed, because Debian's is too old: it is only asked for.

# A program or file that must be there, and the package that has it.
wanted=(
  "gcc gcc"
  "/usr/include/stdlib.h libc6-dev"
  "make make"
  "python3 python3"
)
[[ $purpose != lint ]] && wanted+=(
  "curl curl"
  "openssl openssl"
  "qemu-system-x86_64 qemu-system-x86"
  "/usr/share/OVMF/OVMF_CODE_4M.fd ovmf"
  "/usr/lib/ISOLINUX/isolinux.bin isolinux"
  "/usr/lib/ISOLINUX/isohdpfx.bin isolinux"
  "/usr/lib/syslinux/modules/bios/ldlinux.c32 syslinux-common"
)
[[ $purpose == test || $purpose == demo || $purpose == agent ]] && wanted+=(
  "zstd zstd"
  "readelf binutils"
)
# Readers of images that are not ours, so that the tests do not believe our own code, a clock
# that is set to another day, and who reads our unit and our Nix.
[[ $purpose == test || $purpose == appliance ]] && wanted+=(
  "xorriso xorriso"
  "mcopy mtools"
  "fsck.vfat dosfstools"
  "faketime faketime"
  "wget wget"
  "age age"
  "git git"
  "ssh-keygen openssh-client"
  "gpg gpg"
  "gpg-agent gpg-agent"
  "systemd-analyze systemd"
  "man man-db"
  "groff groff-base"
  "nix-instantiate nix-bin"
  "ip iproute2"
  "dnsmasq dnsmasq-base"
)
# Packs what a boot script brings, for the agent's tests.
[[ $purpose == test ]] && wanted+=("cpio cpio")
# Shells that are asked what they complete.
[[ $purpose == test ]] && wanted+=("zsh zsh" "fish fish")
# Pulls images from the boot host, and pushes them into a registry.
[[ $purpose == test ]] && wanted+=("skopeo skopeo")
# For the status page.
[[ $purpose == test ]] && wanted+=("chromium chromium")
[[ $purpose == lint ]] && wanted+=(
  "git git"
  "openssl openssl"
  "shellcheck shellcheck"
)
[[ $purpose == appliance ]] && wanted+=(
  "qemu-img qemu-utils"
  "mmdebstrap mmdebstrap"
  "mke2fs e2fsprogs"
)

missing=() packages=()
for pair in "${wanted[@]}"; do
  read -r thing package <<<"$pair"
  if [[ $thing == /* ]]; then
    [[ -e $thing ]] && continue
  else
    command -v "$thing" >/dev/null && continue
  fi
  missing+=("$thing")
  [[ " ${packages[*]} " == *" $package "* ]] || packages+=("$package")
done

# For what made.sh takes from PyPI; Debian's python3 comes without.
if [[ $purpose == test || $purpose == lint ]] && ! python3 -c 'import ensurepip, venv' 2>/dev/null; then
  missing+=(ensurepip) packages+=(python3-venv)
fi

# Status 1 where that cannot be, after it said what to do.
install_missing() {
  local as_root=()
  if ! on_debian; then
    say "this is not Debian (but $host_id), so install these yourself: ${missing[*]}" \
      "(Debian's names for them: ${packages[*]})"
    return 1
  fi
  if ((EUID != 0)); then
    if ! command -v sudo >/dev/null; then
      say "missing: ${packages[*]}. As root, run: apt-get install ${packages[*]}"
      return 1
    fi
    as_root=(sudo)
  fi
  say "installing with apt-get: ${packages[*]}"
  apt_root() {
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive NEEDRESTART_MODE=l \
      apt-get -q -y -o DPkg::Lock::Timeout=300 "$@" >&2 </dev/null
  }
  apt_root update || say "apt-get update failed; going on with the package lists that are there"
  if ! apt_root install --no-install-recommends "${packages[@]}"; then
    say "apt-get could not install: ${packages[*]}"
    return 1
  fi
}

if ((${#missing[@]})) && ! install_missing; then
  [[ $purpose == lint ]] || exit 1
fi

if ! command -v cargo >/dev/null && [[ -x $HOME/.cargo/bin/cargo ]]; then
  PATH=$HOME/.cargo/bin:$PATH
fi
[[ ${FARMGATE_BIN:-} ]] || command -v cargo >/dev/null ||
  fail "cargo is missing: install Rust 1.89 or later (https://rustup.rs)"
