# Gateways and what they boot, brought into the state before the server starts.
{
  config,
  lib,
  pkgs,
  ...
}:

let
  cfg = config.services.farmgate;

  generation = import ./generation.nix {
    inherit lib pkgs;
    farmgate = cfg.package;
  };

  provision = pkgs.writeShellApplication {
    name = "farmgate-provision";
    runtimeInputs = [
      cfg.package
      pkgs.coreutils
      pkgs.gnugrep
      pkgs.openssl
    ];
    text = ''
      export FARMGATE_STATE=/var/lib/farmgate
      settings=$FARMGATE_STATE/farmgate.toml
      if [ -e "$settings" ] && [ ! -L "$settings" ]; then
        echo "$settings was written by hand: move it into services.farmgate.settings, and it away" >&2
        exit 1
      fi
      [ -e "$FARMGATE_STATE/format" ] || farmgate init --config /etc/farmgate/farmgate.toml
      ln -sfn /etc/farmgate/farmgate.toml "$settings"
      ${lib.optionalString (!cfg.credentials ? "server.crt") ''
        # It keeps the names that it had: media in the field may ask for them.
        openssl x509 -noout ${
          if builtins.match "[0-9.]+" cfg.domain == null then "-checkhost" else "-checkip"
        } ${cfg.domain} -in "$FARMGATE_STATE/pki/server.crt" | grep -q "does match" || farmgate pki renew
      ''}

      ${lib.optionalString (cfg.gateways != { }) ''
        # One gateway that cannot be provided for keeps no other from it.
        status=0
        provide() {
          local name=$1 generation=$2
          shift 2
          if farmgate gateway add "$name" --if-missing "$@" &&
            { [ -z "$generation" ] || farmgate publish --if-changed "$name" "$generation"; }; then
            return
          fi
          echo "services.farmgate.gateways.$name: see above" >&2
          status=1
        }
        ${lib.concatStrings (
          lib.mapAttrsToList (
            _: gateway:
            "provide ${gateway.name} ${
              if gateway.boot == null then "''" else "${generation gateway.name gateway.boot}"
            } ${lib.optionalString (gateway.certificate != null) "--cert ${gateway.certificate}"}\n"
          ) cfg.gateways
        )}
        exit "$status"
      ''}
    '';
  };
in
{
  imports = [ ./gateways-options.nix ];

  config = lib.mkIf cfg.enable {
    assertions = lib.concatLists (
      lib.mapAttrsToList (
        name:
        { boot, ... }:
        lib.optionals (boot != null) [
          {
            assertion =
              if boot.system != null then
                boot.kernel == null && boot.script == null
              else
                boot.kernel != null || boot.script != null;
            message = ''
              services.farmgate.gateways.${name}.boot needs exactly one of: system (a NixOS system that imports
              nixosModules.gateway), kernel (with initrd and cmdline), or a script with its files. Without boot
              altogether, `farmgate publish ${name} FOLDER` on the boot host says what it boots.
            '';
          }
          {
            assertion = boot.system == null || boot.system.config.system.build ? netbootRamdisk;
            message = ''
              services.farmgate.gateways.${name}.boot.system cannot be netbooted: import nixosModules.gateway into it.
            '';
          }
        ]
      ) cfg.gateways
    );

    systemd.services.farmgate-provision = {
      description = "Gateways and generations of farmgate";
      wantedBy = [ "multi-user.target" ];
      before = [ "farmgate.service" ];
      # As root, so that the CA's key is root's alone; all else goes to the owner of the state.
      serviceConfig = {
        Type = "oneshot";
        RemainAfterExit = true;
        ExecStart = lib.getExe provision;
        # CAP_SETUID and CAP_SETGID: root does its work in the state as the state's owner.
        CapabilityBoundingSet = "CAP_CHOWN CAP_DAC_OVERRIDE CAP_FOWNER CAP_SETGID CAP_SETUID";
        NoNewPrivileges = true;
        UMask = "0077";
        ProtectSystem = "strict";
        ReadWritePaths = "/var/lib/farmgate";
        ProtectHome = true;
        PrivateTmp = true;
        PrivateDevices = true;
        PrivateNetwork = true;
        RestrictAddressFamilies = "AF_UNIX";
        RestrictNamespaces = true;
        ProtectKernelTunables = true;
        ProtectKernelModules = true;
        ProtectControlGroups = true;
        SystemCallFilter = [ "@system-service" ];
        SystemCallArchitectures = "native";
      };
    };
  };
}
