# The appliance's promises as NixOS tests: one for each scenario in appliance/, found by name.
{
  lib,
  pkgs,
  nixosModule,
}:

let
  scenarios = lib.filterAttrs (
    name: type: type == "regular" && lib.hasSuffix ".py" name
  ) (builtins.readDir ./appliance);

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
    file:
    pkgs.testers.runNixOSTest {
      name = "farmgate-${lib.removeSuffix ".py" file}";
      # Without KVM a boot takes a minute, and no scenario has more than a handful.
      globalTimeout = 20 * 60;
      nodes.host.imports = [
        nixosModule
        ./common/host.nix
      ];
      testScript = lib.concatStringsSep "\n" [
        backend
        (builtins.readFile ./common/appliance.py)
        (builtins.readFile (./appliance + "/${file}"))
      ];
    };
in
lib.mapAttrs' (
  file: _:
  let
    promise = lib.replaceStrings [ "_" ] [ "-" ] (lib.removeSuffix ".py" file);
  in
  lib.nameValuePair "vm-${promise}" (test file)
) scenarios
