# The template with its lines filled in, and with options that it leaves out. The flake's checks build it.
{ nixpkgs, farmgate }:

let
  inherit (nixpkgs) lib;
  template = (import ../template/flake.nix).outputs { inherit nixpkgs farmgate; };

  farms.farm1 = {
    domain = "boot.example.org";
    caCertificate = ./farm1/ca.crt;
    gateways = {
      lab-1 = ./farm1/lab-1.crt;
      lab-2 = ./farm1/lab-2.crt;
    };
  };

  gateway = lib.nixosSystem {
    modules = [
      farmgate.nixosModules.gateway
      ../template/gateway.nix
      {
        services.farmgate-gateway = {
          caCertificate = lib.mkForce farms.farm1.caCertificate;
          cache.enable = true;
          cache.formatBlankDevice = "/dev/disk/by-path/pci-0000:00:17.0-ata-1";
        };
      }
    ];
  };

  boot = template.nixosConfigurations.boot.extendModules {
    modules = [
      {
        services.farmgate = {
          nginx.publicDomain = "boot-public.example.org";
          credentials.secrets-lab-1 = "/run/keys/lab-1.env";
          settings.secrets.ttl = "2m";
          gateways = {
            lab-1 = {
              certificate = farms.farm1.gateways.lab-1;
              boot.system = gateway;
            };
            lab-2.certificate = farms.farm1.gateways.lab-2;
          };
        };
        security.acme.acceptTerms = true;
        security.acme.defaults.email = "admin@example.org";
      }
    ];
  };
in
{
  inherit farms;
  nixosConfigurations = {
    inherit boot gateway;
    template = template.nixosConfigurations.boot;
  };
}
