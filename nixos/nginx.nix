# nginx in front: mutual TLS, assets, and the certless names with a public certificate.
{
  config,
  lib,
  pkgs,
  ...
}:

let
  inherit (lib) mkIf;
  cfg = config.services.farmgate;
  hasPublic = cfg.nginx.publicDomain != null;
  acmeFiles = config.security.acme.certs.${cfg.nginx.publicDomain}.directory;

  state = "/var/lib/farmgate";
  socket = "/run/farmgate.sock";

  arguments = [
    "--unix"
    socket
    # Copies: nginx-keys.nix.
    "--pki"
    "/run/farmgate-nginx"
  ]
  ++ lib.optionals hasPublic [
    "--public-certificate"
    (if cfg.nginx.acme.enable then "${acmeFiles}/fullchain.pem" else cfg.nginx.publicCertificate)
    "--public-key"
    (if cfg.nginx.acme.enable then "${acmeFiles}/key.pem" else cfg.nginx.publicKey)
  ]
  ++ lib.optionals (cfg.nginx.legacyListen != null) [
    "--legacy-listen"
    cfg.nginx.legacyListen
  ];

  serverBlocks = pkgs.runCommand "farmgate-nginx.conf" { nativeBuildInputs = [ cfg.package ]; } ''
    farmgate --config ${cfg.configFile} --state ${state} nginx-config ${lib.escapeShellArgs arguments} >$out
  '';
in
{
  imports = [
    ./nginx-options.nix
    ./nginx-keys.nix
  ];

  config = mkIf (cfg.enable && cfg.nginx.enable) {
    assertions = [
      {
        assertion = cfg.nginx.publicDomain != cfg.domain;
        message = ''
          services.farmgate.nginx.publicDomain is services.farmgate.domain (${cfg.domain}), whose certificate comes
          from the fleet's own CA. Give the public side a second name, or leave it out.
        '';
      }
      {
        assertion =
          !hasPublic
          || cfg.nginx.acme.enable
          || cfg.nginx.publicCertificate != null && cfg.nginx.publicKey != null;
        message = ''
          services.farmgate.nginx.publicDomain needs a certificate: set services.farmgate.nginx.acme.enable, or
          services.farmgate.nginx.publicCertificate and services.farmgate.nginx.publicKey.
        '';
      }
      {
        assertion = cfg.nginx.publicKey == null || !lib.hasPrefix builtins.storeDir cfg.nginx.publicKey;
        message = ''
          services.farmgate.nginx.publicKey is in the Nix store, which every user can read: ${toString cfg.nginx.publicKey}
          Name a file on the boot host, as a string, and make a new key: this one is no secret any more.
        '';
      }
      {
        assertion = !(cfg.settings.listen ? tls);
        message = ''
          services.farmgate.settings.listen.tls is for a boot host without nginx, which has that port here.
          Take it out, or set services.farmgate.nginx.enable = false.
        '';
      }
    ];

    services.farmgate.settings = {
      # systemd's socket, which `farmgate doctor` has to know of.
      listen.unix = lib.mkDefault socket;
      public-url = mkIf hasPublic (lib.mkDefault "https://${cfg.nginx.publicDomain}");
    };

    services.nginx = {
      enable = true;
      appendHttpConfig = "include ${serverBlocks};";
      # Port 80, for the challenge alone.
      virtualHosts = mkIf (hasPublic && cfg.nginx.acme.enable) {
        ${cfg.nginx.publicDomain} = {
          enableACME = true;
          locations."/".return = "404";
          # Somebody may ask for a secret without TLS: its token is not for a log.
          extraConfig = "access_log off; error_log stderr emerg;";
        };
      };
    };

    networking.firewall.allowedTCPPorts = mkIf cfg.openFirewall (
      lib.optional (hasPublic && cfg.nginx.acme.enable) 80
      ++ lib.optional (cfg.nginx.legacyListen != null) (
        lib.toInt (lib.last (lib.splitString ":" cfg.nginx.legacyListen))
      )
    );
  };
}
