# The options of services.farmgate, except nginx and gateways, which have files of their own.
{
  config,
  lib,
  pkgs,
  ...
}:

let
  inherit (lib)
    literalExpression
    literalMD
    mkEnableOption
    mkOption
    mkRemovedOptionModule
    mkRenamedOptionModule
    types
    ;
  cfg = config.services.farmgate;
  toml = pkgs.formats.toml { };
in
{
  imports = [
    (mkRenamedOptionModule
      [ "services" "farmgate" "buckets" ]
      [ "services" "farmgate" "settings" "buckets" ]
    )
    (mkRemovedOptionModule [ "services" "farmgate" "sync" ] ''
      farmgate.toml has no section [sync], so no value of this option ever made a configuration that
      farmgate takes. Remove it; to publish from a flake, use services.farmgate.gateways.NAME.boot.
    '')
  ];

  options.services.farmgate = {
    enable = mkEnableOption "farmgate, the boot server for CI-farm gateways";

    package = mkOption {
      type = types.package;
      default = pkgs.callPackage ../package.nix { };
      defaultText = literalMD "the farmgate of the same source as this module";
      description = "The package with the program, its units and the acknowledging script.";
    };

    ipxe = mkOption {
      type = types.nullOr types.package;
      default = if pkgs.stdenv.hostPlatform.isx86_64 then pkgs.callPackage ../ipxe { } else null;
      defaultText = literalMD "nixpkgs' iPXE with farmgate's settings, on x86-64; else `null`";
      description = ''
        The iPXE that `farmgate iso make` on this host uses, with nixpkgs' isolinux. It is compiled when the
        system is built, which takes some minutes, once for each change of nixpkgs' iPXE. Set `null` if all
        media are made elsewhere.
      '';
    };

    domain = mkOption {
      type = types.strMatching "[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?";
      example = "boot.example.org";
      description = ''
        The name that gateways ask for their boot script. It is on every boot medium and in the boot
        host's certificate, which the fleet's own CA issues when the state is created.
      '';
    };

    settings = mkOption {
      description = ''
        `farmgate.toml` (docs/configuration.md). Every key of it can be set here; the options below are
        the keys that this module has defaults or checks for. `farmgate check` checks the file while
        the system is built, so a wrong key or value never reaches the boot host.
      '';
      default = { };
      example = literalExpression ''
        {
          assessment.tries = 5;
          media.fallback-urls = [ "https://boot2.example.org" ];
          secrets.ttl = "2m";
          buckets.provider = "b2"; # its credentials: services.farmgate.credentials.bucket-provider
        }
      '';
      type = types.submodule {
        freeformType = toml.type;
        options = {
          url = mkOption {
            type = types.strMatching "https://.+";
            default = "https://${cfg.domain}";
            defaultText = literalExpression ''"https://''${config.services.farmgate.domain}"'';
            description = "Where gateways find this boot host.";
          };
          key-type = mkOption {
            type = types.enum [
              "rsa2048"
              "p256"
            ];
            default = "rsa2048";
            description = "Kind of keys for new certificates; `p256` needs iPXE 2.0 on all media.";
          };
          buckets.provider = mkOption {
            type = types.enum [
              "none"
              "b2"
              "s3"
            ];
            default = "none";
            description = ''
              Who keeps a bucket for each gateway (docs/buckets.md, which has the other keys of `buckets`).
              With a provider, the service gets access to the network. The provider's credentials belong in
              {option}`services.farmgate.credentials`, as `bucket-provider`.
            '';
          };
          listen.proxy-mark = mkOption {
            type = types.bool;
            default = cfg.nginx.enable;
            defaultText = literalExpression "config.services.farmgate.nginx.enable";
            description = "Whether the server believes only an nginx that has the configuration made for it.";
          };
          listen.accel = mkOption {
            type = types.nullOr (types.strMatching "/[A-Za-z0-9_-]+");
            default = if cfg.nginx.enable then "/farmgate-blobs" else null;
            defaultText = literalExpression ''if nginx.enable then "/farmgate-blobs" else null'';
            description = "Internal location under which nginx sends assets; `null` leaves that to farmgate.";
          };
          assessment.tries = mkOption {
            type = types.ints.positive;
            default = 3;
            description = "Boots that a new generation gets before the last good one is served again.";
          };
        };
      };
    };

    configFile = mkOption {
      type = types.path;
      readOnly = true;
      description = "The checked `farmgate.toml`, made of the settings.";
    };

    openFirewall = mkEnableOption "the firewall's ports for gateways, and for ACME if it is used";

    credentials = mkOption {
      type = types.attrsOf types.str;
      default = { };
      example = literalExpression ''
        {
          secrets-lab-1 = "/run/keys/lab-1.env"; # agenix, sops-nix, or a file that was put there
        }
      '';
      description = ''
        Secrets for the service, by systemd's `LoadCredential`: names and the files that hold them on the
        boot host. `secrets-NAME` is the template of the secrets of the gateway NAME, `server.key` and
        `server.crt` replace the state's own, `bucket-provider` and `store` are for those two. Files in the
        Nix store, which every user can read, are refused.
      '';
    };
  };
}
