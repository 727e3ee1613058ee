# What `make test` and `make demo` want of a system that is not Debian.
{
  mkShell,
  farmgate,
  clippy,
  rustfmt,
  cargo-deny,
  shellcheck,
  nixfmt,
  ruff,
  mypy,
  python3,
  curl,
  openssl,
  nginx,
  qemu,
  xorriso,
  mtools,
  dosfstools,
}:

mkShell {
  inputsFrom = [ farmgate ];
  packages = [
    clippy
    rustfmt
    cargo-deny
    shellcheck
    nixfmt
    ruff
    mypy
    python3
    curl
    openssl
    nginx
    qemu
    xorriso
    mtools
    dosfstools
  ];
}
