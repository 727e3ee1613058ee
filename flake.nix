{
  description = "Boots a fleet of CI-farm gateways from one place";

  inputs.nixpkgs.url = "github:NixOS/nixpkgs/nixos-26.05";

  outputs =
    { self, nixpkgs }:
    let
      inherit (nixpkgs) lib;

      # Gateways are x86-64; their boot host and its tools need not be.
      eachSystem =
        outputs:
        lib.genAttrs [
          "x86_64-linux"
          "aarch64-linux"
        ] (system: outputs nixpkgs.legacyPackages.${system});
      isX86 = pkgs: pkgs.stdenv.hostPlatform.isx86_64;

      # What this flake makes of a nixpkgs.
      parts =
        pkgs:
        lib.makeScope pkgs.newScope (scope: {
          farmgate = scope.callPackage ./package.nix { };
          farmgate-ipxe = scope.callPackage ./ipxe { };
          mkIso = scope.callPackage ./ipxe/iso.nix { };
          mkFarms = scope.callPackage ./ipxe/farms.nix { };
          demo = scope.callPackage ./vm-tests/demo.nix { };
        });

      # The template as it is once its lines are filled in.
      example = import ./examples/filled-in {
        inherit nixpkgs;
        farmgate = self;
      };
    in
    {
      overlays.default = final: _: { inherit (parts final) farmgate farmgate-ipxe; };

      lib = {
        # pkgs: { name, domain, caCertificate, ... }: the image of one farm
        mkIso = pkgs: (parts pkgs).mkIso;
        # pkgs: { farm1 = { domain, caCertificate, gateways, ... }; ... }: iso-farm1, ..., and seal
        mkFarms = pkgs: (parts pkgs).mkFarms;
      };

      nixosModules = {
        default.imports = [ ./nixos ];
        gateway.imports = [ ./nixos/gateway.nix ];
      };

      templates.default = {
        path = ./examples/template;
        description = "A boot host, its farms' boot images, and a gateway";
      };

      packages = eachSystem (
        pkgs:
        {
          default = (parts pkgs).farmgate;
          inherit (parts pkgs) farmgate;
        }
        // lib.optionalAttrs (isX86 pkgs) (
          { ipxe = (parts pkgs).farmgate-ipxe; } // (parts pkgs).mkFarms example.farms
        )
      );

      apps = eachSystem (
        pkgs:
        lib.optionalAttrs (isX86 pkgs) (
          lib.mapAttrs
            (_: package: {
              type = "app";
              program = lib.getExe package;
              meta = { inherit (package.meta) description; };
            })
            {
              inherit (parts pkgs) demo;
              inherit (self.packages.${pkgs.stdenv.hostPlatform.system}) seal;
            }
        )
      );

      checks = eachSystem (
        pkgs:
        import ./checks.nix {
          inherit
            lib
            pkgs
            self
            example
            ;
          parts = parts pkgs;
        }
      );

      devShells = eachSystem (pkgs: {
        default = pkgs.callPackage ./dev-shell.nix { inherit (parts pkgs) farmgate; };
      });

      formatter = eachSystem (pkgs: pkgs.nixfmt-tree);
    };
}
