# A gateway. Its disks hold only the cache.
{ config, ... }:
{
  services.farmgate-gateway = {
    caCertificate = ./farm1/ca.crt;

    # A drive for downloads, which this gateway may format when it is blank. Name it by its place:
    # /dev/sda may be the boot medium. `ls /dev/disk/by-path` on such a machine shows the names.
    # cache.enable = true;
    # cache.formatBlankDevice = "/dev/disk/by-path/pci-0000:00:17.0-ata-1";
  };

  # The purpose of the farm. A boot counts once everything that is required here has started.
  systemd.services.farm = {
    description = "The farm's own work";
    wantedBy = [ "multi-user.target" ];
    serviceConfig.EnvironmentFile = "-${config.services.farmgate-gateway.secretsFile}";
    script = "echo this gateway works";
  };

  # Firmware, which many network cards of real machines need. It makes the download larger.
  # hardware.enableRedistributableFirmware = true;

  # Messages on the screen too, for a volunteer in front of it.
  boot.kernelParams = [
    "console=tty0"
    "console=ttyS0"
  ];
  nixpkgs.hostPlatform = "x86_64-linux";
  system.stateVersion = "26.05";
}
