# The boot host of `nix flake init -t`, as it comes.
{ lib, ... }:

let
  inherit ((import ../../../examples/template/farms.nix).farm1) domain;
in
{
  imports = [ ../../../examples/template/boot.nix ];

  services.farmgate.domain = lib.mkForce domain;
  # What the machine of a test has of its own, and room enough for doctor.
  virtualisation.diskSize = 4096;
  services.openssh.enable = lib.mkForce false;
  services.dnsmasq.settings.address = lib.mkForce "/${domain}/192.168.1.1";
  networking.hosts."192.168.1.1" = [ domain ];
}
