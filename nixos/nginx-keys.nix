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

  fromCredential =
    name:
    if cfg.credentials ? ${name} then
      "cat ${lib.escapeShellArg cfg.credentials.${name}}"
    else
      "from_state pki/${name}";

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
      # give NAME COMMAND...: a name is there with all of its bytes, or with the old ones.
      give() {
        install -m 0640 -g ${nginx.group} /dev/null "${copies}/.$1"
        "''${@:2}" >"${copies}/.$1"
        mv "${copies}/.$1" "${copies}/$1"
      }
      # As the owner of the state, who could have put a link there.
      from_state() {
        setpriv --reuid farmgate --regid farmgate --clear-groups cat "${state}/$1"
      }
      give server.key ${fromCredential "server.key"}
      give server.crt ${fromCredential "server.crt"}
      give ca.crt from_state pki/ca.crt
      give crl.pem from_state pki/crl.pem
      # A state of an older farmgate has no mark yet: printing the configuration makes it.
      farmgate --config ${cfg.configFile} --state ${state} nginx-config >/dev/null
      give proxy-mark.conf from_state proxy-mark.conf
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
