# The options of services.farmgate.nginx.
{ config, lib, ... }:

let
  inherit (lib) literalExpression mkOption types;
  cfg = config.services.farmgate.nginx;
in
{
  options.services.farmgate.nginx = {
    enable = mkOption {
      type = types.bool;
      default = true;
      description = ''
        Whether nginx terminates TLS and sends the assets. Otherwise farmgate does both, and nothing else
        can listen on its port.
      '';
    };
    publicDomain = mkOption {
      type = types.nullOr (types.strMatching "[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?");
      default = null;
      example = "boot-public.example.org";
      description = ''
        A second name with a public certificate, for the requests that need no client certificate:
        `/secrets`, `/boot/ack`, `/boot/report` and `/v2`, from booted systems that do not know the fleet's CA, and
        `/update-cfg`, from a forge.
      '';
    };
    acme.enable = mkOption {
      type = types.bool;
      default = cfg.publicDomain != null && cfg.publicCertificate == null;
      defaultText = literalExpression "publicDomain != null && publicCertificate == null";
      description = ''
        Whether the certificate of {option}`services.farmgate.nginx.publicDomain` comes by ACME
        (`security.acme`, which wants its terms accepted), with the challenge on port 80.
      '';
    };
    publicCertificate = mkOption {
      type = types.nullOr types.str;
      default = null;
      example = "/var/lib/certificates/boot-public.pem";
      description = "Chain for the public domain without ACME: a file on the boot host that nginx can read.";
    };
    publicKey = mkOption {
      type = types.nullOr types.str;
      default = null;
      example = "/var/lib/certificates/boot-public.key";
      description = "Its private key: a file on the boot host that nginx can read, never one in the store.";
    };
    legacyListen = mkOption {
      type = types.nullOr (types.strMatching ".+:[0-9]+");
      default = null;
      example = "0.0.0.0:8443";
      description = ''
        A second address with RSA key exchange, which only media from 2022 need.
      '';
    };
  };
}
