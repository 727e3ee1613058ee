# The boot host of a NixOS test: the module as an operator would use it, and the network's DHCP and DNS.
{ pkgs, ... }:

let
  domain = "boot.farmgate.test";
in
{
  virtualisation.vlans = [ 1 ];
  # Nothing asks for an address on the driver's own network, eth0.
  networking.useDHCP = false;
  virtualisation.memorySize = 1024;

  services.farmgate = {
    enable = true;
    inherit domain;
    openFirewall = true;
  };

  environment.etc = {
    "farmgate-test/generation".source = pkgs.callPackage ./generation.nix { };
    "farmgate-test/ipxe".source = pkgs.callPackage ../../ipxe { };
    "farmgate-test/syslinux".source = "${pkgs.syslinux}/share/syslinux";
  };
  environment.systemPackages = [
    pkgs.curl
    pkgs.openssl
  ];

  services.dnsmasq = {
    enable = true;
    settings = {
      interface = "eth1";
      bind-dynamic = true; # the address comes a moment later
      dhcp-range = "192.168.1.100,192.168.1.200,1h";
      dhcp-option = [ "option:router,192.168.1.1" ];
      address = "/${domain}/192.168.1.1";
    };
  };
  networking.firewall.allowedUDPPorts = [
    53
    67
  ];
}
