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
  hardening =
    pkgs.runCommand "farmgate-hardening" { nativeBuildInputs = [ pkgs.systemd ]; }
      ''
        for unit in ${parts.farmgate}/lib/systemd/system/farmgate.service; do
          systemd-analyze security --offline=true --threshold=15 "$unit" | tee -a $out
        done
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
        ! python3 $find sealed.iso
        ! python3 $find state/gateways/lab-1/*.key
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

  scripts =
    pkgs.runCommand "shell-scripts" { nativeBuildInputs = [ pkgs.shellcheck ]; }
      ''
        shellcheck --shell sh ${./systemd/farmgate-ack}
        shellcheck --severity warning ${./scripts/install-packages} ${./scripts/check-nix}
        touch $out
      '';
in
called "package" (removeAttrs self.packages.${system} [ "default" ])
// called "devShell" self.devShells.${system}
// called "nixos" (lib.mapAttrs (_: host: host.config.system.build.toplevel) hosts)
// {
  inherit hardening scripts;
}
// lib.optionalAttrs (isos != { }) (
  {
    inherit options;
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
