# farmgate: the program, its man pages and completions, and the systemd units.
{
  lib,
  stdenv,
  rustPlatform,
  installShellFiles,
  coreutils,
}:

let
  manifest = (lib.importTOML ./Cargo.toml).package;
in
rustPlatform.buildRustPackage {
  pname = manifest.name;
  inherit (manifest) version;

  # Named one by one, so that a change of the documentation builds nothing anew.
  src = lib.fileset.toSource {
    root = ./.;
    fileset = lib.fileset.unions [
      ./Cargo.toml
      ./Cargo.lock
      ./src
      ./benches
      ./tests
      ./ipxe/address.ipxe
      ./ipxe/autoexec.ipxe
      ./ipxe/config
      ./docs/checks
      ./docs/configuration.md
      ./docs/images.md
      ./docs/volunteer.md
      ./systemd
    ];
  };
  cargoLock.lockFile = ./Cargo.lock;

  nativeBuildInputs = [ installShellFiles ];

  # The integration tests need iPXE, nginx, OpenSSL and a system to be root on: `make test` runs them.
  cargoTestFlags = [ "--lib" ];

  postInstall = ''
    install -m 644 -D -t $out/lib/systemd/system systemd/*.service systemd/*.socket
    install -m 644 -D systemd/farmgate.sysusers.conf $out/lib/sysusers.d/farmgate.conf
    install -m 644 -D systemd/farmgate.tmpfiles.conf $out/lib/tmpfiles.d/farmgate.conf
    substituteInPlace $out/lib/systemd/system/* \
      --replace-quiet /usr/bin/farmgate $out/bin/farmgate \
      --replace-quiet ExecReload=kill ExecReload=${coreutils}/bin/kill \
      --replace-quiet ExecReload=env ExecReload=${coreutils}/bin/env \
      --replace-quiet /usr/lib/farmgate/ $out/lib/farmgate/

    install -m 755 -D -t $out/lib/farmgate systemd/farmgate-ack
  ''
  + lib.optionalString (stdenv.buildPlatform.canExecute stdenv.hostPlatform) ''
    $out/bin/farmgate man --out-dir man
    installManPage man/*
    installShellCompletion --cmd farmgate \
      --bash <($out/bin/farmgate completions bash) \
      --zsh <($out/bin/farmgate completions zsh) \
      --fish <($out/bin/farmgate completions fish)
  '';

  meta = {
    inherit (manifest) description;
    homepage = manifest.repository;
    changelog = "${manifest.repository}/blob/main/CHANGELOG.md";
    license = with lib.licenses; [
      mit
      asl20
    ];
    mainProgram = "farmgate";
    platforms = lib.platforms.linux;
  };
}
