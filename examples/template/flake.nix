{
  description = "A boot host and its gateways";

  inputs = {
    nixpkgs.url = "github:NixOS/nixpkgs/nixos-26.05";
    farmgate.url = "github:farmgate/farmgate";
    farmgate.inputs.nixpkgs.follows = "nixpkgs";
  };

  outputs =
    { nixpkgs, farmgate, ... }:
    let
      inherit (nixpkgs) lib;
      system = "x86_64-linux";
      farms = import ./farms.nix;

      # The system that gateways boot. It needs the CA's certificate, the second line of farms.nix.
      gateway = lib.nixosSystem {
        modules = [
          farmgate.nixosModules.gateway
          ./gateway.nix
        ];
      };
    in
    {
      # The packages iso-farm1 and seal.
      packages.${system} = farmgate.lib.mkFarms nixpkgs.legacyPackages.${system} farms;

      nixosConfigurations = {
        boot = lib.nixosSystem {
          modules = [
            farmgate.nixosModules.default
            ./hardware-configuration.nix
            ./boot.nix
            {
              services.farmgate = {
                inherit (farms.farm1) domain;
                gateways = lib.mapAttrs (_: certificate: { inherit certificate; }) (farms.farm1.gateways or { });
              };
            }
            {
              # What lab-1 boots. Without this line, run `farmgate publish lab-1 FOLDER` on the boot host.
              # services.farmgate.gateways.lab-1.boot.system = gateway;
            }
          ];
        };
      }
      // lib.optionalAttrs (farms.farm1 ? caCertificate) { inherit gateway; };
    };
}
