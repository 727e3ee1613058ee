# A gateway: nothing of it is on its own disks but the cache.
{ config, ... }:
{
  services.farmgate-gateway = {
    caCertificate = ./farm1/ca.crt;
    cache.enable = true;
    cache.formatBlankDevice = "/dev/sda";
  };

  # What the farm is there for. A boot counts once everything that is required here has come up.
  systemd.services.farm = {
    description = "The farm's own work";
    wantedBy = [ "multi-user.target" ];
    serviceConfig.EnvironmentFile = "-${config.services.farmgate-gateway.secretsFile}";
    script = "echo this gateway works";
  };

  boot.kernelParams = [ "console=tty0" "console=ttyS0" ];
  nixpkgs.hostPlatform = "x86_64-linux";
  system.stateVersion = "26.05";
}
