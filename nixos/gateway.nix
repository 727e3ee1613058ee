# What a NixOS system includes to be netbooted as a gateway: it acknowledges, finds its secrets, and
# keeps a cache on its drive.
{
  config,
  lib,
  modulesPath,
  options,
  pkgs,
  utils,
  ...
}:

let
  inherit (lib)
    mkEnableOption
    mkIf
    mkOption
    types
    ;
  cfg = config.services.farmgate-gateway;
  file = import ./file-type.nix { inherit lib; };
  secrets = "/run/farmgate/secrets.env";
  device = "${utils.escapeSystemdPath cfg.cache.formatBlankDevice}.device";
  # iPXE laid them into the initramfs, which is about to go; /run stays.
  keepSecrets = ''
    if [ -f /secrets.env ]; then
      mkdir -p -m 0755 /run/farmgate
      (umask 0077 && cp /secrets.env ${secrets})
      rm /secrets.env
    fi
  '';
in
{
  imports = [ "${modulesPath}/installer/netboot/netboot.nix" ];

  options.services.farmgate-gateway = {
    package = mkOption {
      type = types.package;
      default = pkgs.callPackage ../package.nix { };
      defaultText = lib.literalMD "the farmgate of the same source as this module";
      description = "The package with the acknowledging script and its unit.";
    };
    caCertificate = mkOption {
      type = file;
      example = lib.literalExpression "./farm1/ca.crt";
      description = "Certificate of the fleet's CA, by which this system knows its boot host.";
    };
    secretsFile = mkOption {
      type = types.str;
      default = secrets;
      readOnly = true;
      description = "Where the secrets of this boot are, if there are any: for `EnvironmentFile=`, root only.";
    };
    cache = {
      enable = mkEnableOption "a cache drive, found by its label, that outlives reboots";
      label = mkOption {
        type = types.strMatching "[A-Za-z0-9_-]{1,16}";
        default = "farmgate-cache";
        description = "Label of the file system.";
      };
      mountPoint = mkOption {
        type = types.strMatching "/.+";
        default = "/var/cache/farm";
        description = "Where it is mounted.";
      };
      formatBlankDevice = mkOption {
        type = types.nullOr (types.strMatching "/dev/.+");
        default = null;
        example = "/dev/disk/by-path/pci-0000:00:1f.2-ata-1";
        description = ''
          A device to make the file system on at boot, if no file system has the label and this device is
          blank: no known signature on it, and zeros in its first MiB. Everything else is left alone.
        '';
      };
    };
  };

  config = {
    environment.etc."farmgate/ca.crt".source = cfg.caCertificate;

    systemd.packages = [ cfg.package ];
    systemd.services.farmgate-ack = {
      wantedBy = [ "multi-user.target" ];
      path = [ pkgs.curl ];
    };

    boot.initrd =
      # NixOS before 26.11 has a stage 1 without systemd too.
      lib.optionalAttrs (options.boot.initrd ? postMountCommands) {
        postMountCommands = mkIf (!config.boot.initrd.systemd.enable) keepSecrets;
      }
      // {
        systemd.services.farmgate-secrets = {
          description = "Secrets of this boot";
          wantedBy = [ "initrd.target" ];
          # Before the first too: what is still queued when systemd turns to the second is cancelled.
          before = [
            "initrd.target"
            "initrd-switch-root.target"
          ];
          unitConfig.DefaultDependencies = false;
          serviceConfig.Type = "oneshot";
          script = keepSecrets;
        };
      };

    # A drive that is missing or broken costs the cache and not the boot.
    fileSystems = mkIf cfg.cache.enable {
      ${cfg.cache.mountPoint} = {
        device = "/dev/disk/by-label/${cfg.cache.label}";
        fsType = "ext4";
        options = [
          "nofail"
          "noatime"
          # A blank drive is given its file system first.
          "x-systemd.device-timeout=${if cfg.cache.formatBlankDevice == null then "30s" else "2min"}"
        ];
      };
    };
    systemd.services.farmgate-cache = mkIf (cfg.cache.enable && cfg.cache.formatBlankDevice != null) {
      description = "File system on a blank cache drive";
      wantedBy = [ "local-fs.target" ];
      requires = [ device ];
      after = [ device ];
      before = [ "shutdown.target" ];
      conflicts = [ "shutdown.target" ];
      unitConfig.DefaultDependencies = false;
      path = [
        config.systemd.package
        pkgs.diffutils
        pkgs.e2fsprogs
        pkgs.util-linux
      ];
      environment.DEVICE = cfg.cache.formatBlankDevice;
      serviceConfig.Type = "oneshot";
      script = ''
        [ ! -e /dev/disk/by-label/${cfg.cache.label} ] || exit 0
        # blkid says 2 when it knows nothing on it, but also when it cannot read it.
        status=0
        blkid --probe "$DEVICE" >/dev/null || status=$?
        if [ "$status" != 2 ] || ! cmp --quiet --bytes=1048576 "$DEVICE" /dev/zero; then
          echo "$DEVICE is not blank and is left alone. If nothing on it is needed:" \
            "wipefs -a $DEVICE && dd if=/dev/zero of=$DEVICE bs=1M count=1" >&2
          exit 0
        fi
        mkfs.ext4 -q -L ${cfg.cache.label} "$DEVICE"
        # The mount waits for the label, which udev may have looked for too early.
        udevadm trigger --action=change --settle "$DEVICE"
      '';
    };
  };
}
