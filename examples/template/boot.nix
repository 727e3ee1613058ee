# The boot host. Its domain and gateways come from farms.nix, by flake.nix.
{
  services.farmgate = {
    enable = true;
    openFirewall = true;

    # A second name with a public certificate, for booted systems that do not know the fleet's CA.
    # nginx.publicDomain = "boot-public.example.org";

    # Secrets of a gateway: a template (docs/publishing.md) in a file on this host that only root can read.
    # credentials.secrets-lab-1 = "/run/keys/lab-1.env";
  };
  # Needed for publicDomain.
  # security.acme.acceptTerms = true;
  # security.acme.defaults.email = "admin@example.org";

  services.openssh.enable = true;
}
