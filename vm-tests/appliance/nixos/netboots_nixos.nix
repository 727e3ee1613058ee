# A boot host whose gateway runs NixOS. The gateway's system holds the CA's certificate, so the CA is made before
# both: as a farm does whose CA comes from elsewhere.
{ pkgs, config, ... }:

let
  farmgate = config.services.farmgate.package;

  # With its key in the store, where only a test may have one.
  state = pkgs.runCommand "farmgate-state" { nativeBuildInputs = [ farmgate ]; } ''
    farmgate --state $out init --url https://${config.services.farmgate.domain}
    rm $out/farmgate.toml
  '';

  gateway = pkgs.nixos {
    imports = [ ../../../nixos/gateway.nix ];
    services.farmgate-gateway = {
      caCertificate = "${state}/pki/ca.crt";
      cache.enable = true;
      cache.formatBlankDevice = "/dev/disk/by-id/virtio-cache";
    };

    # Counts its boots on the cache drive, and has a secret.
    systemd.services.farm = {
      description = "The farm's own work";
      wantedBy = [ "multi-user.target" ];
      before = [ "boot-complete.target" ];
      unitConfig.RequiresMountsFor = config'.cache.mountPoint;
      serviceConfig = {
        Type = "oneshot";
        RemainAfterExit = true;
        EnvironmentFile = config'.secretsFile;
        StandardOutput = "journal+console";
      };
      script = ''
        echo boot >>${config'.cache.mountPoint}/boots
        # The test takes the power away.
        sync
        echo "FARM-WORKS boots=$(wc -l <${config'.cache.mountPoint}/boots) proof=$PROOF"
      '';
    };
    systemd.services.farmgate-ack.serviceConfig.StandardError = "journal+console";

    # Which is the default since NixOS 26.05.
    boot.initrd.systemd.enable = true;
    networking.useNetworkd = true;
    networking.hostName = "gateway";
    networking.hosts."192.168.1.1" = [ config.services.farmgate.domain ];
    boot.kernelParams = [ "console=ttyS0" ];
    system.stateVersion = "26.05";
  };
  config' = gateway.config.services.farmgate-gateway;
in
{
  services.farmgate = {
    credentials.secrets-lab-1 = "/run/keys/lab-1.env";
    gateways.lab-1.boot.system = gateway;
  };
  # As docs/nixos.md says: owned by farmgate, and the CA's key by root, before the first start.
  systemd.services.farmgate-provision.preStart = ''
    if [ ! -e /var/lib/farmgate/format ]; then
      umask 022
      cp -r --no-preserve=mode ${state}/. /var/lib/farmgate
      chown -R farmgate:farmgate /var/lib/farmgate
      chown root:root /var/lib/farmgate/pki/ca.key
      chmod 0600 /var/lib/farmgate/pki/*.key
    fi
  '';
}
