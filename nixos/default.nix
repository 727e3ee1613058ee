# services.farmgate: a boot host.
{
  imports = [
    ./options.nix
    ./service.nix
    ./nginx.nix
    ./gateways.nix
  ];
}
