# Copies of certificates and keys for nginx, which on NixOS is never root and cannot read farmgate's own.
{
  config,
  lib,
  pkgs,
  ...
}:

let
  cfg = config.services.farmgate;
  nginx = config.services.nginx;
  state = "/var/lib/farmgate";
  copies = "/run/farmgate-nginx";

  # Runs as root, before nginx reads its configuration.
  copyFiles = pkgs.writeShellApplication {
    name = "farmgate-nginx-keys";
    runtimeInputs = [
      cfg.package
      pkgs.coreutils
      pkgs.util-linux
    ];
    text = ''
      install -d -m 0750 -g ${nginx.group} ${copies}
      # A name is there with all of its bytes, or with the old ones.
      give() {
        install -m 0640 -g ${nginx.group} "$1" "${copies}/.$2"
        mv "${copies}/.$2" "${copies}/$2"
      }
      give ${lib.escapeShellArg (cfg.credentials."server.key" or "${state}/pki/server.key")} server.key
      give ${lib.escapeShellArg (cfg.credentials."server.crt" or "${state}/pki/server.crt")} server.crt
      give ${state}/pki/ca.crt ca.crt
      give ${state}/pki/crl.pem crl.pem
      # A state of an older farmgate has no mark yet: printing the configuration makes it.
      farmgate --config ${cfg.configFile} --state ${state} nginx-config >/dev/null
      # Unlike pki, what is beside it is the server's: a link there must lead to nothing that root alone can read.
      mark=$(setpriv --reuid=farmgate --regid=farmgate --clear-groups cat ${state}/proxy-mark.conf)
      give /dev/stdin proxy-mark.conf <<<"$mark"
    '';
  };
in
{
  config = lib.mkIf (cfg.enable && cfg.nginx.enable) {
    systemd.services.nginx = {
      wants = [ "farmgate-provision.service" ];
      after = [ "farmgate-provision.service" ];
      serviceConfig = {
        ExecStartPre = lib.mkBefore [ "+${lib.getExe copyFiles}" ];
        ExecReload = lib.mkBefore [ "+${lib.getExe copyFiles}" ];
      };
    };

    # Who was revoked is known to nginx a moment later; farmgate knows at once.
    systemd.paths.farmgate-nginx = {
      wantedBy = [ "multi-user.target" ];
      pathConfig.PathChanged = [
        "${state}/pki/crl.pem"
        "${state}/pki/server.crt"
      ];
    };
    systemd.services.farmgate-nginx = {
      description = "Reload of nginx for farmgate's new certificates";
      serviceConfig.Type = "oneshot";
      serviceConfig.ExecStart = "${config.systemd.package}/bin/systemctl try-reload-or-restart nginx.service";
    };
  };
}
