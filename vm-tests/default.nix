# The appliance's promises as NixOS tests: one for each scenario in appliance/, found by name. What only NixOS
# has is in appliance/nixos/, where a scenario may have a module for its host beside it.
{
  lib,
  pkgs,
  nixosModule,
}:

let
  scenariosIn =
    folder:
    lib.mapAttrs' (file: _: lib.nameValuePair (lib.removeSuffix ".py" file) (folder + "/${file}")) (
      lib.filterAttrs (name: type: type == "regular" && lib.hasSuffix ".py" name) (
        builtins.readDir folder
      )
    );
  scenarios = scenariosIn ./appliance // scenariosIn ./appliance/nixos;

  # gateway() as this driver can do it.
  backend =
    lib.replaceStrings
      [
        "@qemu@"
        "@ovmf_code@"
        "@ovmf_variables@"
      ]
      [
        "${pkgs.qemu_test}/bin/qemu-system-x86_64"
        "${pkgs.OVMF.firmware}"
        "${pkgs.OVMF.variables}"
      ]
      (builtins.readFile ./common/nixos_gateway.py);

  test =
    name: script:
    let
      module = ./appliance/nixos + "/${name}.nix";
    in
    pkgs.testers.runNixOSTest {
      name = "farmgate-${name}";
      # Without KVM a boot takes a minute, and no scenario has more than a handful.
      globalTimeout = 30 * 60;
      nodes.host.imports = [
        nixosModule
        ./common/host.nix
      ]
      ++ lib.optional (builtins.pathExists module) module;
      testScript = lib.concatStringsSep "\n" [
        (builtins.readFile ./common/console.py)
        backend
        (builtins.readFile ./common/appliance.py)
        (builtins.readFile script)
      ];
    };
in
lib.mapAttrs' (
  name: script: lib.nameValuePair "vm-${lib.replaceStrings [ "_" ] [ "-" ] name}" (test name script)
) scenarios
