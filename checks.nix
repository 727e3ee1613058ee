# Everything that `nix flake check` builds. Names come from what there is; nothing is listed twice.
{
  lib,
  pkgs,
  self,
  example,
  parts,
}:

let
  system = pkgs.stdenv.hostPlatform.system;
  called = prefix: lib.mapAttrs' (name: lib.nameValuePair "${prefix}-${name}");
  isos = lib.filterAttrs (name: _: lib.hasPrefix "iso-" name) self.packages.${system};
  hosts = lib.filterAttrs (
    _: host: host.pkgs.stdenv.hostPlatform.system == system
  ) example.nixosConfigurations;

  # At most 1.5 of systemd's ten, by systemd's own count.
  hardening = pkgs.runCommand "farmgate-hardening" { nativeBuildInputs = [ pkgs.systemd ]; } ''
    # A user's manager, whose folder can be here: the system's is in /run, which no build has.
    export XDG_RUNTIME_DIR=$PWD/runtime
    mkdir -p "$XDG_RUNTIME_DIR/systemd"
    systemd-analyze security --user --offline=true --threshold=15 \
      ${parts.farmgate}/lib/systemd/system/farmgate.service | tee $out
  '';

  options =
    (pkgs.nixosOptionsDoc {
      options = lib.getAttrs [ "farmgate" "farmgate-gateway" ] (
        example.nixosConfigurations.boot.options.services
        // example.nixosConfigurations.gateway.options.services
      );
      warningsAreErrors = true;
    }).optionsJSON;

  noKeys =
    pkgs.runCommand "no-keys-in-images"
      {
        nativeBuildInputs = [
          parts.farmgate
          pkgs.python3
        ];
        find = ./scripts/find-key-bytes;
        images = lib.attrValues isos;
      }
      ''
        python3 $find $images ${parts.farmgate-ipxe}/*
        # And what has one is found: with a key that is made here and goes no further.
        export FARMGATE_STATE=$PWD/state
        farmgate init --url https://boot.example.org
        farmgate gateway add lab-1
        farmgate iso base --ipxe ${parts.farmgate-ipxe} --syslinux ${pkgs.syslinux} -o base.iso
        python3 $find base.iso
        farmgate iso seal base.iso --gateway lab-1 -o sealed.iso
        for one in sealed.iso state/gateways/lab-1/*.key; do
          if python3 $find "$one"; then
            echo "no key is found in $one, which has one" >&2
            exit 1
          fi
        done
        touch $out
      '';

  # The same image from a derivation that Nix takes for another.
  reproducible =
    name: iso:
    pkgs.runCommand "${name}-is-reproducible"
      { again = iso.overrideAttrs { differs = "in nothing that matters"; }; }
      ''
        [ ${iso} != $again ]
        cmp ${iso} $again
        touch $out
      '';

  # iPXE itself is compiled by package-ipxe, which looks into the result. This shows within a second where
  # its headers go.
  ipxeConfig = pkgs.runCommand "ipxe-config" { } ''
    mkdir -p src/config/local
    ${parts.farmgate-ipxe.postPatch}
    for header in ${./ipxe/config}/*.h; do
      cmp "$header" "src/config/local/$(basename "$header")"
    done
    touch $out
  '';

  shell = lib.fileset.toSource {
    root = ./.;
    fileset = lib.fileset.unions [
      ./.ci
      ./.githooks
      ./debian
      ./scripts
      ./systemd
    ];
  };

  nixFiles = lib.fileset.toSource {
    root = ./.;
    fileset = lib.fileset.fileFilter (file: file.hasExt "nix") ./.;
  };
  formatting = pkgs.runCommand "nix-formatting" { nativeBuildInputs = [ pkgs.nixfmt ]; } ''
    find ${nixFiles} -name '*.nix' -print0 | xargs -0 nixfmt --check
    touch $out
  '';

  scripts = pkgs.runCommand "shell-scripts" { nativeBuildInputs = [ pkgs.shellcheck ]; } ''
    bash ${shell}/scripts/lint shell
    touch $out
  '';
in
called "package" (removeAttrs self.packages.${system} [ "default" ])
// called "devShell" self.devShells.${system}
// called "nixos" (lib.mapAttrs (_: host: host.config.system.build.toplevel) hosts)
// {
  inherit formatting hardening scripts;
}
// lib.optionalAttrs (isos != { }) (
  {
    inherit options;
    ipxe-config = ipxeConfig;
    no-keys-in-images = noKeys;
    refuses-bad-input = pkgs.callPackage ./nixos/bad-input.nix {
      inherit (example.nixosConfigurations) boot;
    };
  }
  // called "reproducible" (lib.mapAttrs reproducible isos)
  // import ./vm-tests {
    inherit lib pkgs;
    nixosModule = self.nixosModules.default;
  }
)
