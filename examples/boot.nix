# The boot host.
{
  services.farmgate = {
    enable = true;
    domain = "boot.example.org";
    openFirewall = true;

    # A second name with a public certificate, for booted systems that do not know the fleet's CA.
    nginx.publicDomain = "boot-public.example.org";

    credentials.secrets-lab-1 = "/run/keys/lab-1.env";
    settings.secrets.ttl = "2m";
  };
  security.acme.acceptTerms = true;
  security.acme.defaults.email = "admin@example.org";

  services.openssh.enable = true;

  # Yours comes from nixos-generate-config.
  nixpkgs.hostPlatform = "x86_64-linux";
  boot.loader.systemd-boot.enable = true;
  fileSystems."/" = {
    device = "/dev/disk/by-label/nixos";
    fsType = "ext4";
  };
  fileSystems."/boot" = {
    device = "/dev/disk/by-label/ESP";
    fsType = "vfat";
  };
  system.stateVersion = "26.05";
}
