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
      system = "x86_64-linux";
      farms = import ./farms.nix;

      # What the gateways run.
      gateway = nixpkgs.lib.nixosSystem {
        modules = [
          farmgate.nixosModules.gateway
          ./gateway.nix
        ];
      };
    in
    {
      # iso-farm1 and seal.
      packages.${system} = farmgate.lib.mkFarms nixpkgs.legacyPackages.${system} farms;

      nixosConfigurations = {
        inherit gateway;
        boot = nixpkgs.lib.nixosSystem {
          modules = [
            farmgate.nixosModules.default
            ./boot.nix
            {
              services.farmgate.gateways = {
                lab-1 = {
                  certificate = farms.farm1.gateways.lab-1;
                  boot.system = gateway;
                };
                # For this one, `farmgate publish lab-2 FOLDER` on the boot host says what it boots.
                lab-2.certificate = farms.farm1.gateways.lab-2;
              };
            }
          ];
        };
      };
    };
}
